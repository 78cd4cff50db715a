"""A folder into which pictures come: each is inspected once it is whole."""

from __future__ import annotations

import math
import os
import stat
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.imaging.images import is_image
from edgeleather.sources.attempt import PLAIN_ATTEMPT, PictureAttempt
from edgeleather.sources.files import frame_of_picture
from edgeleather.sources.frame import DropPolicy, Frame
from edgeleather.sources.states import StateListener

WatchFrom = Literal["new", "all"]
_LOOK_SECONDS = 0.1
_LOOK_SHARE = 0.1  # of the time, where a look takes long
_QUIET_SECONDS = 0.2  # a file that has not changed for so long is tried
_GIVEN_UP_SECONDS = 5.0  # one that does not decode and has not changed for so long has failed
_MOST_REMEMBERED = 500_000


@dataclass(frozen=True)
class Stamp:
    """What tells a picture file from another one of its name, and itself under another name."""

    size_bytes: int
    modified_ns: int
    inode: int


@dataclass(frozen=True)
class Resumption:
    """What an earlier run did: pictures that came after `since` are new, unless they were inspected since they came.

    Times in Unix seconds; of a network drive its own clock's.
    """

    since: float
    inspected_at: Mapping[str, float]

    def is_new(self, name: str, came_at: float) -> bool:
        return came_at > self.since and came_at > self.inspected_at.get(printable(name), -math.inf)


class WatchedFolder:
    """The pictures that come into a folder, each once, in the order of their last change; "all" begins with those that are there.

    A picture is whole when it has stopped changing and decodes. One that is written again is a new one, one that is renamed
    is not. The folder may go away (a network drive) and come back.
    """

    drop_policy: DropPolicy = "as_they_come"
    dropped = 0
    total: int | None = None

    def __init__(
        self,
        folder: Path,
        watch: WatchFrom,
        stop: threading.Event,
        listener: StateListener,
        resumption: Resumption | None = None,
        attempt: PictureAttempt = PLAIN_ATTEMPT,
    ) -> None:
        """Look what is there.

        Raises:
            EdgeLeatherError: no such folder.
        """
        self._folder, self._stop, self._listener, self._attempt = folder, stop, listener, attempt
        self._done: dict[str, Stamp] = {}
        self._done_inodes: set[Stamp] = set()
        self._pending: dict[str, tuple[Stamp, float]] = {}
        try:
            for name, stamp, came_at in _stamps(folder):
                if watch == "new" and not (resumption and resumption.is_new(name, came_at)):
                    self._note_done(name, stamp)
        except OSError as error:
            raise EdgeLeatherError(f"{folder}: expected a folder to watch, got: {error.strerror}.") from error

    def __iter__(self) -> Generator[Frame, None, None]:
        index = 0
        is_lost = False
        self._listener(
            "streaming", f"{self._folder}: watching; {len(self._done)} pictures that are there are passed over"
        )
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                there = {name: stamp for name, stamp, _ in _stamps(self._folder)}
            except OSError as error:
                if not is_lost:
                    self._listener("lost", f"{self._folder}: {error.strerror}; looked for until it is back")
                is_lost = True
                self._stop.wait(1.0)
                continue
            if is_lost:
                is_lost = False
                self._listener("streaming again", str(self._folder))
            took_seconds = time.monotonic() - started
            for path, is_overdue in self._settled(there):
                frame = frame_of_picture(index, path, self._attempt)
                if frame.image is None and not (is_overdue and _is_there(path)):
                    continue  # its writer may only be slow, its drive away
                self._note_done(path.name, there[path.name])
                yield frame
                index += 1
                if self._stop.is_set():
                    return
            self._stop.wait(max(_LOOK_SECONDS, took_seconds / _LOOK_SHARE))

    def _settled(self, there: dict[str, Stamp]) -> list[tuple[Path, bool]]:
        """Pictures that have stopped changing, oldest first, and whether they have had time enough."""
        now = time.monotonic()
        if len(self._done) > _MOST_REMEMBERED:  # those that went away were remembered in case their drive had
            self._done = {name: stamp for name, stamp in self._done.items() if name in there}
            self._done_inodes = set(self._done.values())
        new = {name: stamp for name, stamp in there.items() if self._is_new(name, stamp)}
        self._pending = {
            name: (stamp, self._pending[name][1] if self._pending.get(name, (None,))[0] == stamp else now)
            for name, stamp in new.items()
        }
        by_age = sorted(self._pending, key=lambda name: (self._pending[name][0].modified_ns, name))
        quiet = {name: now - self._pending[name][1] for name in by_age}
        return [
            (self._folder / name, quiet[name] >= _GIVEN_UP_SECONDS) for name in by_age if quiet[name] >= _QUIET_SECONDS
        ]

    def _is_new(self, name: str, stamp: Stamp) -> bool:
        done = self._done.get(name)
        if done is not None and (done.size_bytes, done.modified_ns) == (stamp.size_bytes, stamp.modified_ns):
            return False  # its inode may be another one since the drive was mounted again
        return stamp not in self._done_inodes

    def _note_done(self, name: str, stamp: Stamp) -> None:
        self._done_inodes.discard(self._done.get(name, stamp))
        self._done[name] = stamp
        self._done_inodes.add(stamp)


def came_at_of_pictures(folder: Path) -> list[float]:
    """When each picture of a folder came there, Unix seconds.

    Raises:
        EdgeLeatherError: no such folder.
    """
    try:
        return [came_at for _, _, came_at in _stamps(folder)]
    except OSError as error:
        raise EdgeLeatherError(f"{folder}: expected a folder to watch, got: {error.strerror}.") from error


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _stamps(folder: Path) -> Iterator[tuple[str, Stamp, float]]:
    """Name and stamp of each picture, and when it came there (Unix seconds)."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(Path(entry.name)):
                try:
                    status = entry.stat()
                except OSError:
                    if entry.is_symlink() or not _is_there(
                        folder / entry.name
                    ):  # a bad link, or moved away in this moment
                        continue
                    raise
                if stat.S_ISREG(status.st_mode):
                    yield entry.name, Stamp(status.st_size, status.st_mtime_ns, status.st_ino), status.st_ctime
