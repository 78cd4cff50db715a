from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeleather.dataset.defects import paste_defect
from edgeleather.dataset.reading import Sample
from edgeleather.engines.engine import Maps
from edgeleather.imaging.images import write_image
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.inspection.decisions import find_regions
from edgeleather.inspection.reach import fit_peak_share


class BlurredDifference:
    """An engine whose map is the difference from mid grey, blurred as wide as a method's map."""

    def __init__(self, blur_px):
        self.blur_px = blur_px

    def infer(self, images):
        difference = np.abs(images.astype(np.float32) - 128).mean(axis=3) / 10
        maps = np.stack([cv2.GaussianBlur(one, (0, 0), self.blur_px) for one in difference])
        return Maps(maps, maps.max(axis=(1, 2)))


def leather(folder: Path, count: int, size_px: int, noise: float = 4.0) -> list[Sample]:
    samples = []
    for index in range(count):
        path = folder / f"{index}.png"
        grain = np.random.default_rng(index).normal(128, noise, (size_px, size_px, 3))
        write_image(path, np.clip(grain, 0, 255).astype(np.uint8))
        samples.append(Sample(path, path.name, "good", path.name))
    return samples


MODE = InputMode("resize", (128, 128), 1.0)


@pytest.fixture
def samples(tmp_path):
    return leather(tmp_path, 20, 128)


def test_areas_of_other_defects_are_nearer_to_their_masks_than_at_the_pixel_threshold(samples):
    engine, normal, pixel_threshold = BlurredDifference(8.0), 0.3, 0.5
    share = fit_peak_share(engine, MODE, samples, normal, pixel_threshold)
    assert share.images == 16 and 40 <= share.defects <= 48 and share.normal == normal
    ratios = {None: [], share: []}
    for seed in range(12):
        image, mask = paste_defect(samples[-1].read(), "stain", np.random.default_rng(1000 + seed))
        prepared = prepare(image, MODE)
        anomaly_map = engine.infer(prepared.images).maps[0]
        for peak_share, found in ratios.items():
            regions = find_regions(anomaly_map, prepared, 1.0, pixel_threshold, peak_share)
            found.append(sum(region.area_px for region in regions) / np.count_nonzero(mask))
    assert np.median(ratios[None]) > 1.8 and 0.6 < np.median(ratios[share]) < 1.7


def test_a_wider_blur_needs_a_higher_share_and_the_same_pictures_give_the_same(samples):
    narrow, wide, again = (fit_peak_share(BlurredDifference(px), MODE, samples, 0.3, 0.5) for px in (1.0, 8.0, 8.0))
    assert narrow.share < wide.share and wide == again


def test_where_a_map_does_not_see_the_defects_there_is_no_share(samples):
    class Blind(BlurredDifference):
        def infer(self, images):
            maps = np.zeros(images.shape[:3], np.float32)
            maps[:, 0, 0] = 9.0
            return Maps(maps, maps.max(axis=(1, 2)))

    assert fit_peak_share(Blind(1.0), MODE, samples, 0.0, 0.5) is None
    assert fit_peak_share(BlurredDifference(4.0), MODE, samples, 0.3, 1e6) is None
    assert fit_peak_share(BlurredDifference(4.0), MODE, samples[:1], 0.3, 0.5) is None  # three defects are too few


@pytest.mark.parametrize("size_px", [8, 16, 33])
def test_flat_and_small_pictures_fail_nothing(size_px, tmp_path):
    samples = leather(tmp_path, 3, size_px, noise=0.0)
    share = fit_peak_share(BlurredDifference(2.0), InputMode("resize", (size_px, size_px), 1.0), samples, 0.0, 0.1)
    assert share is None or 0.1 <= share.share <= 0.9


def test_of_frames_in_tiles_one_tile_is_looked_at(tmp_path):
    seen = []

    class Counting(BlurredDifference):
        def infer(self, images):
            seen.append(images.shape)
            return super().infer(images)

    fit_peak_share(Counting(2.0), InputMode("tiles", (64, 64), 1.0), leather(tmp_path, 2, 200), 0.3, 0.5)
    assert seen == [(1, 64, 64, 3)] * 6
