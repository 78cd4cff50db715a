"""How a picture looks, in numbers that follow what is done to it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from edgeleather.dataset.leather import HIDES, leather
from edgeleather.imaging.appearance import ANSWER, APPEARANCE, answer_to, appearance_of


@pytest.fixture(scope="module")
def picture():
    """One synthetic picture of leather, uint8 [256, 256, 3] RGB."""
    return leather((256, 256), next(iter(HIDES.values())), np.random.default_rng(0))


def change_by(picture, changed):
    return np.array(appearance_of(changed[None])) - np.array(appearance_of(picture[None]))


def test_there_is_one_value_for_each_name(picture):
    assert len(appearance_of(picture[None])) == len(APPEARANCE)
    assert len(answer_to(np.ones((64, 64), np.float32), 1.0)) == len(ANSWER)


def test_half_the_light_halves_brightness_contrast_and_detail_and_leaves_the_colour(picture):
    change = change_by(picture, (picture // 2))
    for index in (0, 3, 4):
        assert change[index] == pytest.approx(math.log(0.5), abs=0.15), APPEARANCE[index]
    assert np.abs(change[[1, 2]]).max() < 0.02


def test_blur_lowers_fine_detail_more_than_coarse_detail_and_leaves_the_brightness(picture):
    change = change_by(picture, cv2.GaussianBlur(picture, (0, 0), 2.0))
    assert change[4] < -0.5 and change[5] < -0.1
    assert abs(change[0]) < 0.02


def test_noise_raises_fine_detail(picture):
    noise = np.random.default_rng(1).normal(0, 20, picture.shape)
    change = change_by(picture, np.clip(picture + noise, 0, 255).astype(np.uint8))
    assert change[4] > 0.3 and change[5] > 0.1


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_one_colour_has_finite_statistics(value):
    statistics = appearance_of(np.full((1, 64, 64, 3), value, np.uint8))
    assert np.isfinite(statistics).all() and statistics[3] == pytest.approx(math.log(0.25))


def test_tiles_of_a_frame_are_measured_together(picture):
    tiles = np.stack([picture[:128, :128], picture[128:, 128:]])
    assert np.abs(np.array(appearance_of(tiles)) - np.array(appearance_of(picture[None]))).max() < 0.25


@pytest.mark.parametrize("side", [1, 3, 17])
def test_small_pictures_and_maps_have_statistics_too(side):
    assert np.isfinite(appearance_of(np.full((1, side, side, 3), 9, np.uint8))).all()
    assert np.isfinite(answer_to(np.zeros((side, side), np.float32), 0.0)).all()


def test_the_answer_is_the_quantiles_of_the_map():
    anomaly_map = np.linspace(1, 2, 4096, dtype=np.float32).reshape(64, 64)
    score, low, middle, high = np.exp(answer_to(anomaly_map, 2.0))
    assert (score, low, middle, high) == pytest.approx((2.0, 1.05, 1.5, 1.95), abs=0.02)
