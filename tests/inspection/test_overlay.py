from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeleather.imaging.images import read_image
from edgeleather.inspection.decisions import DecisionRules, Region
from edgeleather.inspection.inspector import Inspection, Inspector, InspectorSettings
from edgeleather.inspection.overlay import _band, _header, draw_overlay

RED_BGR = (40, 40, 230)
TRIANGLE = ((10, 10), (50, 10), (10, 50))


def defect(side=64, **changes):
    region = Region((10, 10, 41, 41), 800, None, 2.0, TRIANGLE)
    image = np.full((side, side, 3), 90, np.uint8)
    heat = np.linspace(0, 2, side * side, dtype=np.float32).reshape(side, side)
    made = Inspection(
        3, 1_700_000_000.5, "line/000.png", "defect", 2.0, 1.0, 19.5, (region,), {}, None, image, heat,
        (0, 0, side, side),
    )  # fmt: skip
    return replace(made, **changes)


def test_a_picture_that_nobody_captured_has_neither_a_time_nor_a_frame_number():
    assert not any("1970" in text or text.startswith("frame") for text in _header(defect(captured_at=0.0)))
    assert "frame 3" in _header(defect())


def test_the_contour_is_drawn_and_no_box():
    picture = draw_overlay(defect())[-64:, :64]
    is_red = (picture == RED_BGR).all(axis=2)
    assert is_red[10, 10:51].all() and is_red[10:51, 10].all() and is_red[30, 30]
    assert not is_red[50, 50] and not is_red[20:40, 50].any()  # where the box's other two sides would be


def test_the_header_names_article_source_time_and_scale():
    words = _header(defect(mm_per_px=0.08, article="nappa-black"))
    assert words[:5] == ["defect", "2.000 > 1.000", "area 19.50 %", "nappa-black", "line/000.png"]
    assert words[5] == "frame 3" and words[6].startswith("2023-11-1") and words[7:] == ["0.08 mm/px"]
    plain = _header(defect())
    assert plain == [word for word in words if word not in ("nappa-black", "0.08 mm/px")]
    unfamiliar = _header(defect(verdict="unfamiliar", score=None, reason="too dark"))
    assert unfamiliar[:3] == ["unfamiliar", "too dark", "line/000.png"]


@pytest.mark.parametrize("side", [64, 256, 1024])
def test_a_long_source_takes_more_lines_and_no_wider_picture(side):
    short, long = (draw_overlay(defect(side, source=source)) for source in ("a.png", "folder/" * 30))
    assert short.shape[1] == long.shape[1] == 2 * side and long.shape[0] > short.shape[0] > side
    assert long.shape[0] - side <= 8 * 16 * max(1, side // 256) + 6 * max(1, side // 256)


@pytest.mark.parametrize("text", ["Größe", "検査", "L\udce4der", "a\nb\0c", ""])
def test_any_name_can_be_drawn(text):
    """OpenCV 5 ends the process at half of a character."""
    assert _band(f"x {text}", 128, 1).max() > 200


def test_a_hole_is_outlined_where_it_is(bundle, hole_picture, dataset_folder):
    with Inspector(bundle, InspectorSettings(rules=DecisionRules(mm_per_px=0.5))) as inspector:
        inspection = inspector.inspect(hole_picture)
    assert inspection.mm_per_px == 0.5
    rows, columns = np.nonzero(read_image(dataset_folder / "ground_truth/hole/000_mask.png")[..., 0])
    is_red = (draw_overlay(inspection)[-64:, :64] == RED_BGR).all(axis=2)
    y, x = round(rows.mean()), round(columns.mean())
    assert is_red[y, :x].any() and is_red[y, x:].any() and is_red[:y, x].any() and is_red[y:, x].any()
