"""Tiles of a frame are cut batch by batch; what comes out is what it was when all of them were cut at once."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from edgeleather.imaging.appearance import appearance_of, thinned
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.inspection.inference import infer_frame, infer_prepared
from tests.imaging.test_preprocess import TILES


class MeanEngine:
    """A map of the pixels' means: an engine that costs nothing, so that a large frame can be tried."""

    signature = type("Signature", (), {"batch_range": (1, None)})()

    def infer(self, images):
        from edgeleather.engines.engine import Maps

        maps = images.astype(np.float32).mean(-1)
        return Maps(maps, maps.max((1, 2)))


@pytest.fixture
def frame_bgr():
    return np.random.default_rng(1).integers(0, 256, (300, 410, 3), dtype=np.uint8)


def test_a_map_of_tiles_is_that_of_the_pixels_under_them(frame_bgr):
    found = infer_frame(MeanEngine(), frame_bgr, TILES)
    expected = frame_bgr[..., ::-1].astype(np.float32).mean(-1)
    assert np.array_equal(found.anomaly_map, expected) and found.score == expected.max()


def test_all_tiles_are_the_batches_and_their_rows_are_the_rows(frame_bgr):
    prepared = prepare(frame_bgr, TILES)
    images = prepared.images
    assert len(images) == prepared.count == 6 * 9 and prepared.image_size_hw == (64, 64)
    batches = [prepared.images_from(start, start + 5) for start in range(0, prepared.count, 5)]
    assert np.array_equal(np.concatenate(batches), images)
    rows = [0, 63, 64, 700, prepared.count * 64 - 1]
    assert np.array_equal(prepared.rows(rows), images.reshape(-1, 64, 3)[rows])


@pytest.mark.parametrize("chosen", [None, [3], [1, 2, 40]])
def test_the_appearance_of_a_frame_of_tiles_is_that_of_all_its_images(frame_bgr, chosen):
    prepared = prepare(frame_bgr, TILES)
    images = prepared.images if chosen is None else prepared.images[chosen]
    assert appearance_of(thinned(prepared, chosen)) == appearance_of(images)
    spoiled = replace(prepared, other_images=prepared.images // 2)
    assert appearance_of(thinned(spoiled)) == appearance_of(spoiled.images)
    assert infer_prepared(MeanEngine(), spoiled).score < infer_prepared(MeanEngine(), prepared).score


def test_a_large_frame_of_tiles_needs_less_than_four_times_its_own_memory():
    """All its tiles and maps at once took 9.6 times."""
    frame = np.zeros((3000, 3000, 3), np.uint8)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    found = infer_frame(MeanEngine(), frame, InputMode("tiles", (256, 256), 1.0))
    thinned(found.prepared)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak + frame.nbytes < 4 * frame.nbytes
