"""A film of synthetic leather that moves past the camera, for the demo and for tests of the loop."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeleather.dataset.synthesis import SynthSettings, strip_with_defects
from edgeleather.errors import EdgeLeatherError
from edgeleather.progress import track

FRAMES_PER_SECOND = 10.0


def write_film(path: Path, frames: int, settings: SynthSettings) -> list[bool]:
    """Write a film (FFV1, lossless: lossy coding changes the grain) and say for each frame whether it shows a defect.

    Raises:
        EdgeLeatherError: this OpenCV cannot encode it, or the file cannot be written.
    """
    size, step = settings.size_px, settings.size_px // 4
    strip, mask = strip_with_defects(size + step * (frames - 1), settings)
    code = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), code, FRAMES_PER_SECOND, (size, size))
    if not writer.isOpened():
        raise EdgeLeatherError(f"{path}: this OpenCV cannot write FFV1 video there. Is the folder writable?")
    shown = []
    try:
        for left in track(range(0, step * frames, step), "film"):
            window = strip[:, left : left + size]
            writer.write(cv2.cvtColor(window, cv2.COLOR_RGB2BGR))
            shown.append(bool(mask[:, left : left + size].any()))
    finally:
        writer.release()
    return shown
