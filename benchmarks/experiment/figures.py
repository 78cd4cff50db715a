"""Figures 1 to 4: a sample of each defect class; of each method a map, and the picture with the contour at T2 in red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.dataset.reading import Dataset
from edgeleather.imaging.images import read_image
from edgeleather.imaging.preprocess import to_rgb8

_SIDE_PX = 200
_RED_RGB, _WHITE_RGB, _DARK_RGB = (230, 30, 30), (245, 245, 245), (32, 34, 38)
_BAND_PX = 24


def class_samples(dataset: Dataset) -> bytes:
    """A PNG with a picture of each defect class (one with a mask where there is one) and the outline of its ground truth."""
    cells = []
    for name in sorted({sample.defect_class for sample in dataset.test if not sample.is_good}):
        of_class = (sample for sample in dataset.test if sample.defect_class == name)
        sample = min(of_class, key=lambda sample: not sample.has_truth)
        image = to_rgb8(sample.read(), 65535)
        mask = sample.read_mask((image.shape[0], image.shape[1]))
        cells.append(_captioned(image if mask is None else _outlined(image, mask), name))
    return _png(np.hstack(cells))


def maps_of_methods(files: Sequence[tuple[str, Path]]) -> bytes:
    """A PNG with a column a method: its map above, the picture with the contour at T2 below; `files` are the trials' maps.

    Without masks there is no T2, which is NaN in the file, and so no contour.
    """
    columns = []
    for method, file in files:
        with np.load(file) as saved:
            anomaly_map, t2, picture = saved["anomaly_map"], float(saved["t2"]), Path(str(saved["picture"]))
        image = to_rgb8(read_image(picture), 65535)
        span = max(float(np.ptp(anomaly_map)), 1e-12)
        level = (255 * (anomaly_map - anomaly_map.min()) / span).astype(np.uint8)
        heat = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
        above = cv2.resize(anomaly_map, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) > t2
        columns.append(np.vstack([_captioned(np.asarray(heat, np.uint8), method), _sized(_outlined(image, above))]))
    return _png(np.hstack(columns))


def _outlined(image_rgb: UInt8Array, inside: AnyArray) -> UInt8Array:
    found, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = image_rgb.copy()
    cv2.drawContours(drawn, found, -1, _RED_RGB, max(1, round(min(image_rgb.shape[:2]) / 128)))
    return drawn


def _captioned(image_rgb: UInt8Array, text: str) -> UInt8Array:
    band = np.full((_BAND_PX, _SIDE_PX, 3), _DARK_RGB, np.uint8)
    cv2.putText(band, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _WHITE_RGB, 1, cv2.LINE_AA)
    return np.vstack([band, _sized(image_rgb)])


def _sized(image_rgb: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(image_rgb, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _png(image_rgb: UInt8Array) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1])
