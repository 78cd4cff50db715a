"""Thresholds: T1, T2 and T3 of the seed paper, and the default verdict at a stated false-alarm rate.

T1 and T2 cut maps, T3 and the verdict cut image scores (Soares et al. 2023, section 3.3). The verdict needs good
pictures only: it is the split-conformal quantile of their scores (Vovk et al. 2005), or, for rates that so few scores
cannot support, the tail of a generalised Pareto distribution (Hosking and Wallis 1987), marked as extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeleather.arrays import Float64Array
from edgeleather.errors import EdgeLeatherError

DEFAULT_FALSE_ALARM_RATE = 0.01
T1_QUANTILE = 0.99
_TAIL_SHARE = 0.25  # of the scores that the Pareto tail is fitted to
_MIN_TAIL_SCORES = 20


@dataclass(frozen=True)
class VerdictThreshold:
    """The score above which a frame is a defect, and the false-alarm rate a frame that it stands for."""

    value: float
    false_alarm_rate: float
    wished_rate: float
    rule: Literal["conformal", "extrapolated"]

    def describe(self) -> str:
        """One line for a person."""
        rate = f"{100 * self.false_alarm_rate:.3g} % false alarms"
        if self.rule == "extrapolated":
            return f"score above {self.value:.4g}: {rate}, extrapolated from the tail of the good scores"
        if self.false_alarm_rate > self.wished_rate * (1 + 1e-9):
            wished = f"{100 * self.wished_rate:.3g} %"
            return f"score above {self.value:.4g}: {rate}; too few good pictures to support {wished}"
        return f"score above {self.value:.4g}: {rate}"


@dataclass(frozen=True)
class FittedThreshold:
    """A threshold and what it was found on."""

    value: float
    images: int
    groups: int


@dataclass(frozen=True)
class Thresholds:
    """All thresholds of one graph file in one input mode.

    `held_out_scores` and `left_out_scores` (by picture digest, under refits without that picture's photograph) are the
    good scores behind the verdict, each of a frame of `tiles_per_frame` images; they are kept so that another rate,
    another number of tiles or another precision needs no pictures. `good_groups` counts their photographs. `article` is the
    one that they are of, empty where a bundle knows no articles.
    """

    graph: str
    article: str
    input_kind: Literal["resize", "tiles"]
    tiles_per_frame: int
    held_out_scores: tuple[float, ...]
    left_out_scores: dict[str, float]
    good_groups: int
    verdict: VerdictThreshold
    t1_pixel: FittedThreshold
    t2_pixel: FittedThreshold | None
    t3_image: FittedThreshold | None

    @property
    def good_scores(self) -> tuple[float, ...]:
        """All good scores behind the verdict."""
        return (*self.held_out_scores, *self.left_out_scores.values())

    def describe(self) -> str:
        """The verdict in a sentence, with what it rests on."""
        pictures = f"{self.verdict.describe()}; from {len(self.good_scores)} good pictures"
        if self.good_groups == len(self.good_scores):
            return pictures
        return f"{pictures} of {self.good_groups} photographs, which resemble each other: the rate is nominal"

    def refitted(self, held_out_scores: Sequence[float], left_out_scores: dict[str, float]) -> Thresholds:
        """The same thresholds with the verdict that other good scores give; T1 to T3 stay, for whoever needs none of them."""
        verdict = verdict_threshold((*held_out_scores, *left_out_scores.values()), self.verdict.wished_rate)
        scores = tuple(sorted(held_out_scores))
        return replace(self, held_out_scores=scores, left_out_scores=left_out_scores, verdict=verdict)

    def verdict_for(self, tiles: int, rate: float | None = None) -> VerdictThreshold:
        """The verdict for frames of this many tiles, at the recorded or another false-alarm rate a frame.

        Raises:
            EdgeLeatherError: the rate is not between 0 and 1, or too few scores to extrapolate from.
        """
        if tiles == self.tiles_per_frame and rate is None:
            return self.verdict
        wished = self.verdict.wished_rate if rate is None else rate
        return verdict_threshold(
            self.good_scores, wished, units=tiles / self.tiles_per_frame, extrapolate=rate is not None
        )


def verdict_threshold(
    good_scores: Sequence[float], rate: float, units: float = 1.0, extrapolate: bool = False
) -> VerdictThreshold:
    """The score threshold for a false-alarm rate a frame, where a frame holds `units` times what a score was taken of.

    One unit at a rate that n scores cannot support gives 1 / (n + 1), unless `extrapolate`; several units always
    extrapolate, since their rate a unit, 1 - (1 - rate) ** (1 / units), is far rarer.

    Raises:
        EdgeLeatherError: no scores, a rate outside (0, 1), or fewer than 20 scores where the tail must be fitted.
    """
    if not 0.0 < rate < 1.0:
        raise EdgeLeatherError(f"expected a false-alarm rate between 0 and 1 (0.01 is 1 %), got {rate:g}.")
    scores = np.sort(np.asarray(good_scores, np.float64))
    if not len(scores):
        raise EdgeLeatherError("expected held-out good pictures to set the verdict's threshold with, got none.")
    unit_rate = -math.expm1(math.log1p(-rate) / units)
    supported = 1.0 / (len(scores) + 1)
    # 1e-9 forgives the rounding of rates such as 1 / (n + 1) themselves.
    if unit_rate >= supported * (1 - 1e-9):
        rank = min(len(scores), math.ceil((len(scores) + 1) * (1 - unit_rate) - 1e-9))
        return VerdictThreshold(float(scores[max(rank, 1) - 1]), rate, rate, "conformal")
    if units > 1.0 or extrapolate:
        return VerdictThreshold(max(_pareto_tail(scores, unit_rate), float(scores[-1])), rate, rate, "extrapolated")
    return VerdictThreshold(float(scores[-1]), -math.expm1(math.log1p(-supported) * units), rate, "conformal")


def _pareto_tail(scores: Float64Array, rate: float) -> float:
    """The score that a share `rate` of good frames exceeds, by a generalised Pareto tail (probability-weighted moments)."""
    tail = math.ceil(_TAIL_SHARE * len(scores))
    if len(scores) < _MIN_TAIL_SCORES:
        raise EdgeLeatherError(
            f"expected at least {_MIN_TAIL_SCORES} held-out good scores to extrapolate to a rate of {rate:.2g}, "
            f"got {len(scores)}. Train with more good pictures, or accept a rate of {1 / (len(scores) + 1):.2g}."
        )
    origin = float(scores[-tail - 1])
    excess = scores[-tail:] - origin
    mean = float(excess.mean())
    if mean <= 0.0:
        return origin
    position = (np.arange(1, tail + 1) - 0.35) / tail
    weighted = float(((1 - position) * excess).mean())
    # A heavier tail than 0.5 would have no variance, a lighter one than -0.5 ends just behind the last score seen.
    shape = float(np.clip(2.0 - mean / (mean - 2.0 * weighted), -0.5, 0.5)) if mean > 2.0 * weighted else 0.5
    scale = mean * (1.0 - shape)
    ratio = rate / (tail / len(scores))
    if abs(shape) < 1e-6:
        return origin - scale * math.log(ratio)
    return origin + scale / shape * (math.pow(ratio, -shape) - 1.0)
