"""Sources of frames from files, of which none is dropped."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.imaging.images import read_image
from edgeleather.sources.attempt import NO_MEMORY, PLAIN_ATTEMPT, PictureAttempt
from edgeleather.sources.edit_list import is_all_that_is_shown
from edgeleather.sources.frame import DropPolicy, Frame

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")
# These containers hold a duration, from which the number of frames follows only nearly.
_COUNT_IS_ESTIMATED = (".mkv", ".webm", ".ts", ".mpg", ".mpeg", ".wmv")


def frame_of_picture(index: int, path: Path, attempt: PictureAttempt = PLAIN_ATTEMPT) -> Frame:
    """A picture file as a frame; one that does not decode, is too large, or needs more memory than there is, has failed."""
    started = time.perf_counter()
    image, error = None, attempt.refusal(path)
    if error is None:
        attempt.begin(path)
        try:
            image = read_image(path, attempt.max_megapixels)
        except EdgeLeatherError as failure:
            error = str(failure)
        except MemoryError:
            error = NO_MEMORY.format(path=path)
        attempt.end(path)
    error = None if error is None else printable(error)
    return Frame(index, time.time(), printable(str(path)), image, 1e3 * (time.perf_counter() - started), error)


class PictureSource:
    """Picture files in the given order; one that does not decode is a frame that failed, not the end."""

    drop_policy: DropPolicy = "every_frame"
    dropped = 0

    def __init__(self, paths: Sequence[Path], attempt: PictureAttempt = PLAIN_ATTEMPT) -> None:
        self._paths, self._attempt = paths, attempt
        self.total: int | None = len(paths)

    def close(self) -> None:
        """Nothing is held before the first frame."""

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, path in enumerate(self._paths):
            yield frame_of_picture(index, path, self._attempt)


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

    def close(self) -> None:
        """Free the file."""
        self._capture.release()

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
        tolerance = 1 + self.total // 100 if estimated and self.total else 0
        if self.total is not None and index < self.total - tolerance and not is_all_that_is_shown(self._path, index):
            raise EdgeLeatherError(
                f"{self._path}: the video ended after {index} of {self.total} frames; it is damaged."
            )
