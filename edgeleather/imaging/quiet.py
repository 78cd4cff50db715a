"""OpenCV's own messages, switched off for a time: what goes wrong in it is reported by its callers, once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import cv2

from edgeleather.shared_change import SharedChange

_FFMPEG_VARIABLE, _FFMPEG_QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


def quiet_opencv() -> AbstractContextManager[None]:
    """Silence OpenCV and its FFmpeg inside the block; the last of several such blocks puts back what was set before.

    FFmpeg's level is read once in a process, when the first film or stream is opened; a value that the user set is kept.
    """
    return _QUIET


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    was_set = _FFMPEG_VARIABLE in os.environ
    os.environ.setdefault(_FFMPEG_VARIABLE, _FFMPEG_QUIET)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if not was_set:
            os.environ.pop(_FFMPEG_VARIABLE, None)


_QUIET = SharedChange(_silenced)
