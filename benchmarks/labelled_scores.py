"""Scores of labelled pictures, the verdict of each at any threshold, and shares with intervals that count photographs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeleather.bundle.bundle import Bundle
from edgeleather.dataset.index import DatasetIndex, IndexedSample
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import appearance_of, thinned
from edgeleather.inspection.familiarity import FamiliarityCheck
from edgeleather.inspection.inference import infer_frame
from edgeleather.inspection.inspector import Inspector
from edgeleather.progress import track

CONFIDENCE_PERCENT = 95
_NORMAL_QUANTILE = 1.959964  # of 97.5 %


@dataclass(frozen=True)
class LabelledScore:
    """A labelled picture with its score, and why it would be unfamiliar with a score above or below the threshold, or None."""

    sample: IndexedSample
    score: float
    tiles: int
    odd_above: str | None
    odd_below: str | None

    def verdict(self, threshold: float) -> str:
        """The verdict at a score threshold: good, defect or unfamiliar."""
        is_above = self.score > threshold
        if self.odd_above if is_above else self.odd_below:
            return "unfamiliar"
        return "defect" if is_above else "good"

    def reason(self, threshold: float) -> str | None:
        """Why the picture is unfamiliar at a score threshold; None where it is not."""
        return self.odd_above if self.score > threshold else self.odd_below


@dataclass(frozen=True)
class Share:
    """A share of some pictures in percent, with its 95 % interval.

    Pictures of one photograph resemble each other, so the interval is as wide as if each photograph were one picture
    (Wilson 1927, with the share of the pictures and the number of the photographs).
    """

    pictures: int
    of: int
    photographs: int
    percent: float
    low_percent: float
    high_percent: float


def share(pictures: int, of: int, photographs: int) -> Share:
    """The share of `pictures` in `of` that come from so many photographs; `of` is at least 1."""
    found, square = pictures / of, _NORMAL_QUANTILE**2
    middle = (found + square / (2 * photographs)) / (1 + square / photographs)
    spread = found * (1 - found) / photographs + square / (4 * photographs**2)
    half = _NORMAL_QUANTILE * math.sqrt(spread) / (1 + square / photographs)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Share(pictures, of, photographs, 100 * found, 100 * min(low, found), 100 * max(high, found))


def share_of(flags: Sequence[bool], scored: Sequence[LabelledScore]) -> Share | None:
    """The share of the pictures that have their flag set; None without pictures."""
    return share(sum(flags), len(scored), len({one.sample.group for one in scored})) if scored else None


def labelled_samples(bundle: Bundle, dataset: DatasetIndex) -> list[IndexedSample]:
    """The test pictures from which neither the model nor the verdict's threshold was made.

    Raises:
        EdgeLeatherError: none is left.
    """
    used = bundle.manifest.images
    seen = frozenset((*used.training, *used.validation, *used.threshold))
    samples = [sample for sample in dataset.test if sample.digest not in seen]
    if not samples:
        raise EdgeLeatherError(
            f"{dataset.root}: expected labelled pictures that the bundle was not made from, got none: all "
            f"{len(dataset.test)} were used in its making. Put other pictures into test/<class>."
        )
    return samples


def score_labelled(inspector: Inspector, bundle: Bundle, samples: Sequence[IndexedSample]) -> tuple[LabelledScore, ...]:
    """Run labelled pictures one by one.

    Raises:
        EdgeLeatherError: a picture cannot be used; its name is in the message.
    """
    check = FamiliarityCheck(bundle.looks, inspector.thresholds) if bundle.looks else None
    scored = []
    for sample in track(samples, "labelled pictures"):
        try:
            result = infer_frame(inspector.engine, sample.read(), inspector.mode)
        except EdgeLeatherError as error:
            raise EdgeLeatherError(f"{sample.name}: {error}") from error
        odd: list[str | None] = [None, None]
        if check:
            looks = appearance_of(thinned(result.prepared))
            odd = [check.of(looks, result.anomaly_map, result.score, is_above).reason for is_above in (True, False)]
        scored.append(LabelledScore(sample, result.score, result.prepared.count, odd[0], odd[1]))
    return tuple(scored)


def why_another_leather(scored: Sequence[LabelledScore]) -> str | None:
    """A warning where most labelled pictures do not look like what the bundle was taught; None where most do."""
    good = [one for one in scored if one.sample.is_good]
    odd = [one for one in good if one.odd_below] if good else [one for one in scored if one.odd_above]
    if 2 * len(odd) <= len(good or scored):
        return None
    what = "good pictures" if good else "pictures"
    reason = odd[0].odd_below if good else odd[0].odd_above
    return f"{len(odd)} of {len(good or scored)} {what} do not look like what was taught, as {odd[0].sample.name}: {reason}"


def hit_rate_threshold(scored: Sequence[LabelledScore], good_scores: Sequence[float], rate: float) -> float | None:
    """The highest threshold at which this share of the defects is found, midway to the next lower score; None where none is.

    A defect that looks too unlike the good pictures is found at no threshold.
    """
    defects = [one for one in scored if not one.sample.is_good]
    findable = sorted((one.score for one in defects if not one.odd_above), reverse=True)
    needed = max(1, math.ceil(rate * len(defects) - 1e-9))
    if needed > len(findable):
        return None
    last = findable[needed - 1]
    lower = max((score for score in (*good_scores, *(one.score for one in scored)) if score < last), default=last)
    return min((last + lower) / 2, float(np.nextafter(last, -math.inf)))
