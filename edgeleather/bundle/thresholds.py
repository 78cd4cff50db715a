"""Thresholds: T1, T2 and T3 of the seed paper, and the default verdict at a stated false-alarm rate.

T1 and T2 cut maps, T3 and the verdict cut image scores (Soares et al. 2023, section 3.3). The verdict needs good
pictures only: it is the split-conformal quantile of their scores (Vovk et al. 2005), or, for rates that so few scores
cannot support, the tail of a generalised Pareto distribution (Hosking and Wallis 1987), marked as extrapolated.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeleather.arrays import AnyArray, Float64Array
from edgeleather.errors import EdgeLeatherError

DEFAULT_FALSE_ALARM_RATE = 0.01
T1_QUANTILE = 0.99
_TAIL_SHARE = 0.25  # of the scores that the Pareto tail is fitted to
_MIN_TAIL_SCORES = 20
# A tail in which all scores are the same says nothing about rarer ones; this share of the score keeps them apart.
_LEAST_SCALE = 1e-6


@dataclass(frozen=True)
class VerdictThreshold:
    """The score above which a frame is a defect, and the false-alarm rate per frame that it stands for.

    One that was `chosen` stands for the rate that its good scores give, and nobody wished for that rate.
    """

    value: float
    false_alarm_rate: float
    wished_rate: float
    rule: Literal["conformal", "extrapolated", "chosen"]

    def describe(self) -> str:
        """One line for a person."""
        rate = f"{100 * self.false_alarm_rate:.3g} % false alarms"
        if self.rule == "chosen":
            return f"score above {self.value:.4g}, which was chosen: about {rate} by the good scores"
        if self.rule == "extrapolated":
            return (
                f"score above {self.value:.4g}: {rate}, extrapolated from the tail of the good scores, since so few pictures "
                "do not support that rate"
            )
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
class PeakShare:
    """How far a region reaches: down to a share of the height of its own peak above `normal`, the median of good pixels.

    It was fitted on so many synthetic `defects`, pasted on so many good `images`.
    """

    share: float
    normal: float
    images: int
    defects: int

    def limit_below(self, peaks: AnyArray) -> Float64Array:
        """The values that the pixels of regions with these peaks exceed."""
        return np.asarray(self.normal + self.share * (np.asarray(peaks, np.float64) - self.normal), np.float64)


@dataclass(frozen=True)
class ThresholdChoice:
    """Where a verdict threshold that somebody chose came from.

    `wished` is a score of the graph named, a false-alarm rate or a hit rate. `pictures` are the digests of the labelled pictures
    of `data` that it was chosen on, or chosen while they were shown: figures on them are no measurement.
    """

    kind: Literal["value", "false_alarm_rate", "hit_rate"]
    wished: float
    graph: str
    chosen_at: str
    data: str | None
    pictures: tuple[str, ...]

    def describe(self) -> str:
        """One line for a person."""
        words = {"value": "as a score", "false_alarm_rate": "by its false-alarm rate", "hit_rate": "by its hit rate"}
        if not self.pictures:
            return f"chosen {words[self.kind]}"
        return (
            f"chosen {words[self.kind]} on {len(self.pictures)} labelled pictures of {self.data}: figures on these are no "
            "measurement"
        )


@dataclass(frozen=True)
class Thresholds:
    """All thresholds of one graph file in one input mode.

    `held_out_scores` and `left_out_scores` (by picture digest, under refits without that picture's photograph) are the
    good scores behind the verdict, each of a frame of `tiles_per_frame` images; they are kept so that another rate,
    another number of tiles or another precision needs no pictures. `good_groups` counts their photographs. `article` is the
    one that they are of, empty where a bundle knows no articles. `peak_share` is None
    where regions reach as far as T2, or T1 without it. `choice` is None for the verdict that the bundle was made with.
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
    peak_share: PeakShare | None
    choice: ThresholdChoice | None

    @property
    def pixel_threshold(self) -> float:
        """The map value that all pixels of a region exceed: T1 where a share of the peak is known, else T2, or T1 without T2."""
        fitted = None if self.peak_share else self.t2_pixel
        return (fitted or self.t1_pixel).value

    @property
    def good_scores(self) -> tuple[float, ...]:
        """All good scores behind the verdict."""
        return (*self.held_out_scores, *self.left_out_scores.values())

    def describe(self) -> str:
        """The verdict in a sentence, with what it rests on."""
        pictures = f"{self.verdict.describe()}; from {len(self.good_scores)} good pictures"
        if self.good_groups != len(self.good_scores):
            pictures += f" of {self.good_groups} photographs, which resemble each other: the rate is nominal"
        return f"{pictures}; {self.choice.describe()}" if self.choice else pictures

    def refitted(self, held_out_scores: Sequence[float], left_out_scores: dict[str, float]) -> Thresholds:
        """The same thresholds with the verdict that other good scores give; what cuts maps stays as it is."""
        scores = (*held_out_scores, *left_out_scores.values())
        verdict = verdict_threshold(scores, self.verdict.wished_rate, extrapolate=self.verdict.rule == "extrapolated")
        held_out = tuple(sorted(held_out_scores))
        made = replace(self, held_out_scores=held_out, left_out_scores=left_out_scores, verdict=verdict, choice=None)
        return made.chosen_like(self)

    def chosen(self, choice: ThresholdChoice, value: float | None = None) -> Thresholds:
        """The same thresholds with a chosen verdict: `value`, or what the choice's false-alarm rate gives.

        Raises:
            EdgeLeatherError: fewer than 20 scores where the tail must be fitted.
        """
        if value is None:
            verdict = verdict_threshold(self.good_scores, choice.wished, extrapolate=True)
        else:
            rate = (1 + sum(score > value for score in self.good_scores)) / (len(self.good_scores) + 1)
            verdict = VerdictThreshold(value, rate, rate, "chosen")
        return replace(self, verdict=verdict, choice=choice)

    def chosen_like(self, other: Thresholds) -> Thresholds:
        """The same thresholds with the choice that was made for another graph of the bundle, if any was.

        A chosen score is moved by the mean difference between the two graphs' scores of the same good pictures.
        """
        if other.choice is None:
            return self
        if other.choice.kind == "false_alarm_rate":
            return self.chosen(other.choice)
        shift = float(np.mean(self.good_scores) - np.mean(other.good_scores))
        return self.chosen(other.choice, other.verdict.value + shift)

    def verdict_for(self, tiles: int, rate: float | None = None) -> VerdictThreshold:
        """The verdict for frames of this many tiles, at the recorded or another false-alarm rate per frame.

        A score that was chosen holds for frames of any number of tiles.

        Raises:
            EdgeLeatherError: the rate is not between 0 and 1, or too few scores to extrapolate from.
        """
        if rate is None and (tiles == self.tiles_per_frame or self.verdict.rule == "chosen"):
            return self.verdict
        wished = self.verdict.wished_rate if rate is None else rate
        extrapolate = rate is not None or self.verdict.rule == "extrapolated"
        return verdict_threshold(self.good_scores, wished, units=tiles / self.tiles_per_frame, extrapolate=extrapolate)


def verdict_threshold(
    good_scores: Sequence[float], rate: float, units: float = 1.0, extrapolate: bool = False
) -> VerdictThreshold:
    """The score threshold for a false-alarm rate per frame, where a frame holds `units` times what a score was taken of.

    One unit at a rate that n scores cannot support gives 1 / (n + 1), unless `extrapolate`; several units always
    extrapolate, since their rate per unit, 1 - (1 - rate) ** (1 / units), is far rarer. What is extrapolated lies above all
    good scores, and the higher the rarer the rate per unit is.

    Raises:
        EdgeLeatherError: no scores, a rate outside (0, 1), or fewer than 20 scores where the tail must be fitted.
    """
    if not 0.0 < rate < 1.0:
        raise EdgeLeatherError(f"expected a false-alarm rate between 0 and 1 (0.01 is 1 %), got {rate:g}.")
    scores = np.sort(np.asarray(good_scores, np.float64))
    if not len(scores):
        raise EdgeLeatherError("expected held-out good pictures to set the verdict's threshold with, got none.")
    unit_rate = max(-math.expm1(math.log1p(-rate) / units), sys.float_info.min)
    supported = 1.0 / (len(scores) + 1)
    # 1e-9 forgives the rounding of rates such as 1 / (n + 1) themselves.
    if unit_rate >= supported * (1 - 1e-9):
        rank = min(len(scores), math.ceil((len(scores) + 1) * (1 - unit_rate) - 1e-9))
        return VerdictThreshold(float(scores[max(rank, 1) - 1]), rate, rate, "conformal")
    if units > 1.0 or extrapolate:
        return VerdictThreshold(_pareto_tail(scores, unit_rate), rate, rate, "extrapolated")
    return VerdictThreshold(float(scores[-1]), -math.expm1(math.log1p(-supported) * units), rate, "conformal")


def can_extrapolate(good_scores: Sequence[float]) -> bool:
    """Whether there are enough good scores to fit a tail to."""
    return len(good_scores) >= _MIN_TAIL_SCORES


def _pareto_tail(scores: Float64Array, rate: float) -> float:
    """The score that a share `rate` of good frames exceeds, by a generalised Pareto tail (probability-weighted moments).

    The tail begins at the largest score, which stands for 1 / (n + 1), and rises strictly as the rate falls.
    """
    if not can_extrapolate(scores.tolist()):
        raise EdgeLeatherError(
            f"expected at least {_MIN_TAIL_SCORES} held-out good scores to extrapolate to a rate of {rate:.2g}, "
            f"got {len(scores)}. Train with more good pictures, or accept a rate of {1 / (len(scores) + 1):.2g}."
        )
    tail = math.ceil(_TAIL_SHARE * len(scores))
    excess = scores[-tail:] - scores[-tail - 1]
    mean = float(excess.mean())
    position = (np.arange(1, tail + 1) - 0.35) / tail
    weighted = float(((1 - position) * excess).mean())
    # A score is the highest of many pixels, whose limit has no upper end (Gumbel's, or a heavier one): a tail with an end,
    # fitted to so few scores, would give rates of any rarity the same threshold. One heavier than 0.5 has no variance.
    shape = float(np.clip(2.0 - mean / (mean - 2.0 * weighted), 0.0, 0.5)) if mean > 2.0 * weighted else 0.5
    largest = float(scores[-1])
    scale = max(mean * (1.0 - shape), _LEAST_SCALE * max(abs(largest), _LEAST_SCALE))

    def quantile(one: float) -> float:
        ratio = one * len(scores) / tail
        return -scale * math.log(ratio) if shape < 1e-6 else scale / shape * (math.pow(ratio, -shape) - 1.0)

    return largest + quantile(rate) - quantile(1.0 / (len(scores) + 1))
