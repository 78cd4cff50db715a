"""A frame's answer is checked as a whole: every value of the map, and that the score is its maximum."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleather.engines.engine import Maps, Signature
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode
from edgeleather.inspection.inference import infer_frame

SIDE = 32
MODES = {"one image": InputMode("resize", (SIDE, SIDE), 1.0), "tiles": InputMode("tiles", (SIDE, SIDE), 1.0)}


class SpoiltEngine:
    """An engine that answers with a ramp from 0 to 1, in which one value, or the score, was replaced."""

    def __init__(self, value: float | None = None, score: float | None = None) -> None:
        self._value, self._score = value, score
        self.signature = Signature("toy", "fp32", "none", {}, "", (SIDE, SIDE), (1, None))

    def infer(self, images):
        maps = np.tile(np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE), (len(images), 1, 1))
        if self._value is not None:
            maps[-1, -2, -2] = self._value  # where no other tile is nearer
        scores = maps.max(axis=(1, 2)) if self._score is None else np.full(len(images), self._score, np.float32)
        return Maps(maps, scores)

    def close(self) -> None:
        """Nothing is held."""


def frame_for(mode):
    side = SIDE if mode.kind == "resize" else 2 * SIDE
    return np.zeros((side, side, 3), np.uint8)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_one_value_that_is_not_finite_refuses_the_frame(mode, value):
    with pytest.raises(EdgeLeatherError, match="NaN or infinity"):
        infer_frame(SpoiltEngine(value), frame_for(mode), mode)


@pytest.mark.parametrize("score", [0.5, 1.01, np.nan])
def test_a_score_that_is_not_the_maximum_refuses_the_frame(score):
    mode = MODES["one image"]
    with pytest.raises(EdgeLeatherError, match="no verdict"):
        infer_frame(SpoiltEngine(score=score), frame_for(mode), mode)


def test_a_rounding_of_fp16_is_no_other_score():
    mode = MODES["one image"]
    assert infer_frame(SpoiltEngine(score=float(np.float16(0.9996))), frame_for(mode), mode).score == pytest.approx(
        1, abs=1e-3
    )
