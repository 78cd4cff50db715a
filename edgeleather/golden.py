"""Golden frames: a few recorded pictures with recorded answers, by which an engine proves that it still gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.bundle import Bundle, file_inside
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.images import read_image
from edgeleather.records import read_record

GOLDEN_FOLDER = "golden"
SCORE_TOLERANCE = 0.02  # of the golden score range (DESIGN 3)
_PAIRS = 4
_MEND = "Make the bundle anew with: edgeleather export RUN --out BUNDLE"
_SMALL_MAP_HW = (16, 16)


class GoldenError(EdgeLeatherError):
    """An engine that does not give the recorded answers to the golden frames."""


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


@dataclass(frozen=True)
class Replay:
    """How far an engine is from the recorded answers: deviation as a share of the golden score range, flipped verdicts."""

    frames: int
    worst_deviation: float
    flipped: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.worst_deviation <= SCORE_TOLERANCE and not self.flipped


def golden_frames(held_out_rgb: list[UInt8Array], seed: int) -> dict[str, UInt8Array]:
    """At most eight frames by file name: held-out normals [h, w, 3] at model size, and each with a synthetic defect."""
    rng = np.random.default_rng((seed, 8))
    kinds = rng.permutation(sorted(DEFECTS))
    frames = {}
    for index, image in enumerate(held_out_rgb[:_PAIRS]):
        frames[f"{GOLDEN_FOLDER}/{index}-good.png"] = image
        frames[f"{GOLDEN_FOLDER}/{index}-{kinds[index]}.png"], _ = paste_defect(image, str(kinds[index]), rng)
    return frames


def record_answers(engine: Engine, graph: str, frames: dict[str, UInt8Array]) -> GoldenAnswers:
    """Run every golden frame alone and keep what the engine says."""
    answers = []
    for file, image in frames.items():
        maps = engine.infer(image[None])
        score = float(maps.scores[0])
        small = tuple(tuple(float(v) for v in row) for row in _small(maps.maps[0]))
        shows: Literal["good", "synthetic defect"] = "good" if file.endswith("-good.png") else "synthetic defect"
        answers.append(GoldenAnswer(file, shows, score, small))
    return GoldenAnswers(graph, tuple(answers))


def read_golden(bundle: Bundle) -> dict[str, UInt8Array]:
    """The bundle's golden frames [h, w, 3] RGB by file name.

    Raises:
        EdgeLeatherError: the bundle has none, or one is damaged.
    """
    names = sorted(name for name in bundle.manifest.files if name.startswith(GOLDEN_FOLDER) and name.endswith(".png"))
    if not names:
        raise EdgeLeatherError(f"{bundle.folder}: the bundle has no golden frames. {_MEND}")
    return {name: _read_frame(bundle, name) for name in names}


def answers_file(graph: str) -> str:
    """Where a graph's recorded answers lie in the bundle."""
    return f"{GOLDEN_FOLDER}/{graph}.json"


def replay(bundle: Bundle, engine: Engine, graph: str, frames: int | None = None) -> Replay:
    """Run the first `frames` golden frames (default: all) and compare scores and verdicts with the recorded ones.

    Raises:
        EdgeLeatherError: the golden record is not readable.
    """
    recorded = read_record(GoldenAnswers, file_inside(bundle.folder, answers_file(graph)), _MEND)
    missing = {answer.file for answer in recorded.answers} - set(bundle.manifest.files)
    if missing or not recorded.answers:
        raise EdgeLeatherError(f"{bundle.folder}: golden frames are missing ({', '.join(missing) or 'all'}). {_MEND}")
    threshold = bundle.thresholds_of(graph).verdict.value
    scores = [answer.score for answer in recorded.answers]
    # With one frame, or equal ones, the range says nothing; the score itself is the scale then.
    scale = max(max(scores) - min(scores), 1e-6 * abs(max(scores)), 1e-12) if scores else 1.0
    worst, flipped = 0.0, []
    for answer in recorded.answers[:frames]:
        score = float(engine.infer(_read_frame(bundle, answer.file)[None]).scores[0])
        deviation = abs(score - answer.score) / scale
        worst = max(worst, deviation if np.isfinite(deviation) else np.inf)
        near = abs(answer.score - threshold) <= SCORE_TOLERANCE * scale
        if (score > threshold) != (answer.score > threshold) and not near:
            flipped.append(answer.file)
    return Replay(len(recorded.answers[:frames]), worst, tuple(flipped))


def require_golden(bundle: Bundle, engine: Engine, graph: str, frames: int | None = None) -> Replay:
    """Replay golden frames and refuse an engine that fails.

    Raises:
        GoldenError: a score lies outside the tolerance or a verdict differs.
    """
    result = replay(bundle, engine, graph, frames)
    if not result.passed:
        raise GoldenError(
            f"{bundle.folder}: {engine.signature.backend} does not give the recorded answers to the golden frames "
            f"({100 * result.worst_deviation:.2g} % off, {100 * SCORE_TOLERANCE:g} % allowed; flipped: "
            f"{', '.join(result.flipped) or 'none'}). Another version of {engine.signature.backend} or a fault of this "
            "machine is the likely cause: run 'edgeleather doctor BUNDLE', and do not inspect with it."
        )
    return result


def _read_frame(bundle: Bundle, name: str) -> UInt8Array:
    return np.asarray(cv2.cvtColor(read_image(file_inside(bundle.folder, name)), cv2.COLOR_BGR2RGB), np.uint8)


def _small(anomaly_map: Float32Array) -> Float32Array:
    return np.asarray(cv2.resize(anomaly_map, _SMALL_MAP_HW[::-1], interpolation=cv2.INTER_AREA), np.float32)
