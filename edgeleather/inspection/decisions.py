"""From an anomaly map to a verdict, regions and the defective area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import cv2
import numpy as np

from edgeleather.arrays import AnyArray, Float32Array, IntArray, UInt8Array
from edgeleather.bundle.thresholds import PeakShare
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import thinned
from edgeleather.imaging.preprocess import Prepared

VerdictName = Literal["good", "defect", "unfamiliar", "failed"]
_MOST_REGIONS = 32
_LARGEST_FRAME_PX = 32_000  # what OpenCV draws in
_LARGEST_AREA = 1e9
# Of the map. Regions are a map pixel apart: so no two contours met in 6000 random maps; at 1 they fall short of their boxes.
_SIMPLIFIED_PX = 0.75
_BOX_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


@dataclass(frozen=True)
class Region:
    """A connected part of the frame above the threshold: box, area and contour in frame pixels, and its highest map value.

    `contour_xy` are the corners (x, y) of its outer contour, which touches all sides of the box and is simplified by less than
    one pixel of the anomaly map. No two contours of a frame overlap: a region that lies in a hole of another one belongs to
    that one, and the rest of the hole is not in its area. `area_mm2` is None until the camera's scale in mm is known.

    >>> import edgeleather as el
    >>> with el.load("bundle") as inspector:
    ...     largest = inspector.inspect("hide.png").regions[0]
    >>> x, y, width, height = largest.box_xywh
    >>> largest.area_px <= width * height
    True
    >>> min(corner_x for corner_x, corner_y in largest.contour_xy) == x
    True
    """

    box_xywh: tuple[int, int, int, int]
    area_px: int
    area_mm2: float | None
    peak_score: float
    contour_xy: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class DecisionRules:
    """What of a frame counts: where, and from which size on.

    `region_of_interest_xy` is a polygon in frame pixels, empty for the whole frame. `mm_per_px` is the camera's scale. All that
    is given in pixels holds for frames of one size, width and height in `frame_size_px`; None takes the first frame's.

    >>> import edgeleather as el
    >>> rules = el.DecisionRules(min_area_mm2=4.0, mm_per_px=0.1)
    >>> with el.load("bundle", el.InspectorSettings(rules=rules)) as inspector:
    ...     inspector.inspect("hide.png").regions[0].area_mm2 >= 4.0
    True
    """

    DEFAULTS_APPLY: ClassVar[bool] = True
    min_area_px: int = 0
    min_area_mm2: float = 0.0
    mm_per_px: float | None = None
    region_of_interest_xy: tuple[tuple[int, int], ...] = ()
    frame_size_px: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.min_area_px <= _LARGEST_AREA and 0 <= self.min_area_mm2 <= _LARGEST_AREA):
            raise ValueError(f"expected a minimum area of 0 to {_LARGEST_AREA:g}")
        if self.mm_per_px is not None and not 1e-4 <= self.mm_per_px <= 1e4:
            raise ValueError(f"mm_per_px: expected 0.0001 to 10000, got {self.mm_per_px}")
        if self.min_area_mm2 and self.mm_per_px is None:
            raise ValueError("min_area_mm2 needs mm_per_px, the width of a frame pixel on the leather in mm")
        if (
            self.frame_size_px is not None
            and not 1 <= min(self.frame_size_px) <= max(self.frame_size_px) <= _LARGEST_FRAME_PX
        ):
            raise ValueError(
                f"frame_size_px: expected [width, height] of 1 to {_LARGEST_FRAME_PX}, got {list(self.frame_size_px)}"
            )
        points = self.region_of_interest_xy
        if points and (len(set(points)) < 3 or min(min(point) for point in points) < 0):
            raise ValueError(
                "region_of_interest_xy: expected at least three points [x, y] in frame pixels, none negative"
            )
        if max((value for point in points for value in point), default=0) > _LARGEST_FRAME_PX:
            raise ValueError(f"region_of_interest_xy: expected at most {_LARGEST_FRAME_PX} pixels")

    @property
    def depend_on_frame_size(self) -> bool:
        """Whether something was given that holds for frames of one size alone."""
        given = (self.min_area_px, self.min_area_mm2, self.mm_per_px, self.region_of_interest_xy, self.frame_size_px)
        return any(given)

    def measured(self, regions: Sequence[Region]) -> tuple[Region, ...]:
        """The regions with their areas in mm2, where the scale is known."""
        if self.mm_per_px is None:
            return tuple(regions)
        return tuple(replace(region, area_mm2=region.area_px * self.mm_per_px**2) for region in regions)

    def is_large_enough(self, region: Region) -> bool:
        """Whether a measured region counts as a defect."""
        return region.area_px >= self.min_area_px and (region.area_mm2 or 0.0) >= self.min_area_mm2


def within_polygon(
    anomaly_map: Float32Array, prepared: Prepared, polygon_xy: Sequence[tuple[int, int]]
) -> tuple[Float32Array, float]:
    """The map with what lies outside of a polygon (frame pixels) at minus infinity, and the highest value inside.

    Raises:
        EdgeLeatherError: no pixel of the map lies inside.
    """
    x, y, width, height = prepared.frame_box_xywh
    points = _map_points(prepared, polygon_xy)
    inside = np.zeros(anomaly_map.shape, np.uint8)
    cv2.fillPoly(inside, [points.astype(np.int32)], 1)
    if not inside.any():
        raise EdgeLeatherError(
            f"region_of_interest_xy lies outside of the inspected part of the frame, {width} x {height} px from ({x}, {y}). "
            "Give its points in pixels of this camera's frames."
        )
    within = np.where(inside, anomaly_map, np.float32(-np.inf))
    return within, cv2.minMaxLoc(anomaly_map, inside)[1]


def box_around(prepared: Prepared, polygon_xy: Sequence[tuple[int, int]]) -> tuple[slice, slice]:
    """The rows and columns of a frame's map that the box around a polygon (frame pixels) covers."""
    map_h, map_w = prepared.map_size_hw
    points = _map_points(prepared, polygon_xy)
    left, top = (int(max(0, value)) for value in points.min(0))
    right, bottom = (int(min(side, value + 1)) for side, value in zip((map_w, map_h), points.max(0), strict=True))
    return slice(top, bottom), slice(left, right)


