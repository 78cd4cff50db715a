"""Whether a frame looks like what was taught: its distance from the good pictures, in their own spread.

The distance is Mahalanobis' (1936) over the logarithms of how a picture looks and of what the model answers to it. Its limit
comes from the good pictures themselves, each measured against a fit without its photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgeleather.arrays import Float64Array
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import FEWEST_PICTURES

_LIMIT_QUANTILE, _LIMIT_MARGIN = 0.97, 1.03
# Of the appearance alone. A frame with a large defect looks unlike good leather too, so it stays a defect up to here; every
# blind camera (black, white, one colour, far out of focus) lies beyond.
_FAR = 30.0
_LEAST_DEVIATION = (
    1e-3  # of a logarithm: a statistic that never changed in training must not refuse a change of nothing
)


@dataclass(frozen=True)
class Spread:
    """The spread of some statistics over good pictures: `whitening` [n, n] makes their covariance the identity.

    `limit` is the distance up to which a frame is familiar, in standard deviations.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    limit: float

    def measure(self) -> SpreadMeasure:
        """A function from statistics to their distance, with its arrays made once."""
        whitening = np.array(self.whitening)
        return SpreadMeasure(np.array(self.mean), whitening.T @ whitening)

    def oddest(self, statistics: Sequence[float]) -> tuple[int, float]:
        """Which statistic differs most from the good pictures', and by how many of its standard deviations."""
        apart = (np.asarray(statistics) - self.mean) / self.deviation
        index = int(np.abs(apart).argmax())
        return index, float(apart[index])


@dataclass(frozen=True)
class SpreadMeasure:
    """The arrays behind a `Spread`: `mean` [n] and `inverse_covariance` [n, n]."""

    mean: Float64Array
    inverse_covariance: Float64Array

    def distance(self, statistics: Sequence[float]) -> float:
        """How far statistics [n] lie from the mean, in standard deviations of the good pictures."""
        return cv2.Mahalanobis(np.asarray(statistics, np.float64), self.mean, self.inverse_covariance)


@dataclass(frozen=True)
class Familiarity:
    """How a bundle's good pictures look: `whole` is of appearance and answer together, `appearance` of appearance alone.

    A frame that nothing was found on is good only within the limit of `whole`; a frame with a score above the threshold is a
    defect within the limit of `appearance`.
    """

    pictures: int
    groups: int
    whole: Spread
    appearance: Spread


def familiarity_of(
    appearances: Sequence[Sequence[float]], answers: Sequence[Sequence[float]], groups: Sequence[str]
) -> Familiarity | None:
    """The spread of good pictures, one row of statistics and one photograph for each; None for fewer than eight pictures.

    Raises:
        EdgeLeatherError: a statistic is not finite.
    """
    if len(groups) < FEWEST_PICTURES:
        return None
    looks, whole = np.array(appearances, np.float64), np.hstack([appearances, answers]).astype(np.float64)
    if not np.isfinite(whole).all():
        raise EdgeLeatherError("expected finite statistics of the good pictures, got NaN or infinity. Train again.")
    owners = np.array(groups if len(set(groups)) >= 3 else [str(index) for index in range(len(groups))])
    distances = np.concatenate([_distances(whole[owners != one], whole[owners == one]) for one in sorted(set(owners))])
    limit = _LIMIT_MARGIN * float(np.quantile(distances, _LIMIT_QUANTILE))
    return Familiarity(len(groups), len(set(groups)), _spread(whole, limit), _spread(looks, max(_FAR, limit)))


def _spread(rows: Float64Array, limit: float) -> Spread:
    mean, whitening = _whitening(rows)
    deviation = np.maximum(rows.std(0), _LEAST_DEVIATION)
    return Spread(
        tuple(mean.tolist()), tuple(deviation.tolist()), tuple(tuple(row) for row in whitening.tolist()), limit
    )


def _distances(fitted: Float64Array, rows: Float64Array) -> Float64Array:
    mean, whitening = _whitening(fitted)
    return np.asarray(np.linalg.norm((rows - mean) @ whitening.T, axis=1))


def _whitening(rows: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The mean [n] and whitening [n, n] of rows [pictures, n]; the fewer pictures, the more their correlations are shrunk."""
    mean = rows.mean(0)
    deviation = np.maximum(rows.std(0), _LEAST_DEVIATION)
    scaled = (rows - mean) / deviation
    shrinkage = min(0.5, 3.0 / len(rows))
    correlation = (1.0 - shrinkage) * (scaled.T @ scaled) / len(rows) + shrinkage * np.eye(rows.shape[1])
    values, vectors = np.linalg.eigh(correlation)
    return mean, (vectors / np.sqrt(np.maximum(values, 1e-12))).T / deviation
