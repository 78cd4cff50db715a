"""How far below its peak a region reaches, fitted on synthetic defects, whose masks are exact."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgeleather.arrays import Float32Array, Float64Array, UInt8Array
from edgeleather.bundle.thresholds import PeakShare
from edgeleather.dataset.defects import paste_defect
from edgeleather.dataset.reading import Sample
from edgeleather.engines.engine import Engine
from edgeleather.imaging.preprocess import InputMode, Prepared, prepare
from edgeleather.inspection.inference import infer_prepared
from edgeleather.progress import track

# Wider than the blur of a map: of a narrower defect a map shows little but its own blur.
_KINDS = ("glue", "stain", "wrinkle")
_MOST_PICTURES = 16
_LEAST_DEFECTS = 6
_SHARES = np.linspace(0.1, 0.9, 81)
_SEED = 0


def fit_peak_share(
    engine: Engine, mode: InputMode, samples: Sequence[Sample], normal: float, pixel_threshold: float
) -> PeakShare | None:
    """The share of their peaks at which the areas of synthetic defects are those of their masks, in the mean over the kinds.

    One of each kind is pasted on one model image of at most 16 good pictures. `normal` is the median of good pixels. None where
    fewer than six of them hold the peak of their map, or where it is not above `pixel_threshold`.

    Raises:
        EdgeLeatherError: a picture cannot be used.
    """
    rng = np.random.default_rng(_SEED)
    ratios: dict[str, list[Float64Array]] = {kind: [] for kind in _KINDS}
    most = min(_MOST_PICTURES, len(samples))
    chosen = [samples[index * len(samples) // most] for index in range(most)]
    for sample in track(chosen, "synthetic defects"):
        image = prepare(sample.read(), mode).images_from(0, 1)[0]
        for kind, found in ratios.items():
            pasted, mask = paste_defect(image, kind, rng)
            anomaly_map = infer_prepared(engine, _whole(pasted)).anomaly_map
            areas = _areas(anomaly_map, mask, normal, pixel_threshold)
            if areas is not None:
                found.append(np.log(areas / np.count_nonzero(mask)))
    defects = sum(len(found) for found in ratios.values())
    if defects < _LEAST_DEFECTS:
        return None
    misfit = np.mean([np.median(found, axis=0) for found in ratios.values() if found], axis=0)
    share = float(_SHARES[np.argmin(np.abs(misfit))])
    return PeakShare(round(share, 2), normal, len(chosen), defects)


def _whole(image_rgb: UInt8Array) -> Prepared:
    """A model image as a frame of its own."""
    height, width = image_rgb.shape[:2]
    return Prepared(image_rgb, ((0, 0),), (height, width), (0, 0, width, height))


def _areas(anomaly_map: Float32Array, mask: UInt8Array, normal: float, pixel_threshold: float) -> Float64Array | None:
    """The pixels of the region of the map's peak at each share; None where the peak is not the defect's."""
    _, peak, _, (x, y) = cv2.minMaxLoc(anomaly_map)
    if not mask[y, x] or peak <= max(pixel_threshold, normal):
        return None
    _, labels = cv2.connectedComponents((anomaly_map > pixel_threshold).view(np.uint8), connectivity=8)
    values = np.sort(anomaly_map[labels == labels[y, x]])
    limits = np.maximum(normal + _SHARES * (peak - normal), pixel_threshold)
    below = np.searchsorted(values, limits, side="right")
    return np.maximum(len(values) - below, 1).astype(np.float64)
