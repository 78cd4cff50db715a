from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgeleather.dataset.reading import read_dataset, read_groups, require_groups
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import read_image, write_image
from tests.tiny import SETTINGS


def test_the_mvtec_layout_is_read_with_masks_and_groups(dataset_folder):
    dataset = read_dataset(dataset_folder, needs="train")
    assert len(dataset.train_good) == SETTINGS.train_good
    assert {sample.defect_class for sample in dataset.test} >= {"good", "hole", "cut"}
    hole = next(sample for sample in dataset.test if sample.defect_class == "hole")
    mask = hole.read_mask((64, 64))
    assert set(np.unique(mask)) == {0, 255}
    assert len({sample.group for sample in dataset.train_good}) == SETTINGS.train_good // 4


def test_a_folder_of_photos_counts_as_good_ones(dataset_folder, tmp_path):
    for index in range(3):
        shutil.copy(dataset_folder / f"train/good/00{index}.png", tmp_path)
    dataset = read_dataset(tmp_path, needs="train")
    assert [sample.name for sample in dataset.train_good] == ["000.png", "001.png", "002.png"]
    assert not dataset.test


def test_without_groups_every_picture_is_its_own(dataset_folder, tmp_path):
    shutil.copytree(dataset_folder / "train", tmp_path / "train")
    dataset = read_dataset(tmp_path, needs="train")
    assert len({sample.group for sample in dataset.train_good}) == SETTINGS.train_good


@pytest.mark.parametrize(("needs", "part"), [("train", "train/good"), ("test", "test/<class>"), ("any", "pictures")])
def test_an_empty_dataset_says_what_was_expected(tmp_path, needs, part):
    (tmp_path / "train").mkdir()
    with pytest.raises(EdgeLeatherError, match=part):
        read_dataset(tmp_path, needs=needs)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(EdgeLeatherError, match="expected a dataset folder"):
        read_dataset(tmp_path / "absent", needs="any")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", "header"),
        ("", "header"),
        ("file,group\nx.png\n", "line 2"),
        ("file,group\nx.png,\n", "line 2"),
        ("file,group\na.png,x\na.png,y\n", "already"),
    ],
)
def test_a_malformed_groups_file_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(EdgeLeatherError, match=message):
        read_groups(tmp_path)


def test_a_mask_of_another_size_is_an_error_and_none_is_none(dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "copy")
    sample = next(s for s in read_dataset(folder, needs="test").test if s.name == "test/hole/000.png")
    write_image(folder / "ground_truth/hole/000_mask.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(EdgeLeatherError, match="expected a mask of 64 x 64 pixels, got 32 x 32"):
        sample.read_mask((64, 64))
    (folder / "ground_truth/hole/000_mask.png").unlink()
    unmarked = next(s for s in read_dataset(folder, needs="test").test if s.name == "test/hole/000.png")
    assert sample.has_truth and not unmarked.has_truth and unmarked.read_mask((64, 64)) is None


def test_a_groups_file_that_names_other_pictures_is_refused(dataset_folder, tmp_path):
    shutil.copytree(dataset_folder / "train", tmp_path / "train")
    (tmp_path / "groups.csv").write_text("file,group\ngood/000.png,a\n")
    with pytest.raises(EdgeLeatherError, match=r"24 of 24 are not named, train/good/000\.png first"):
        require_groups(read_dataset(tmp_path, needs="train"))
    require_groups(read_dataset(dataset_folder, needs="train"))


def with_articles(dataset_folder, root):
    """The tiny data set as two articles, the second of which is a copy in other colours."""
    for part in ("train/good", "test/good", "test/hole", "ground_truth/hole"):
        for path in sorted((dataset_folder / part).iterdir()):
            for article in ("beige", "schwarz glänzend"):
                target = root / part / article / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                image = read_image(path)
                dark = article != "beige" and not part.startswith("ground_truth")
                write_image(target, image // 3 if dark else image)
    return root


def test_subfolders_are_articles_with_their_tests_and_masks(dataset_folder, tmp_path):
    dataset = read_dataset(with_articles(dataset_folder, tmp_path), needs="train")
    assert dataset.articles == ("beige", "schwarz glänzend")
    beige = dataset.of_article("beige")
    assert {sample.article for sample in (*beige.train_good, *beige.test)} == {"beige"}
    assert len(beige.train_good) == SETTINGS.train_good and 2 * len(beige.test) == len(dataset.test)
    assert all(len(sample.mask_paths) == 1 for sample in dataset.test if not sample.is_good)
    assert {path.parent.name for sample in beige.test for path in sample.mask_paths} == {"beige"}
    assert dataset.of_article("") is dataset and list(dataset.by_article) == list(dataset.articles)


def test_test_pictures_in_no_articles_folder_are_of_none(dataset_folder, tmp_path):
    root = with_articles(dataset_folder, tmp_path)
    shutil.rmtree(root / "test/hole")
    shutil.copytree(dataset_folder / "test/hole", root / "test/hole")
    dataset = read_dataset(root, needs="train")
    assert {sample.article for sample in dataset.test if not sample.is_good} == {""}
    assert all(sample.is_good for sample in dataset.of_article("beige").test)


def test_a_plain_folder_of_subfolders_is_articles_too(dataset_folder, tmp_path):
    root = with_articles(dataset_folder, tmp_path / "all")
    dataset = read_dataset(root / "train/good", needs="train")
    assert dataset.articles == ("beige", "schwarz glänzend") and not dataset.test


def test_pictures_beside_articles_are_refused_but_a_report_is_no_article(dataset_folder, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(dataset_folder / "train/good", root)
    report = root / "bundle-report"
    report.mkdir()
    (report / "report.md").write_text("# Accuracy against speed")
    shutil.copy(root / "000.png", report / "accuracy-speed.png")
    assert read_dataset(root, needs="train").articles == ()
    (root / "brown").mkdir()
    shutil.copy(root / "000.png", root / "brown")
    with pytest.raises(EdgeLeatherError, match="expected pictures of one article, or one subfolder per article"):
        read_dataset(root, needs="train")
