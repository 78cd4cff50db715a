"""Whether a frame looks like what was taught: asked of every frame before it may be called good."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgeleather.arrays import Float32Array
from edgeleather.bundle.familiarity import Familiarity
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.imaging.appearance import ANSWER, APPEARANCE, answer_to

_STATISTICS = (*APPEARANCE, *ANSWER)


class Likeness(NamedTuple):
    """How far a frame lies from the good pictures, in their standard deviations; `reason` is None for a familiar one.

    Both are None where the bundle cannot tell."""

    distance: float | None
    reason: str | None


class FamiliarityCheck:
    """The good pictures of a bundle's article, to which frames are compared."""

    def __init__(self, familiarity: Familiarity, thresholds: Thresholds) -> None:
        self._familiarity = familiarity
        self._whole, self._appearance = familiarity.whole.measure(), familiarity.appearance.measure()
        # A score above all good ones may be allowed by the user: a rarer rate, a chosen threshold, a least area. It is no reason.
        self._most_score = max(thresholds.good_scores)

    def of(self, appearance: list[float], anomaly_map: Float32Array, score: float, is_above: bool) -> Likeness:
        """The likeness of a frame's appearance (`appearance_of`) with its map float32 [h, w] and its score.

        `is_above` says that the score is above the threshold: what was found there, be it too small to count, makes a picture
        look unlike good leather, so only an appearance far from every good picture's makes it unfamiliar.
        """
        if is_above:
            distance = self._appearance.distance(appearance)
            return Likeness(distance, self._reason(self._familiarity.appearance.limit, appearance, distance))
        statistics = [*appearance, *answer_to(anomaly_map, min(score, self._most_score))]
        distance = self._whole.distance(statistics)
        return Likeness(distance, self._reason(self._familiarity.whole.limit, statistics, distance))

    def _reason(self, limit: float, statistics: list[float], distance: float) -> str | None:
        if distance <= limit:
            return None
        spread = self._familiarity.whole if len(statistics) == len(_STATISTICS) else self._familiarity.appearance
        index, apart = spread.oddest(statistics)
        way = "higher" if apart > 0 else "lower"
        return (
            f"it does not look like the good pictures: {distance:.1f} of their standard deviations away, {limit:.1f} allowed; "
            f"most of all {_STATISTICS[index]} is {way} (times {np.exp(statistics[index] - spread.mean[index]):.2g})"
        )
