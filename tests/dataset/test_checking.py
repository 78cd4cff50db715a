from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from edgeleather.dataset.checking import check_dataset
from tests.conftest import REAL_DATA
from tests.dataset.test_reading import with_articles


def test_a_sound_dataset_has_no_problem(dataset_folder):
    report = check_dataset(dataset_folder)
    assert report.problems == ()
    assert report.masks == 21 and report.test["good"] == 8


def test_defects_without_masks_are_no_problem(dataset_folder, tmp_path):
    root = shutil.copytree(dataset_folder, tmp_path / "leather")
    for path in (root / "ground_truth").glob("*/000_mask.png"):
        path.unlink()
    report = check_dataset(root)
    assert report.problems == () and report.masks == 14
    shutil.rmtree(root / "ground_truth")
    report = check_dataset(root)
    assert report.problems == () and report.masks == 0


def test_every_problem_is_found_at_once_and_named_by_file(dataset_folder, tmp_path):
    root = shutil.copytree(dataset_folder, tmp_path / "leather")
    (root / "train/good/000.png").write_bytes(b"no picture")
    content = (root / "train/good/001.png").read_bytes()
    (root / "train/good/001.png").write_bytes(content[: len(content) // 2])
    cv2.imwrite(str(root / "train/good/002.png"), np.full((64, 64), 999, np.uint16))
    cv2.imwrite(str(root / "ground_truth/cut/000_mask.png"), np.full((32, 32), 255, np.uint8))
    shutil.copy(root / "ground_truth/cut/001_mask.png", root / "ground_truth/cut/001.bmp")
    (root / "test/line/000.png").unlink()
    (root / "test/empty").mkdir()
    # The same pixels in another format are the same picture.
    cv2.imwrite(str(root / "test/good/zzz.bmp"), cv2.imread(str(root / "train/good/003.png")))
    found = {(problem.file, problem.message.split(":")[0].split(" (")[0]) for problem in check_dataset(root).problems}
    expected = {
        ("train/good/000.png", "expected a picture"),
        ("train/good/001.png", "the picture is truncated"),
        ("train/good/002.png", "expected 8 bits a channel, got 16. Say which value is white with --white-level"),
        ("test/cut/000.png", "expected a mask of 64 x 64 pixels, got 32 x 32"),
        ("test/cut/001.png", "expected one mask, got 2"),
        ("ground_truth/line/000_mask.png", "mask without image"),
        ("test/empty", "empty class"),
        ("test/good/zzz.bmp", "the same picture stands in training"),
        ("test/good/zzz.bmp", "not named in groups.csv; training refuses that."),
        ("test/line/000.png", "named in groups.csv, but there is no such picture."),
    }
    assert found == expected


def test_articles_of_too_few_pictures_and_test_pictures_of_no_article_are_problems(dataset_folder, tmp_path):
    root = with_articles(dataset_folder, tmp_path / "photos")
    assert check_dataset(root).problems == ()
    for path in sorted((root / "train/good/beige").iterdir())[5:]:
        path.unlink()
    (root / "test/good/beige").rename(root / "test/good/Beige")
    problems = check_dataset(root).problems
    assert ("train/good/beige", "expected at least 8 different good pictures of an article, got 5.") in {
        (problem.file, problem.message) for problem in problems
    }
    astray = {problem.file for problem in problems if "lies in no folder of an article (beige, " in problem.message}
    assert astray == {f"test/good/Beige/{path.name}" for path in (root / "test/good/Beige").iterdir()}


def test_a_photograph_on_both_sides_is_a_problem(dataset_folder, tmp_path):
    root = shutil.copytree(dataset_folder, tmp_path / "leather")
    text = (
        (root / "groups.csv").read_text().replace("test/good/000.png,test-good-000", "test/good/000.png,train-good-000")
    )
    (root / "groups.csv").write_text(text)
    (problem,) = check_dataset(root).problems
    assert problem.file == "test/good/000.png" and "stands in train and in test" in problem.message


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mvtec_leather", "neadvance", "neadvance_tiles", "mvtec_leather_1024"])
def test_the_real_datasets_are_sound(name):
    assert check_dataset(REAL_DATA / name).problems == ()