def images_in(prepared: Prepared, box: tuple[slice, slice]) -> UInt8Array:
    """The part of a frame's model images [n, h, w, 3] that a box of its map covers.

    Of a frame of several tiles it is what `appearance_of` looks at of the whole tiles that the box touches.
    """
    rows, columns = box
    if prepared.count == 1:
        return np.ascontiguousarray(prepared.images[:, rows, columns])
    tile_h, tile_w = prepared.image_size_hw
    touched = [
        index
        for index, (y, x) in enumerate(prepared.offsets_yx)
        if x < columns.stop and x + tile_w > columns.start and y < rows.stop and y + tile_h > rows.start
    ]
    return thinned(prepared, touched)


def _map_points(prepared: Prepared, polygon_xy: Sequence[tuple[int, int]]) -> IntArray:
    """A polygon's corners [n, 2] (x, y) in pixels of the map: from pixel centres to pixel centres, as `cv2.resize` maps them."""
    x, y, width, height = prepared.frame_box_xywh
    map_h, map_w = prepared.map_size_hw
    scale, corner = np.array([map_w / width, map_h / height]), np.array([x, y])
    points: IntArray = np.round((np.array(polygon_xy) + 0.5 - corner) * scale - 0.5).astype(np.int64)
    return points


def find_regions(
    anomaly_map: Float32Array,
    prepared: Prepared,
    score_threshold: float,
    pixel_threshold: float,
    peak_share: PeakShare | None = None,
) -> tuple[Region, ...]:
    """Regions of the map above `pixel_threshold` that reach `score_threshold`, largest first.

    Two thresholds as in Canny's edges (1986, section on hysteresis): a frame is a defect exactly when it has a region,
    and the region reaches as far as the pixels do that are no longer normal, or, with a `peak_share`, only as far as these are
    high enough beside the highest of those that they touch: a map is blurred, and the higher a peak is the wider it looks at
    any fixed threshold. What is lower than that around a high peak is no region of its own, though it be above
    `score_threshold`. A map of nothing but noise could have thousands; the 32 with the most pixels above `score_threshold`
    are kept.
    """
    above = (anomaly_map > min(pixel_threshold, score_threshold)).view(np.uint8)
    left, top, part_w, part_h = cv2.boundingRect(above)  # labelling the whole map costs five times as much
    part = np.s_[top : top + part_h, left : left + part_w]
    values = np.ascontiguousarray(anomaly_map[part])
    above = np.ascontiguousarray(above[part])
    if peak_share is not None:
        above = _near_peaks(above, values, score_threshold, peak_share)
    # Without OpenCV's statistics, which cost more than the labelling: most frames have a region or two.
    count, labels = cv2.connectedComponents(above, connectivity=8)
    pixels_above = np.bincount(labels[values > score_threshold], minlength=count)  # by label
    pixels_above[0] = 0  # the background holds those that lie too far below a peak
    largest = np.argsort(-pixels_above, kind="stable")[:_MOST_REGIONS]
    is_kept = np.zeros(count, np.uint8)
    is_kept[largest] = pixels_above[largest] > 0
    kept = np.take(is_kept, np.asarray(labels, np.int32))  # faster than indexing
    # The outer contours alone: what lies in a hole of a region belongs to it.
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    regions = [_region(outline, kept, values, (left, top), prepared) for outline in outlines]
    return tuple(sorted(regions, key=lambda region: -region.area_px))


