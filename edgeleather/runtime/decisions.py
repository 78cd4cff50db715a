"""From an anomaly map to a verdict, regions and the defective area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edgeleather.arrays import Float32Array
from edgeleather.preprocess import Prepared

VerdictName = Literal["good", "defect", "failed"]
_MOST_REGIONS = 32


@dataclass(frozen=True)
class Region:
    """A connected part of the frame above the threshold: box and area in frame pixels, and its highest map value.

    `area_mm2` is None until the camera's scale in mm is known.
    """

    box_xywh: tuple[int, int, int, int]
    area_px: int
    area_mm2: float | None
    peak_score: float


def find_regions(
    anomaly_map: Float32Array, prepared: Prepared, score_threshold: float, pixel_threshold: float
) -> tuple[tuple[Region, ...], float]:
    """Regions of the map above `pixel_threshold` that reach `score_threshold`, largest first, and their area in percent.

    Two thresholds as in Canny's edges (1986, section on hysteresis): a frame is a defect exactly when it has a region,
    and the region reaches as far as the pixels do that are no longer normal. A map of nothing but noise could have
    thousands; the 32 with the most pixels above `score_threshold` are kept, and the area is theirs.
    """
    above = (anomaly_map > min(pixel_threshold, score_threshold)).view(np.uint8)
    left, top, part_w, part_h = cv2.boundingRect(above)  # labelling the whole map costs five times as much
    part = np.s_[top : top + part_h, left : left + part_w]
    # Without OpenCV's statistics, which cost more than the labelling: most frames have a region or two.
    _, labels = cv2.connectedComponents(above[part], connectivity=8)
    values = np.ascontiguousarray(anomaly_map[part])
    pixels_above = np.bincount(labels[values > score_threshold])  # by label
    reaching = np.flatnonzero(pixels_above)
    frame_x, frame_y, frame_w, frame_h = prepared.frame_box_xywh
    scale_y, scale_x = frame_h / anomaly_map.shape[0], frame_w / anomaly_map.shape[1]
    regions = []
    for label in reaching[np.argsort(-pixels_above[reaching], kind="stable")[:_MOST_REGIONS]]:
        inside = (labels == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(inside)
        corner = (frame_x + round((left + x) * scale_x), frame_y + round((top + y) * scale_y))
        box = (*corner, max(1, round(width * scale_x)), max(1, round(height * scale_y)))
        area_px = max(1, round(cv2.countNonZero(inside) * scale_x * scale_y))
        regions.append(Region(box, area_px, None, cv2.minMaxLoc(values, inside)[1]))
    regions.sort(key=lambda region: -region.area_px)
    percent = 100.0 * sum(region.area_px for region in regions) / (frame_w * frame_h)
    return tuple(regions), min(percent, 100.0)
