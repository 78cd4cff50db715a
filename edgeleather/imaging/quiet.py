"""OpenCV's own messages, switched off for a time: what goes wrong in it is reported by its callers, once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import cv2

_FFMPEG_VARIABLE, _FFMPEG_QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV and its FFmpeg inside the block, and put back what was set before.

    FFmpeg's level is read once in a process, when the first film or stream is opened; a value that the user set is kept.
    """
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    was_set = _FFMPEG_VARIABLE in os.environ
    os.environ.setdefault(_FFMPEG_VARIABLE, _FFMPEG_QUIET)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if not was_set:
            os.environ.pop(_FFMPEG_VARIABLE, None)
