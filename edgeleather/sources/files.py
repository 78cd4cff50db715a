"""Sources of frames from files, of which none is dropped, and the choice of a source by what the user wrote."""

from __future__ import annotations

import contextlib
import glob
import queue
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.imaging.images import SUFFIXES, is_image
from edgeleather.sources.credentials import without_credentials
from edgeleather.sources.frame import DropPolicy, Frame, FrameSource
from edgeleather.sources.live import LiveSource, Patience, StateListener, live_address
from edgeleather.sources.watched import Resumption, WatchedFolder, WatchFrom, frame_of_picture

# These containers hold a duration, from which the number of frames follows only nearly.
_COUNT_IS_ESTIMATED = (".mkv", ".webm", ".ts", ".mpg", ".mpeg", ".wmv")
_KINDS = "a picture, a folder, a quoted pattern, a video file, a camera's number, an RTSP or HTTP address or gstreamer:PIPELINE"
_AHEAD_FRAMES = 2
_CLOSE_SECONDS = 2.0
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")


class PictureSource:
    """Picture files in the given order; one that does not decode is a frame that failed, not the end."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.total: int | None = len(paths)

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, path in enumerate(self._paths):
            yield frame_of_picture(index, path)


class VideoSource:
    """The frames of a video file, all of them."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            self._capture.release()
            raise EdgeLeatherError(f"{path}: expected a video, got a file that does not open as one (or is cut off).")
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total: int | None = count if count > 0 else None

    def __iter__(self) -> Generator[Frame, None, None]:
        index = 0
        try:
            while True:
                started = time.perf_counter()
                read, image = self._capture.read()
                if not read:
                    break
                yield Frame(
                    index, time.time(), printable(str(self._path)), image, 1e3 * (time.perf_counter() - started)
                )
                index += 1
        finally:
            self._capture.release()
        estimated = self._path.suffix.lower() in _COUNT_IS_ESTIMATED
        if self.total is not None and index < self.total - (1 + self.total // 100 if estimated else 0):
            raise EdgeLeatherError(
                f"{self._path}: the video ended after {index} of {self.total} frames; it is damaged."
            )


class ReadAhead:
    """The frames of files, read on a thread while the one before is inspected; none is dropped.

    It gains what reading waits for (a network drive); of decoding nothing where inference has every core (0.99 times as fast
    on 2 cores, pictures on a local disk).
    """

    dropped = 0

    def __init__(self, source: PictureSource | VideoSource | WatchedFolder, stop: threading.Event) -> None:
        """`stop` ends the wait for a drive that does not answer."""
        self._source, self._stop = source, stop
        self.drop_policy: DropPolicy = source.drop_policy
        self.total = source.total

    def __iter__(self) -> Generator[Frame, None, None]:
        ahead: queue.Queue[Frame | BaseException | None] = queue.Queue(_AHEAD_FRAMES)
        left = threading.Event()

        def read() -> None:
            end: BaseException | None = None
            try:
                with contextlib.closing(iter(self._source)) as frames:
                    for frame in frames:
                        if not _put(ahead, frame, left):
                            return
            except BaseException as error:  # belongs to who iterates
                end = error
            _put(ahead, end, left)

        thread = threading.Thread(target=read, name="read ahead", daemon=True)
        thread.start()
        try:
            while (item := self._next(ahead)) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left.set()
            thread.join(_CLOSE_SECONDS)

    def _next(self, ahead: queue.Queue[Frame | BaseException | None]) -> Frame | BaseException | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return ahead.get(timeout=0.2)
            if self._stop.is_set():
                return None


def _put(
    ahead: queue.Queue[Frame | BaseException | None], item: Frame | BaseException | None, left: threading.Event
) -> bool:
    """Queue an item; False where nobody iterates any more."""
    while not left.is_set():
        with contextlib.suppress(queue.Full):
            ahead.put(item, timeout=0.1)
            return True
    return False


class MemorySource:
    """Frames that are in memory already: for tests and for measuring the loop itself."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, images: Sequence[AnyArray], name: str = "memory") -> None:
        self._images = images
        self._name = name
        self.total: int | None = len(images)

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, image in enumerate(self._images):
            yield Frame(index, time.time(), f"{self._name}[{index}]", image)


def open_source(
    source: str,
    stop: threading.Event | None = None,
    patience: Patience = Patience(),
    listener: StateListener = lambda state, detail: None,
    watch: WatchFrom | None = None,
    shown: str | None = None,
    resumption: Resumption | None = None,
) -> FrameSource:
    """A source by what the user wrote: a picture, folder, glob pattern or video file, a camera or a stream's address.

    `stop` ends the wait for a frame, `patience` is for live sources, `listener` is told of their states, `watch` goes on with
    the pictures that come into a folder (after `resumption`), and `shown` stands for an address with secrets in it.

    Raises:
        EdgeLeatherError: nothing is there, or it is none of these.
    """
    if not source:
        raise EdgeLeatherError(f"expected {_KINDS}, got an empty --source.")
    stop = stop or threading.Event()
    address = live_address(source, shown)
    if address and watch:
        raise EdgeLeatherError(f"expected a folder to watch, got {address.name}.")
    if address:
        return LiveSource(address, stop, patience, listener)
    if "://" in source:
        raise EdgeLeatherError(f"expected rtsp, rtsps, http or https, got {without_credentials(shown or source)}.")
    if watch:
        return ReadAhead(WatchedFolder(Path(source), watch, stop, listener, resumption), stop)
    path = Path(source)
    if path.is_dir():
        pictures = sorted(entry for entry in path.iterdir() if is_image(entry) and not entry.is_dir())
        if not pictures:
            raise EdgeLeatherError(
                f"{source}: expected pictures in this folder ({', '.join(s[1:] for s in SUFFIXES)}), found none. "
                f"For those in its folders, quote a pattern: --source '{source.rstrip('/')}/*/*.png'"
            )
        return ReadAhead(PictureSource(pictures), stop)
    if path.is_file():
        if is_image(path):
            return PictureSource([path])
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return ReadAhead(VideoSource(path), stop)
        known = ", ".join(suffix[1:] for suffix in (*SUFFIXES, *VIDEO_SUFFIXES))
        raise EdgeLeatherError(
            f"{source}: expected a picture or a video ({known}), got a {path.suffix or 'nameless'} file."
        )
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))
        pictures = [match for match in matches if is_image(match) and not match.is_dir()]
        if not pictures:
            raise EdgeLeatherError(f"{source}: expected pictures that match this pattern, found none.")
        return ReadAhead(PictureSource(pictures), stop)
    found = "a pipe or device" if path.exists() else "nothing"
    raise EdgeLeatherError(f"{source}: expected {_KINDS}, found {found} there.")
