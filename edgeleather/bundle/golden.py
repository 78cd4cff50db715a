"""Golden frames: a few recorded pictures with recorded answers, by which an engine proves that it still gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, file_inside
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import read_image
from edgeleather.records import read_record

GOLDEN_FOLDER = "golden"
_MEND = "Make the bundle anew with: edgeleather export RUN --out BUNDLE"


@dataclass(frozen=True)
class GoldenAnswer:
    """What a graph said to one golden frame: its score, and its map reduced to 16 x 16."""

    file: str
    shows: Literal["good", "synthetic defect"]
    score: float
    small_map: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class GoldenAnswers:
    """One graph's answers to all golden frames, recorded in ONNX Runtime at export."""

    graph: str
    answers: tuple[GoldenAnswer, ...]


def read_golden(bundle: Bundle) -> dict[str, UInt8Array]:
    """The bundle's golden frames [h, w, 3] RGB by file name.

    Raises:
        EdgeLeatherError: the bundle has none, or one is damaged.
    """
    names = sorted(name for name in bundle.manifest.files if name.startswith(GOLDEN_FOLDER) and name.endswith(".png"))
    if not names:
        raise EdgeLeatherError(f"{bundle.folder}: the bundle has no golden frames. {_MEND}")
    return {name: read_frame(bundle, name) for name in names}


def answers_file(graph: str) -> str:
    """Where a graph's recorded answers lie in the bundle."""
    return f"{GOLDEN_FOLDER}/{graph}.json"


def read_answers(bundle: Bundle, graph: str) -> GoldenAnswers:
    """A graph's recorded answers.

    Raises:
        EdgeLeatherError: they are not readable, or name frames that the bundle does not hold.
    """
    recorded = read_record(GoldenAnswers, file_inside(bundle.folder, answers_file(graph)), _MEND)
    missing = {answer.file for answer in recorded.answers} - set(bundle.manifest.files)
    if missing or not recorded.answers:
        raise EdgeLeatherError(f"{bundle.folder}: golden frames are missing ({', '.join(missing) or 'all'}). {_MEND}")
    return recorded


def read_frame(bundle: Bundle, name: str) -> UInt8Array:
    """One golden frame [h, w, 3] RGB by its file name.

    Raises:
        EdgeLeatherError: it is damaged, or larger than the model's images.
    """
    height, width = bundle.manifest.input_mode.image_size_hw
    image_bgr = read_image(file_inside(bundle.folder, name), max_megapixels=height * width / 1e6)
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), np.uint8)
