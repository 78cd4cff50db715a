from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, _fitting_box, prepare, resize_mask, stitch, tile_offsets, to_rgb8

RESIZE = InputMode("resize", (64, 64), 1.0)
TILES = InputMode("tiles", (64, 64), 1.0)


def test_the_native_size_passes_untouched_but_for_the_channel_order(noise_bgr):
    assert np.array_equal(prepare(noise_bgr, RESIZE).images[0], noise_bgr[..., ::-1])


def test_grey_and_alpha_become_rgb(noise_bgr):
    grey = noise_bgr[..., 0]
    assert np.array_equal(to_rgb8(grey), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(to_rgb8(grey[..., None]), np.repeat(grey[..., None], 3, axis=2))
    alpha = np.dstack([noise_bgr, grey])
    assert np.array_equal(to_rgb8(alpha), noise_bgr[..., ::-1])


def test_shrinking_averages_areas():
    fine = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (64, 64))
    assert set(np.unique(prepare(fine, RESIZE).images)) <= {127, 128}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 64, 3), np.uint8), "empty"),
        (np.zeros((64, 64, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((64, 64, 3), np.uint16), "--white-level"),
        (np.full((64, 64, 3), np.nan, np.float32), "NaN"),
        (np.zeros((64, 64, 3), np.float32), "uint8 pixels, got float32"),
        (np.zeros((48, 64, 3), np.uint8), "aspect ratio"),
        (np.zeros((2, 4, 8, 3), np.uint8), "channels"),
    ],
)
def test_an_unusable_frame_is_one_clear_error(image, message):
    with pytest.raises(EdgeLeatherError, match=message):
        prepare(image, RESIZE)


def test_sixteen_bits_scale_by_the_white_level():
    image = np.full((64, 64), 4095, np.uint16)
    assert np.all(to_rgb8(image, white_level=4095) == 255)
    assert np.all(to_rgb8(image, white_level=65535) == round(4095 * 255 / 65535))


def test_crop_takes_the_centre_and_stretch_takes_all():
    frame = np.zeros((64, 128, 3), np.uint8)
    frame[:, 32:96] = 200
    cropped = prepare(frame, InputMode("resize", (64, 64), 1.0, "crop"))
    assert cropped.frame_box_xywh == (32, 0, 64, 64)
    assert np.all(cropped.images == 200)
    assert prepare(frame, InputMode("resize", (64, 64), 1.0, "stretch")).frame_box_xywh == (0, 0, 128, 64)


def test_a_frame_smaller_than_a_tile_is_refused():
    with pytest.raises(EdgeLeatherError, match="at least one tile of 64 x 64"):
        prepare(np.zeros((63, 200, 3), np.uint8), TILES)
    with pytest.raises(EdgeLeatherError, match="one pixel scale"):
        prepare(np.zeros((64, 64, 3), np.uint8), InputMode("tiles", (64, 64), None))


@given(st.integers(32, 300), st.integers(1, 2000))
def test_tiles_cover_the_axis_and_overlap_by_a_quarter(tile, extra):
    length = tile + extra
    offsets = tile_offsets(length, tile)
    assert offsets[0] == 0 and offsets[-1] == length - tile
    steps = np.diff(offsets)
    assert np.all(steps > 0) and np.all(steps <= max(1, tile - tile / 4))


@given(st.integers(64, 200), st.integers(64, 200))
def test_stitching_takes_every_pixel_from_the_tile_with_the_nearest_centre(height, width):
    prepared = prepare(np.zeros((height, width, 3), np.uint8), TILES)
    maps = np.stack([np.full((64, 64), index, np.float32) for index in range(len(prepared.images))])
    stitched = stitch(maps, prepared)
    assert stitched.shape == (height, width)
    centres = np.array(prepared.offsets_yx) + 31.5
    for y, x in np.random.default_rng(0).integers(0, (height, width), (40, 2)):
        distances = np.hypot(*(centres - (y, x)).T)
        assert distances[int(stitched[y, x])] == pytest.approx(distances.min())


@given(st.integers(64, 180), st.integers(64, 180), st.integers(0, 2**32 - 1))
def test_tiles_of_a_picture_stitch_back_to_it(height, width, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    prepared = prepare(frame, TILES)
    assert np.array_equal(stitch(prepared.images[..., 0].astype(np.float32), prepared), frame)


def test_the_pixel_scale_of_training_is_kept_in_tiles():
    frame = cv2.resize(np.tile(np.arange(256, dtype=np.uint8), (256, 1)), (512, 512))
    prepared = prepare(frame, InputMode("tiles", (64, 64), 0.5))
    assert prepared.map_size_hw == (256, 256)
    assert prepared.frame_box_xywh == (0, 0, 512, 512)


def test_a_thin_region_survives_the_shrinking_of_its_mask():
    mask = np.zeros((256, 256), np.uint8)
    mask[100, 20:40] = 255
    prepared = prepare(np.zeros((256, 256, 3), np.uint8), RESIZE)
    small = resize_mask(mask, prepared)
    assert small.shape == (64, 64) and set(np.unique(small)) == {0, 1}


@given(st.integers(64, 7000), st.integers(64, 7000), st.integers(64, 400))
def test_a_frame_always_fits_the_model_size_that_training_chooses_for_it(height, width, longer):
    scale = longer / max(height, width)
    size_hw = (round(height * scale), round(width * scale))
    if min(size_hw) >= 32:
        frame = np.broadcast_to(np.uint8(0), (height, width, 3))
        assert _fitting_box(frame.shape[:2], size_hw, "exact") == (0, 0, width, height)


@pytest.mark.parametrize("frame_hw", [(480, 640), (64, 70), (2448, 2000)])
def test_another_aspect_ratio_is_still_refused(frame_hw):
    with pytest.raises(EdgeLeatherError, match="aspect ratio"):
        _fitting_box(frame_hw, (64, 64), "exact")
