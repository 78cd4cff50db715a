"""What becomes of pictures of several sizes is said before a training."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.cli.main import main
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, prepare, tile_count, unseen_share
from edgeleather.training.input_plan import choose_input_mode, common_tile_count, planned_input

LANDSCAPE, PORTRAIT = (1080, 1920), (1920, 1080)


def test_large_pictures_are_said_to_be_made_smaller_and_tiles_are_proposed():
    told = planned_input(((LANDSCAPE, 40),), "resize", "exact").describe()
    assert told[:2] == [
        "Sizes of the good pictures: 1920 x 1080 (40).",
        "Each picture becomes one image of 256 x 144.",
    ]
    assert "made 7.5 times smaller, so that a defect of 30 pixels is 4 pixels wide" in told[2]
    assert "--input tiles: 60 tiles of 256 x 256 per picture" in told[2]
    assert planned_input((((256, 256), 40),), "resize", "exact").warnings() == []
    assert planned_input(((LANDSCAPE, 40),), "tiles", "exact").warnings() == []


def test_pictures_of_another_aspect_ratio_are_counted():
    plan = planned_input(((LANDSCAPE, 40), (PORTRAIT, 8)), "resize", "exact")
    assert any(
        line.startswith("8 pictures do not fit: expected frames of the model's aspect ratio")
        for line in plan.describe()
    )


def test_crop_says_how_much_nobody_looks_at():
    plan = planned_input(((LANDSCAPE, 40), (PORTRAIT, 8)), "resize", "crop")
    (told,) = [line for line in plan.warnings() if line.startswith("--crop")]
    assert told == "--crop: nobody looks at up to 68 % of 8 pictures, the parts beside their centre."
    assert unseen_share(PORTRAIT, plan.mode) == pytest.approx(1 - 608 * 1080 / (1080 * 1920), abs=1e-3)


def test_different_numbers_of_tiles_are_said_before_a_training():
    plan = planned_input((((300, 300), 9), ((256, 256), 9), ((1024, 1024), 2)), "tiles", "exact")
    assert "rest on the 9 pictures of 4 tiles" in plan.warnings()[-1]
    assert common_tile_count(Counter({1: 3, 4: 2})) == 1


def test_too_small_pictures_are_refused():
    with pytest.raises(EdgeLeatherError, match="expected model images of at least 32 pixels a side, got 256 x 26"):
        choose_input_mode((((100, 1000), 3),), "resize", None, "exact")
    assert planned_input((), "resize", "exact") is None


@given(st.integers(64, 400), st.integers(64, 400), st.sampled_from([1.0, 0.7]))
def test_the_number_of_tiles_is_that_of_preparing(height, width, scale):
    mode = InputMode("tiles", (32, 48), scale)
    if min(height * scale / 32, width * scale / 48) >= 1.1:
        assert tile_count((height, width), mode) == prepare(np.zeros((height, width, 3), np.uint8), mode).count


def test_the_check_tells_and_has_it_as_json(tmp_path):
    for number, (height, width) in enumerate([(120, 160)] * 3 + [(600, 800)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.random.default_rng(number).integers(0, 255, (height, width, 3)))
    result = CliRunner().invoke(main, ["dataset", "check", str(tmp_path), "--input", "tiles"])
    assert "Sizes of the good pictures: 160 x 120 (3), 800 x 600 (1)." in result.stdout
    assert "Each picture is cut into 2 to 63 tiles of 120 x 120." in result.stdout, result.stdout
    data = json.loads(CliRunner().invoke(main, ["dataset", "check", str(tmp_path), "--json"]).stdout)
    assert data["sizes_hw"] == [[[120, 160], 3], [[600, 800], 1]] and data["input"]["image_size_hw"] == [120, 160]
    assert any("times smaller" in line for line in data["warnings"])
