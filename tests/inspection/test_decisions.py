from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleather.bundle.thresholds import PeakShare
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.inspection.decisions import area_percent, find_regions, within_polygon


def prepared_for(frame_hw, size_hw=(64, 64), fit="stretch"):
    return prepare(np.zeros((*frame_hw, 3), np.uint8), InputMode("resize", size_hw, None, fit))


def test_regions_reach_as_far_as_the_pixel_threshold_and_only_from_a_peak():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[10:20, 30:50] = 0.7
    anomaly_map[12, 33] = 1.5
    anomaly_map[40:50, 5:9] = 0.7  # as wide, but no pixel of it is above the score threshold
    (region,) = find_regions(anomaly_map, prepared_for((64, 64)), 1.0, 0.5)
    assert region.box_xywh == (30, 10, 20, 10) and region.area_px == 200
    assert region.peak_score == pytest.approx(1.5) and region.area_mm2 is None
    assert area_percent([region], prepared_for((64, 64))) == pytest.approx(100 * 200 / 64**2)


def test_boxes_and_areas_are_in_frame_pixels():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[16:32, 8:16] = 2.0
    (region,) = find_regions(anomaly_map, prepared_for((128, 256)), 1.0, 1.0)
    assert region.box_xywh == (32, 32, 32, 32) and region.area_px == 16 * 8 * 4 * 2
    assert area_percent([region], prepared_for((128, 256))) == pytest.approx(100 * 16 * 8 / 64**2)


def test_a_cropped_frame_moves_the_boxes():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[0:4, 0:4] = 2.0
    (region,) = find_regions(anomaly_map, prepared_for((64, 128), fit="crop"), 1.0, 1.0)
    assert region.box_xywh == (32, 0, 4, 4)


def test_the_largest_region_comes_first():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[0:2, 0:2] = 9.0
    anomaly_map[20:40, 20:40] = 2.0
    regions = find_regions(anomaly_map, prepared_for((64, 64)), 1.0, 1.0)
    assert [region.area_px for region in regions] == [400, 4]


def test_outside_of_the_region_of_interest_nothing_is_a_region():
    """Also where all of the map is above the threshold, as on another leather."""
    anomaly_map = np.full((64, 64), 2.0, np.float32)
    anomaly_map[5, 5] = 9.0
    square = [(20, 20), (29, 20), (29, 29), (20, 29)]
    within, score = within_polygon(anomaly_map, prepared_for((64, 64)), square)
    (region,) = find_regions(within, prepared_for((64, 64)), 1.0, 0.5)
    assert score == 2.0 and region.box_xywh == (20, 20, 10, 10) and region.area_px == 100


def test_a_region_reaches_down_to_a_share_of_its_own_peak():
    """Two blurred spots of one size, one of them three times as high: a fixed threshold would make it the wider one."""
    anomaly_map = np.zeros((64, 64), np.float32)
    cv2.circle(anomaly_map, (16, 32), 4, 10.0, -1)
    cv2.circle(anomaly_map, (48, 32), 4, 30.0, -1)
    anomaly_map = cv2.GaussianBlur(anomaly_map, (0, 0), 3.0)
    prepared, share = prepared_for((64, 64)), PeakShare(0.5, 0.0, 1, 1)
    wide, narrow = find_regions(anomaly_map, prepared, 1.0, 0.5)
    assert wide.area_px > 1.3 * narrow.area_px
    assert {region.area_px for region in find_regions(anomaly_map, prepared, 1.0, 0.5, share)} == {
        int((side > side.max() / 2).sum()) for side in (anomaly_map[:, :32], anomaly_map[:, 32:])
    }


def test_what_a_peak_leaves_out_is_a_part_of_no_region():
    """Also where most of a map is above the score's threshold: none of that is taken for the background's region."""
    anomaly_map = np.full((64, 64), 2.0, np.float32)
    anomaly_map[30:34, 30:34] = 9.0
    anomaly_map[0, :] = -np.inf  # outside of a region of interest
    (region,) = find_regions(anomaly_map, prepared_for((64, 64)), 1.0, 0.5, PeakShare(0.5, 0.2, 1, 1))
    assert region.box_xywh == (30, 30, 4, 4) and region.area_px == 16


