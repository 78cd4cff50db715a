"""Pixel metrics of any number of anomaly maps from one set of histograms over the map's values.

The bins are float32 numbers cut after 12 bits of mantissa, counted from a pivot, the median of the first map: an edge's
distance to the next is 2.4e-4 of its distance to the pivot. So one pass over the maps suffices, and nothing has to be
known about their range or offset beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, Float64Array, IntArray, UInt8Array

_DROPPED_BITS = 11  # of float32's 23 mantissa bits
_BINS = 1 << (32 - _DROPPED_BITS)


class PixelCounts:
    """Histograms of map values: over normal pixels, defective pixels, and defective pixels weighted by 1 / region size."""

    def __init__(self) -> None:
        self._normal = np.zeros(_BINS, np.int64)
        self._defective = np.zeros(_BINS, np.int64)
        self._region_weight = np.zeros(_BINS, np.float64)
        self._pivot: float | None = None
        self.images = 0
        self.regions = 0

    def add(self, anomaly_map: Float32Array, mask: UInt8Array | None = None) -> None:
        """Count one map [h, w] and its ground truth [h, w] (0 is normal; None where all of it is).

        Raises:
            ValueError: the shapes differ, or the map holds NaN.
        """
        if np.isnan(anomaly_map).any():
            raise ValueError("an anomaly map holds NaN")
        if self._pivot is None:
            self._pivot = float(np.median(anomaly_map))
        bins = _bins(anomaly_map.astype(np.float64) - self._pivot)
        self.images += 1
        if mask is None or not mask.any():
            _count(self._normal, bins.ravel())
            return
        if mask.shape != anomaly_map.shape:
            raise ValueError(f"map of shape {anomaly_map.shape}, mask of shape {mask.shape}")
        defective = mask > 0
        _count(self._normal, bins[~defective])
        _count(self._defective, bins[defective])
        count, labels, stats, _ = cv2.connectedComponentsWithStats(defective.astype(np.uint8), connectivity=8)
        weights = 1.0 / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
        np.add.at(self._region_weight, bins[defective], weights[labels[defective]])
        self.regions += count - 1

    def curve(self) -> PixelCurve:
        """The counts above every threshold, at each value that occurs."""
        used = np.flatnonzero(self._normal + self._defective)[::-1]
        return PixelCurve(
            thresholds=(self._pivot or 0.0) + _bin_values(used),
            false_positives=np.cumsum(self._normal[used]),
            true_positives=np.cumsum(self._defective[used]),
            region_overlap=np.cumsum(self._region_weight[used]) / max(self.regions, 1),
        )

    def normal_quantile(self, p: float) -> float:
        """The value that a share `p` of the normal pixels do not exceed (T1 of Soares et al. 2023, section 3.3).

        Raises:
            ValueError: no normal pixel was counted.
        """
        cumulative = np.cumsum(self._normal)
        if not cumulative[-1]:
            raise ValueError("no normal pixel was counted")
        index = np.searchsorted(cumulative, p * cumulative[-1], side="left")
        return float((self._pivot or 0.0) + _bin_values(np.array([index]), upper=True)[0])


@dataclass(frozen=True)
class PixelCurve:
    """Counts of pixels at or above each of the falling `thresholds`; `region_overlap` is PRO (Bergmann et al. 2021)."""

    thresholds: Float64Array
    false_positives: IntArray
    true_positives: IntArray
    region_overlap: Float64Array

    @property
    def false_positive_rate(self) -> Float64Array:
        return np.asarray(self.false_positives / self.false_positives[-1])

    def auroc(self) -> float | None:
        """Area under the pixel ROC curve; None where one kind of pixel is missing."""
        if not (len(self.thresholds) and self.true_positives[-1] and self.false_positives[-1]):
            return None
        true_rate = self.true_positives / self.true_positives[-1]
        return float(_area(self.false_positive_rate, true_rate, 1.0))

    def aupro(self, limit: float = 0.3) -> float | None:
        """Area under the PRO curve up to a false-positive rate of `limit`, as a share of it (Bergmann et al. 2021)."""
        if not (len(self.thresholds) and self.true_positives[-1] and self.false_positives[-1]):
            return None
        return float(_area(self.false_positive_rate, self.region_overlap, limit) / limit)

    def iou_at(self, threshold: float) -> float | None:
        """Intersection over union of all pixels above a threshold with all defective ones, over all maps together.

        None where no defective pixel was counted.
        """
        if not self._has_defects:
            return None
        hits, alarms, missed = self._counts_at(threshold)
        return hits / (hits + alarms + missed)

    def pro_at(self, threshold: float) -> float | None:
        """Per-region overlap at a threshold: the mean share of a defective region that lies above it.

        None where no defective pixel was counted.
        """
        if not self._has_defects:
            return None
        above = self._above(threshold)
        return float(self.region_overlap[above - 1]) if above else 0.0

    def best_f1_threshold(self) -> float | None:
        """The threshold with the best pixel F1 (T2 of Soares et al. 2023, section 3.3).

        None where no defective pixel was counted.
        """
        if not self._has_defects:
            return None
        predicted = self.true_positives + self.false_positives
        best = int(np.argmax(2 * self.true_positives / (predicted + self.true_positives[-1])))
        lower = self.thresholds[best + 1] if best + 1 < len(self.thresholds) else self.thresholds[best]
        return float((self.thresholds[best] + lower) / 2)

    def _above(self, threshold: float) -> int:
        """How many of the curve's points lie above a threshold."""
        return int(np.searchsorted(-self.thresholds, -threshold, side="left"))

    def _counts_at(self, threshold: float) -> tuple[int, int, int]:
        above = self._above(threshold)
        hits = int(self.true_positives[above - 1]) if above else 0
        alarms = int(self.false_positives[above - 1]) if above else 0
        return hits, alarms, int(self.true_positives[-1]) - hits

    @property
    def _has_defects(self) -> bool:
        return bool(len(self.true_positives) and self.true_positives[-1])


def _bins(values: Float64Array) -> IntArray:
    """Bin numbers that rise with the value: float32's bit pattern, made monotonic, without its last bits."""
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0.0)).view(np.uint32)  # + 0 makes -0 to 0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
    return (ordered >> _DROPPED_BITS).astype(np.int64)


def _bin_values(bins: IntArray, upper: bool = False) -> Float64Array:
    """The middle (or the upper end) of each bin."""
    within = (1 << _DROPPED_BITS) - 1 if upper else 1 << (_DROPPED_BITS - 1)
    ordered = (bins.astype(np.uint32) << np.uint32(_DROPPED_BITS)) | np.uint32(within)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return np.ascontiguousarray(bits, np.uint32).view(np.float32).astype(np.float64)


def _count(histogram: IntArray, bins: IntArray) -> None:
    values, counts = np.unique(bins, return_counts=True)
    histogram[values] += counts


def _area(x: Float64Array, y: Float64Array, limit: float) -> float:
    """Trapezoid area under a rising curve from (0, 0) to x = limit."""
    x, y = np.concatenate(([0.0], x)), np.concatenate(([0.0], y))
    inside = x <= limit
    x_in, y_in = x[inside], y[inside]
    if x_in[-1] < limit:
        x_in, y_in = np.append(x_in, limit), np.append(y_in, np.interp(limit, x, y))
    return float(np.sum(np.diff(x_in) * (y_in[1:] + y_in[:-1]) / 2))
