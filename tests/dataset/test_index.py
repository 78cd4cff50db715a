from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest

from edgeleather.dataset import reading
from edgeleather.dataset.index import DecodedPictures, index_dataset, read_index, write_index
from edgeleather.dataset.reading import read_dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import image_digest, read_image, write_image
from tests.tiny import SETTINGS


@pytest.fixture
def decodes(monkeypatch):
    """How often each file was decoded since."""
    counts = Counter()

    def counted(path):
        counts[path] += 1
        return read_image(path)

    monkeypatch.setattr(reading, "read_image", counted)
    return counts


def test_every_picture_is_known_by_digest_and_size_and_decoded_once(dataset_folder, decodes):
    index = index_dataset(dataset_folder, needs="train")
    assert len(index.train_good) == SETTINGS.train_good and all(sample.size_hw == (64, 64) for sample in index.samples)
    for sample in index.samples:
        assert sample.digest == image_digest(sample.read())
        sample.read_mask((64, 64))
    assert set(decodes.values()) == {1}
    assert index_dataset(index, needs="test") is index


def test_names_groups_and_order_are_those_of_the_dataset(dataset_folder):
    index, dataset = index_dataset(dataset_folder, needs="train"), read_dataset(dataset_folder, needs="train")
    for part in ("train_good", "test"):
        rows = [
            [(s.path, s.name, s.defect_class, s.group, s.mask_paths) for s in getattr(source, part)]
            for source in (index, dataset)
        ]
        assert rows[0] == rows[1]


def test_what_is_kept_is_bounded_and_read_only(dataset_folder, decodes):
    picture_bytes = 64 * 64 * 3
    index = index_dataset(dataset_folder, needs="train", kept_bytes=2 * picture_bytes)
    for sample in index.train_good:
        sample.read()
    assert sorted(decodes[sample.path] for sample in index.train_good) == [1, 1] + [2] * (SETTINGS.train_good - 2)
    with pytest.raises(ValueError, match="read-only"):
        index.train_good[0].read()[0] = 0
    kept = DecodedPictures(0)
    assert kept.get("x", lambda: np.zeros(1)) is not kept.get("x", lambda: np.zeros(1))


def test_a_picture_that_changes_while_it_is_used_is_found(dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "copy")
    index = index_dataset(folder, needs="train", kept_bytes=0)
    shutil.copy(folder / "train/good/001.png", folder / "train/good/000.png")
    with pytest.raises(EdgeLeatherError, match=r"000\.png: the picture has changed while it was being used"):
        index.train_good[0].read()


def test_every_problem_is_named_at_once(dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "copy")
    (folder / "train/good/003.png").write_bytes(b"no picture")
    (folder / "test/good/002.png").write_bytes(b"")
    shutil.copy(folder / "ground_truth/hole/000_mask.png", folder / "ground_truth/hole/000.png")
    write_image(folder / "ground_truth/cut/001_mask.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(EdgeLeatherError) as found:
        index_dataset(folder, needs="train")
    text = str(found.value)
    assert "4 pictures or masks cannot be used" in text
    for words in (
        "train/good/003.png: expected a picture (",
        "test/good/002.png: expected a picture, got an empty file",
        "test/hole/000.png: expected one mask, got 2 (000_mask.png, 000.png). Keep one",
        "test/cut/001.png: expected a mask of 64 x 64 pixels, got 32 x 32",
    ):
        assert words in text


def test_a_report_needs_no_training_pictures(dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "copy")
    (folder / "train/good/003.png").write_bytes(b"no picture")
    index = index_dataset(folder, needs="test")
    assert not index.train_good and len(index.test) == 29
    with pytest.raises(EdgeLeatherError, match="expected good pictures"):
        index_dataset(index, needs="train")


def test_another_process_reads_the_same_index_without_decoding(dataset_folder, tmp_path, decodes):
    index = index_dataset(dataset_folder, needs="train")
    decodes.clear()
    (tmp_path / "index.json").write_bytes(write_index(index))
    assert read_index(tmp_path / "index.json") == index and not decodes
