"""A folder into which pictures come: each is inspected once it is whole."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.images import is_image, read_image
from edgeleather.runtime.frame import DropPolicy, Frame
from edgeleather.runtime.live import StateListener

WatchFrom = Literal["new", "all"]
_LOOK_SECONDS = 0.1
_QUIET_SECONDS = 0.2  # a file that has not changed for so long is tried
_GIVEN_UP_SECONDS = 5.0  # one that does not decode and has not changed for so long has failed

Stamp = tuple[int, int, int]  # inode, size in bytes, time of the last change in ns


class WatchedFolder:
    """The pictures that come into a folder, each once, in the order of their last change; "all" begins with those that are there.

    A picture is whole when it has stopped changing and decodes. One that is written again is a new one. The folder may go
    away (a network drive) and come back.
    """

    drop_policy: DropPolicy = "every_frame"
    dropped = 0
    total: int | None = None

    def __init__(self, folder: Path, watch: WatchFrom, stop: threading.Event, listener: StateListener) -> None:
        """Look what is there.

        Raises:
            EdgeLeatherError: no such folder.
        """
        self._folder, self._stop, self._listener = folder, stop, listener
        try:
            there = dict(_stamps(folder))
        except OSError as error:
            raise EdgeLeatherError(f"{folder}: expected a folder to watch, got: {error.strerror}.") from error
        self._done: dict[str, Stamp] = there if watch == "new" else {}
        self._pending: dict[str, tuple[Stamp, float]] = {}

    def __iter__(self) -> Generator[Frame, None, None]:
        index = 0
        is_lost = False
        self._listener(
            "streaming", f"{self._folder}: watching; {len(self._done)} pictures that are there are passed over"
        )
        while not self._stop.is_set():
            try:
                there = dict(_stamps(self._folder))
            except OSError as error:
                if not is_lost:
                    self._listener("lost", f"{self._folder}: {error.strerror}; looked for until it is back")
                is_lost = True
                self._stop.wait(1.0)
                continue
            if is_lost:
                is_lost = False
                self._listener("streaming again", str(self._folder))
            for path, is_overdue in self._settled(there):
                frame = frame_of_picture(index, path)
                if frame.image is None and not is_overdue:
                    continue  # its writer may only be slow
                self._done[path.name] = there[path.name]
                self._pending.pop(path.name, None)
                yield frame
                index += 1
                if self._stop.is_set():
                    return
            self._stop.wait(_LOOK_SECONDS)

    def _settled(self, there: dict[str, Stamp]) -> Iterator[tuple[Path, bool]]:
        """Pictures that have stopped changing, oldest first, and whether they have had time enough."""
        now = time.monotonic()
        self._done = {name: stamp for name, stamp in self._done.items() if name in there}
        new = {name: stamp for name, stamp in there.items() if self._done.get(name) != stamp}
        self._pending = {
            name: (stamp, self._pending[name][1] if self._pending.get(name, (None,))[0] == stamp else now)
            for name, stamp in new.items()
        }
        for name in sorted(self._pending, key=lambda name: (self._pending[name][0][2], name)):
            quiet = now - self._pending[name][1]
            if quiet >= _QUIET_SECONDS:
                yield self._folder / name, quiet >= _GIVEN_UP_SECONDS


def frame_of_picture(index: int, path: Path) -> Frame:
    """A picture file as a frame; one that does not decode has failed."""
    started = time.perf_counter()
    image, error = None, None
    try:
        image = read_image(path)
    except EdgeLeatherError as failure:
        error = str(failure)
    return Frame(index, time.time(), printable(str(path)), image, 1e3 * (time.perf_counter() - started), error)


def _stamps(folder: Path) -> Iterator[tuple[str, Stamp]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(Path(entry.name)):
                try:
                    status = entry.stat()
                except FileNotFoundError:  # moved away in this moment
                    continue
                if entry.is_file():
                    yield entry.name, (status.st_ino, status.st_size, status.st_mtime_ns)
