"""A folder into which pictures come: each is inspected once it is whole."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.files import open_plain_file
from edgeleather.imaging.headers import PictureHeader
from edgeleather.imaging.images import decode_content, read_content
from edgeleather.sources.arrivals import Arrival, Arrivals
from edgeleather.sources.attempt import NO_MEMORY, PLAIN_ATTEMPT, PictureAttempt
from edgeleather.sources.frame import DropPolicy, Frame
from edgeleather.sources.listing import PassedOver, is_there, list_pictures, pictures_in
from edgeleather.sources.picture_file import PictureFile, Stamp, digest_of, stamp_of
from edgeleather.sources.seen import SeenPictures
from edgeleather.sources.states import StateListener

_LOGGER = logging.getLogger(__name__)
WatchFrom = Literal["new", "all"]
_LOOK_SECONDS = 0.1
_LOOK_SHARE = 0.1  # of the time, where a look takes long
_UNWRITTEN_BYTES = 4096  # so many zeros at the end may be a part that is still to be written
_UNWRITTEN_BYTES_IN_A_HURRY = 64


class WatchedFolder:
    """The pictures that come into a folder, each once, in the order of their last change; "all" begins with those that are there.

    A picture is whole when it has stopped changing and decodes; one that is written again and again is taken from a copy that was
    not changed while it was read. One that is written again is a new one, one that is renamed is not. Those that go away or are
    replaced before their turn count as dropped. The folder may go away (a network drive) and come back.
    """

    drop_policy: DropPolicy = "as_they_come"
    total: int | None = None

    def __init__(
        self,
        folder: Path,
        watch: WatchFrom,
        stop: threading.Event,
        listener: StateListener,
        known: Sequence[PictureFile] | None = None,
        silent_seconds: float | None = None,
        attempt: PictureAttempt = PLAIN_ATTEMPT,
    ) -> None:
        """Look what is there. `known` are the pictures that an earlier run saw; after `silent_seconds` without one it is silent.

        Raises:
            EdgeLeatherError: no such folder.
        """
        self._folder, self._stop, self._listener, self._attempt = folder, stop, listener, attempt
        there = list_pictures(folder)
        self._seen = SeenPictures((there if watch == "new" else ()) if known is None else known)
        self._passed_over = PassedOver(folder)
        self._arrivals = Arrivals()
        self._silent_seconds = silent_seconds
        self._is_silent = False
        self._came_at = time.monotonic()
        self._to_note: list[PictureFile] = []  # with the next frame's record

    @property
    def dropped(self) -> int:
        """Pictures that were seen, and went away or were replaced before their turn."""
        return self._arrivals.lost

    def close(self) -> None:
        """Nothing is held before the first frame."""

    def __iter__(self) -> Generator[Frame, None, None]:
        index = 0
        is_lost = False
        text = f"{self._folder}: watching; {len(self._seen)} pictures that are there are passed over"
        self._listener("streaming", text)
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                try:
                    self._look()
                except OSError as error:
                    if not is_lost:
                        self._listener("lost", f"{self._folder}: {error.strerror}; looked for until it is back")
                    is_lost = True
                    self._stop.wait(1.0)
                    continue
                if is_lost:
                    is_lost = False
                    self._came_at = time.monotonic()
                    self._listener("streaming again", str(self._folder))
                took_seconds = time.monotonic() - started
                for name, arrival in self._arrivals.due():
                    if frame := self._try(index, name, arrival):
                        yield frame
                        index += 1
                        self._came_at = time.monotonic()
                    if self._stop.is_set():
                        return
                self._stop.wait(max(_LOOK_SECONDS, took_seconds / _LOOK_SHARE))
        finally:
            self._say_what_was_not_inspected()

    def _look(self) -> None:
        status = self._folder.stat()
        there = dict(pictures_in(self._folder, self._passed_over))
        self._to_note += self._seen.forget_gone(there)
        new = dict[str, bool]()
        for name, stamp in there.items():
            judgement = self._seen.judge(name, stamp)
            if judgement != "seen":
                new[name] = judgement == "doubtful"
            elif not self._seen.has_name(name):
                self._note(PictureFile(str(self._folder), name, stamp))
        lost_before = self._arrivals.lost
        has_come = self._arrivals.update(new, there, (status.st_dev, status.st_ino))
        if self._arrivals.lost and not lost_before:
            _LOGGER.warning(
                "%s: pictures went away or were replaced before their turn; they count as dropped", self._folder
            )
        self._tell_silence(has_come)

    def _tell_silence(self, has_come: bool) -> None:
        if has_come:
            self._came_at = time.monotonic()
            if self._is_silent:
                self._is_silent = False
                self._listener("streaming again", str(self._folder))
        elif self._silent_seconds and time.monotonic() - self._came_at > self._silent_seconds and not self._is_silent:
            self._is_silent = True
            self._listener("silent", f"{self._folder}: no picture came for {self._silent_seconds:g} s")

    def _try(self, index: int, name: str, arrival: Arrival) -> Frame | None:
        """The frame of a picture whose turn has come; None for one that is not whole yet, or was seen."""
        path = self._folder / name
        started = time.perf_counter()
        is_hurried = not arrival.is_quiet
        copy = self._copy(path, is_hurried, arrival.stamp)
        stamp = copy.stamp or arrival.stamp
        if copy.is_whole and arrival.is_doubtful and self._seen.is_known(name, stamp, copy.digest):
            self._arrivals.done(name, stamp)
            self._note(PictureFile(str(self._folder), name, stamp, copy.digest))
            return None
        is_taken = copy.is_whole and (is_hurried or stamp == arrival.stamp)
        if not is_taken and not self._has_failed(copy, arrival, path):
            self._arrivals.tried(name, time.perf_counter() - started)  # its writer may only be slow, its drive away
            return None
        self._arrivals.done(name, stamp)
        file = PictureFile(str(self._folder), name, stamp, copy.digest)
        self._seen.note(file)
        seen, self._to_note = (file, *self._to_note), []
        error = copy.error
        if copy.image is not None and not copy.is_consistent:
            error = (
                f"{path}: it is written again and again, and no copy of it was whole. Write another name and rename it."
            )
        image = None if error else copy.image
        milliseconds = 1e3 * (time.perf_counter() - started)
        return Frame(index, time.time(), printable(str(path)), image, milliseconds, error, seen=seen)

    def _copy(self, path: Path, is_hurried: bool, stamp: Stamp) -> _Copy:
        if refusal := self._attempt.refusal(path):
            return _Copy(stamp, None, None, printable(refusal), False, False)
        self._attempt.begin(path)
        copy = _read(path, is_hurried, self._attempt.max_megapixels)
        self._attempt.end(path)
        return copy

    def _has_failed(self, copy: _Copy, arrival: Arrival, path: Path) -> bool:
        """Whether a picture that is not whole has had time enough; one that was seen may be one that nobody may read any more."""
        return arrival.is_overdue and is_there(path) and not (arrival.is_doubtful and copy.stamp is None)

    def _note(self, file: PictureFile) -> None:
        self._seen.note(file)
        self._to_note.append(file)

    def _say_what_was_not_inspected(self) -> None:
        if self.dropped:
            _LOGGER.warning("%s: %d pictures went away or were replaced before their turn", self._folder, self.dropped)
        self._passed_over.say_counts()


class _Copy(NamedTuple):
    """A picture file as it was read: `is_consistent` where nothing of it changed meanwhile."""

    stamp: Stamp | None
    image: AnyArray | None
    digest: bytes | None
    error: str | None
    is_consistent: bool
    may_be_unwritten: bool

    @property
    def is_whole(self) -> bool:
        return self.image is not None and self.is_consistent and not self.may_be_unwritten


def _read(path: Path, is_hurried: bool, max_megapixels: float) -> _Copy:
    stamp = None
    try:
        with open_plain_file(path) as stream:
            stamp = stamp_of(os.fstat(stream.fileno()))
            header, content = read_content(path, stream, max_megapixels)
            is_consistent = stamp_of(os.fstat(stream.fileno())).written == stamp.written
        image = decode_content(path, header, content)
    except OSError as error:
        text = f"{path}: expected a readable picture, got: {error.strerror}."
        return _Copy(stamp, None, None, printable(text), False, False)
    except EdgeLeatherError as error:
        return _Copy(stamp, None, None, str(error), False, False)
    except MemoryError:
        return _Copy(stamp, None, None, printable(NO_MEMORY.format(path=path)), False, False)
    zeros = _UNWRITTEN_BYTES_IN_A_HURRY if is_hurried else min(_UNWRITTEN_BYTES, 1 + len(content) // 8)
    return _Copy(stamp, image, digest_of(content), None, is_consistent, _may_be_unwritten(header, content, zeros))


def _may_be_unwritten(header: PictureHeader, content: bytes, zeros: int) -> bool:
    """Whether a picture ends in so many zeros as those of a file have whose size was set first.

    PNG and JPEG tell their end themselves; of others black pixels look the same.
    """
    return header.format not in ("png", "jpeg") and not any(content[-zeros:])
