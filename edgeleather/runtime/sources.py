"""Frame sources: iterators of frames that free what they hold. Files are `every_frame`: none is dropped."""

from __future__ import annotations

import glob
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.images import SUFFIXES, is_image, read_image

DropPolicy = Literal["every_frame", "keep_latest"]
# These containers hold a duration, from which the number of frames follows only nearly.
_COUNT_IS_ESTIMATED = (".mkv", ".webm", ".ts", ".mpg", ".mpeg", ".wmv")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")


@dataclass(frozen=True)
class Frame:
    """One captured frame [h, w] or [h, w, c] (BGR); `image` is None where capturing it failed, `error` says why.

    `captured_at` is Unix time in seconds; `capture_ms` what reading and decoding took.
    """

    index: int
    captured_at: float
    source: str
    image: AnyArray | None
    capture_ms: float = 0.0
    error: str | None = None


class FrameSource(Protocol):
    """An iterable of frames. `dropped` counts frames that were captured and passed over; `total` is None where unknown."""

    drop_policy: DropPolicy
    dropped: int
    total: int | None

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield frames; the device or file is freed when the iteration ends, however it ends.

        Raises:
            EdgeLeatherError: the source ended abnormally.
        """


class PictureSource:
    """Picture files in the given order; one that does not decode is a frame that failed, not the end."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.total: int | None = len(paths)

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, path in enumerate(self._paths):
            started = time.perf_counter()
            image, error = None, None
            try:
                image = read_image(path)
            except EdgeLeatherError as failure:
                error = str(failure)
            yield Frame(index, time.time(), printable(str(path)), image, 1e3 * (time.perf_counter() - started), error)


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


def open_source(source: str) -> FrameSource:
    """A source by what the user wrote: a picture, a folder, a glob pattern or a video file.

    Raises:
        EdgeLeatherError: nothing is there, or it is neither.
    """
    if not source:
        raise EdgeLeatherError("expected a picture, a folder, a quoted pattern or a video file, got an empty --source.")
    path = Path(source)
    if path.is_dir():
        pictures = sorted(entry for entry in path.iterdir() if is_image(entry) and not entry.is_dir())
        if not pictures:
            raise EdgeLeatherError(
                f"{source}: expected pictures in this folder ({', '.join(s[1:] for s in SUFFIXES)}), found none. "
                f"For those in its folders, quote a pattern: --source '{source.rstrip('/')}/*/*.png'"
            )
        return PictureSource(pictures)
    if path.is_file():
        if is_image(path):
            return PictureSource([path])
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(path)
        known = ", ".join(suffix[1:] for suffix in (*SUFFIXES, *VIDEO_SUFFIXES))
        raise EdgeLeatherError(
            f"{source}: expected a picture or a video ({known}), got a {path.suffix or 'nameless'} file."
        )
    if glob.has_magic(source):
        matches = sorted(Path(match) for match in glob.glob(source, recursive=True))
        pictures = [match for match in matches if is_image(match) and not match.is_dir()]
        if not pictures:
            raise EdgeLeatherError(f"{source}: expected pictures that match this pattern, found none.")
        return PictureSource(pictures)
    found = "a pipe or device" if path.exists() else "nothing"
    raise EdgeLeatherError(
        f"{source}: expected a picture, a folder, a quoted pattern or a video file, found {found} there."
    )
