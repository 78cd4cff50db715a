"""The proof of an engine: it still gives the recorded answers to the bundle's golden frames."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, UInt8Array
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.golden import GoldenAnswer, GoldenAnswers, read_answers, read_frame
from edgeleather.engines.engine import Engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import saturates_integer_products

Result = TypeVar("Result")

SCORE_TOLERANCE = 0.02  # of the golden score range
_SMALL_MAP_HW = (16, 16)


class GoldenError(EdgeLeatherError):
    """An engine that does not give the recorded answers to the golden frames."""


@dataclass(frozen=True)
class Replay:
    """How far an engine is from the recorded answers: deviation as a share of the golden score range, flipped verdicts."""

    frames: int
    worst_deviation: float
    flipped: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.worst_deviation <= SCORE_TOLERANCE and not self.flipped


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


def replay(bundle: Bundle, engine: Engine, graph: str, frames: int | None = None) -> Replay:
    """Run the first `frames` golden frames (default: all) and compare scores and verdicts with the recorded ones.

    Raises:
        EdgeLeatherError: the golden record is not readable.
    """
    recorded = read_answers(bundle, graph)
    threshold = bundle.thresholds_of(graph).verdict.value
    scores = [answer.score for answer in recorded.answers]
    # With one frame, or equal ones, the range says nothing; the score itself is the scale then.
    scale = max(max(scores) - min(scores), 1e-6 * abs(max(scores)), 1e-12) if scores else 1.0
    worst, flipped = 0.0, []
    for answer in recorded.answers[:frames]:
        score = float(engine.infer(read_frame(bundle, answer.file)[None]).scores[0])
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
            f"{', '.join(result.flipped) or 'none'}). {_likely_cause(engine)}: run 'edgeleather doctor BUNDLE', and do not "
            "inspect with it."
        )
    return result


def _likely_cause(engine: Engine) -> str:
    if engine.signature.precision == "int8" and saturates_integer_products():
        return "INT8 saturates on this processor, which has no integer dot products; use another precision"
    return f"Another version of {engine.signature.backend} or a fault of this machine is the likely cause"


def first_proven(graphs: Sequence[str], attempt: Callable[[str], Result]) -> Result:
    """What `attempt` gives for the first graph that gives its recorded answers; it raises GoldenError for one that does not.

    Raises:
        GoldenError: the last one does not either.
        EdgeLeatherError: what else `attempt` raises, at once.
    """
    *earlier, last = graphs
    for graph in earlier:
        with contextlib.suppress(GoldenError):
            return attempt(graph)
    return attempt(last)


def _small(anomaly_map: Float32Array) -> Float32Array:
    return np.asarray(cv2.resize(anomaly_map, _SMALL_MAP_HW[::-1], interpolation=cv2.INTER_AREA), np.float32)