def _near_peaks(above: UInt8Array, values: Float32Array, score_threshold: float, peak_share: PeakShare) -> UInt8Array:
    """The pixels among the connected ones `above` [h, w] that are high enough beside their highest, and 0 elsewhere."""
    count, labels = cv2.connectedComponents(above, connectivity=8)
    high = values > score_threshold
    peaks = np.full(count, np.inf, np.float32)  # infinite where no pixel makes a region
    order = np.asarray(labels[high], np.intp)
    peaks[order] = -np.inf
    np.maximum.at(peaks, order, values[high])
    limits = peak_share.limit_below(peaks).astype(np.float32)
    near: UInt8Array = (values > np.take(limits, np.asarray(labels, np.int32))).view(np.uint8)
    return np.bitwise_and(near, above)


def _region(
    outline: AnyArray, kept: UInt8Array, values: Float32Array, corner_xy: tuple[int, int], prepared: Prepared
) -> Region:
    """The region within a contour [n, 1, 2] (x, y) of a part of the map that begins at `corner_xy`.

    Of that part, `kept` [h, w] has the pixels that count, and `values` [h, w] the map's.
    """
    x, y, width, height = cv2.boundingRect(outline)
    own = np.s_[y : y + height, x : x + width]
    filled = cv2.drawContours(np.zeros((height, width), np.uint8), [outline], 0, 1, cv2.FILLED, offset=(-x, -y))
    inside: UInt8Array = np.bitwise_and(filled, kept[own])
    _, _, frame_w, frame_h = prepared.frame_box_xywh
    map_h, map_w = prepared.map_size_hw
    area_px = max(1, round(cv2.countNonZero(inside) * frame_w * frame_h / (map_w * map_h)))
    box = _frame_box((corner_xy[0] + x, corner_xy[1] + y, width, height), prepared)
    # A contour runs through the centres of map pixels, which may hold many of the frame: it is stretched to the box.
    if min(width, height) == 1:
        shares = _BOX_CORNERS
    else:
        corners = cv2.approxPolyDP(outline, _SIMPLIFIED_PX, closed=True)[:, 0]
        shares = (corners - (x, y)) / (width - 1, height - 1)
    contour = np.rint(shares * (box[2] - 1, box[3] - 1)).astype(int) + box[:2]
    peak = cv2.minMaxLoc(values[own], inside)[1]
    return Region(box, area_px, None, peak, tuple((px, py) for px, py in contour.tolist()))


def _frame_box(box_xywh: tuple[int, int, int, int], prepared: Prepared) -> tuple[int, int, int, int]:
    """A box (x, y, width, height) of the map in frame pixels, of which it takes at least one each way."""
    x, y, width, height = box_xywh
    frame_x, frame_y, frame_w, frame_h = prepared.frame_box_xywh
    map_h, map_w = prepared.map_size_hw
    scale_x, scale_y = frame_w / map_w, frame_h / map_h
    left, top = min(round(x * scale_x), frame_w - 1), min(round(y * scale_y), frame_h - 1)
    right, bottom = round((x + width) * scale_x), round((y + height) * scale_y)
    return frame_x + left, frame_y + top, max(1, right - left), max(1, bottom - top)


def area_percent(regions: Sequence[Region], prepared: Prepared) -> float:
    """How much of the inspected part of the frame the regions cover, in percent."""
    _, _, frame_w, frame_h = prepared.frame_box_xywh
    return min(100.0, 100.0 * sum(region.area_px for region in regions) / (frame_w * frame_h))
