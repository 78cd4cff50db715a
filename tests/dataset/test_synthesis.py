from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.film import write_film
from edgeleather.dataset.leather import HIDES, PRESETS, leather
from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset
from edgeleather.errors import EdgeLeatherError

SMALL = SynthSettings(size_px=64, train_good=5, test_good=2, defects_per_class=1, seed=1)


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones(tmp_path):
    synthesize_dataset(tmp_path / "a", SMALL)
    synthesize_dataset(tmp_path / "b", SMALL)
    synthesize_dataset(tmp_path / "c", SynthSettings(**{**vars(SMALL), "seed": 2}))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a")["train/good/000.png"] != digests(tmp_path / "c")["train/good/000.png"]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"x")
    with pytest.raises(EdgeLeatherError, match="new or empty folder"):
        synthesize_dataset(tmp_path / "mine", SMALL)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.png"]


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_mask_holds_every_changed_pixel_and_the_change_is_visible(kind, size):
    rng = np.random.default_rng(4)
    before = leather((size, size), HIDES["grey"], rng)
    after, mask = paste_defect(before, kind, rng)
    changed = np.any(before != after, axis=2)
    assert not np.any(changed & (mask == 0))
    assert np.mean(changed[mask > 0]) > 0.8
    assert 0.0004 < np.mean(mask > 0) < 0.35
    assert np.abs(after.astype(int) - before)[mask > 0].mean() > 8


def test_the_presets_show_one_colour_and_several():
    def hues(preset):
        pictures = [leather((96, 96), HIDES[name], np.random.default_rng(0)) for name in PRESETS[preset]]
        return [picture.reshape(-1, 3).mean(0) for picture in pictures]

    assert len(hues("single-colour")) == 1
    many = np.array(hues("multi-colour"))
    distances = np.linalg.norm(many[:, None] - many[None], axis=2)
    assert np.min(distances[np.triu_indices(len(many), 1)]) > 15


def test_leather_has_grain_and_is_neither_flat_nor_noise():
    grey = cv2.cvtColor(leather((256, 256), HIDES["brown"], np.random.default_rng(0)), cv2.COLOR_RGB2GRAY).astype(float)
    assert 6 < grey.std() < 40
    neighbours = np.corrcoef(grey[:, :-1].ravel(), grey[:, 1:].ravel())[0, 1]
    assert 0.7 < neighbours < 0.99


def test_a_film_is_lossless_and_says_which_frames_show_a_defect(tmp_path):
    shown = write_film(tmp_path / "film.mkv", 20, SMALL)
    capture = cv2.VideoCapture(str(tmp_path / "film.mkv"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    assert frames == len(shown) == 20
    assert any(shown) and not all(shown)