def test_a_peak_share_never_reaches_below_the_pixel_threshold():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[20:30, 20:30] = 0.4
    anomaly_map[24:26, 24:26] = 1.5
    (region,) = find_regions(anomaly_map, prepared_for((64, 64)), 1.0, 0.5, PeakShare(0.1, 0.0, 1, 1))
    assert region.area_px == 4


def drawn(region, frame_hw):
    """The frame's pixels within a region's contour."""
    inside = np.zeros(frame_hw, np.uint8)
    cv2.fillPoly(inside, [np.array(region.contour_xy, np.int32)], 1)
    return inside > 0


@pytest.mark.parametrize("scale", [1, 3])
def test_a_contour_goes_around_the_pixels_that_the_area_counts(scale):
    anomaly_map = np.zeros((64, 64), np.float32)
    cv2.fillPoly(anomaly_map, [np.array([[10, 10], [40, 10], [40, 20], [20, 20], [20, 50], [10, 50]])], 2.0)
    (region,) = find_regions(anomaly_map, prepared_for((64 * scale, 64 * scale)), 1.0, 0.5)
    truth = cv2.resize(anomaly_map, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST) > 0
    inside = drawn(region, truth.shape)
    assert region.area_px == truth.sum() and len(region.contour_xy) in (6, 7)
    # The contour runs through centres of map pixels and cuts the inner corner, where it may be a map pixel off.
    assert (inside & truth).sum() / (inside | truth).sum() > (0.98 if scale == 1 else 0.94)
    assert all(isinstance(value, int) for point in region.contour_xy for value in point)


def test_what_lies_in_a_hole_belongs_to_the_region_around_it():
    anomaly_map = np.zeros((64, 64), np.float32)
    cv2.circle(anomaly_map, (30, 30), 20, 2.0, 3)
    ring = int((anomaly_map > 0).sum())
    anomaly_map[28:32, 28:32] = 3.0
    anomaly_map[5:7, 58:62] = 2.0
    around, apart = find_regions(anomaly_map, prepared_for((64, 64)), 1.0, 0.5)
    assert around.area_px == ring + 16 and around.peak_score == 3.0 and apart.area_px == 8
    assert around.contour_xy and drawn(around, (64, 64))[30, 30]


@pytest.mark.parametrize(("scale", "box"), [(1, (7, 20, 30, 1)), (4, (28, 80, 120, 4)), (0.25, (2, 5, 7, 1))])
def test_a_line_of_one_pixel_has_its_box_for_a_contour(scale, box):
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[20, 7:37] = 2.0
    (region,) = find_regions(anomaly_map, prepared_for((round(64 * scale), round(64 * scale))), 1.0, 0.5)
    assert region.box_xywh == box == cv2.boundingRect(np.array(region.contour_xy, np.int32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    blur_px=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    frame_side=st.sampled_from([48, 96, 160, 192]),
    pixel_threshold=st.floats(-0.5, 1.5),
    peak_share=st.sampled_from([None, PeakShare(0.3, 0.0, 1, 1), PeakShare(0.8, 0.0, 1, 1)]),
)
def test_no_two_regions_overlap_and_each_contour_fills_its_box(seed, blur_px, frame_side, pixel_threshold, peak_share):
    anomaly_map = np.random.default_rng(seed).normal(size=(48, 48)).astype(np.float32)
    anomaly_map = cv2.GaussianBlur(anomaly_map, (0, 0), blur_px)
    anomaly_map /= anomaly_map.std()
    prepared = prepared_for((frame_side, frame_side), (48, 48))
    regions = find_regions(anomaly_map, prepared, pixel_threshold + 0.2, pixel_threshold, peak_share)
    assert bool(regions) == bool((anomaly_map > pixel_threshold + 0.2).any())
    # Of more than 32 the widest are kept, which need not hold the highest peak.
    assert len(regions) in (0, 32) or max(region.peak_score for region in regions) == anomaly_map.max()
    for region in regions:
        assert cv2.boundingRect(np.array(region.contour_xy, np.int32)) == region.box_xywh
    insides = [drawn(region, (frame_side, frame_side)) for region in regions]
    assert not regions or np.sum(insides, axis=0).max() == 1
    in_map = sum(region.area_px for region in regions) * (48 / frame_side) ** 2
    assert in_map <= (anomaly_map > pixel_threshold).sum() + len(regions)
