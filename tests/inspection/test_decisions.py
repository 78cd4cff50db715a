from __future__ import annotations

import numpy as np
import pytest

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
