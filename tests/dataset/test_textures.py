from __future__ import annotations

import numpy as np
import pytest

from edgeleather.dataset.leather import HIDES, leather
from edgeleather.dataset.textures import FolderTextures, MadeTextures, paste_texture, perlin_mask
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import write_image


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def good():
    return leather((128, 96), HIDES["brown"], rng())


def test_the_same_generator_gives_the_same_picture(good):
    first, second = (paste_texture(good, MadeTextures(), rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def test_nothing_changes_outside_the_mask_and_something_inside(good):
    changed = []
    for seed in range(20):
        pasted, mask = paste_texture(good, MadeTextures(), rng(seed))
        assert pasted.shape == good.shape and pasted.dtype == np.uint8 and mask.shape == good.shape[:2]
        assert np.array_equal(pasted[~mask], good[~mask])
        if mask.any():
            changed.append(np.abs(pasted[mask].astype(int) - good[mask]).mean())
    assert len(changed) >= 15 and np.mean(changed) > 10


def test_masks_come_in_many_sizes():
    shares = [perlin_mask((128, 128), rng(seed)).mean() for seed in range(60)]
    assert min(shares) < 0.01 and 0.02 < np.mean(shares) < 0.3 and max(shares) < 0.9


def test_a_users_folder_gives_textures_of_any_size(tmp_path):
    (tmp_path / "sub").mkdir()
    write_image(tmp_path / "small.png", np.full((20, 30, 3), (10, 120, 200), np.uint8))
    write_image(tmp_path / "sub/large.jpg", rng().integers(0, 256, (900, 700, 3), dtype=np.uint8))
    textures = FolderTextures(tmp_path)
    for seed in range(6):
        assert textures.draw((64, 96), rng(seed)).shape == (64, 96, 3)


def test_a_folder_without_pictures_or_with_a_broken_one_is_one_clear_error(tmp_path):
    with pytest.raises(EdgeLeatherError, match="expected a folder of texture pictures"):
        FolderTextures(tmp_path)
    with pytest.raises(EdgeLeatherError, match="expected a folder of texture pictures"):
        FolderTextures(tmp_path / "absent")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(EdgeLeatherError, match="does not decode"):
        FolderTextures(tmp_path)
