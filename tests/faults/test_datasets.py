"""What is wrong with pictures, masks and names is told before anything is trained, by file and in the same words everywhere."""

from __future__ import annotations

import logging
import os
import shutil
import unicodedata

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgeleather.cli.main import main
from edgeleather.dataset.checking import check_dataset
from edgeleather.dataset.index import index_dataset
from edgeleather.dataset.reading import read_dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.journal import StoreSettings
from edgeleather.events.sinks.json_lines import JsonLinesSettings
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.records import decode
from edgeleather.station.settings import SourceSettings

MODE = InputMode("resize", (64, 64), 1.0)


@pytest.fixture
def leather(dataset_folder, tmp_path):
    return shutil.copytree(dataset_folder, tmp_path / "leather")


def spoil(leather):
    """One fault of each kind; the names of the files that have one."""
    shutil.copy(leather / "ground_truth/cut/000_mask.png", leather / "ground_truth/cut/000.PNG")
    cv2.imwrite(str(leather / "ground_truth/cut/001_mask.png"), np.full((32, 32), 255, np.uint8))
    (leather / "ground_truth/glue/000_mask.png").write_bytes(b"no mask")
    cv2.imwrite(str(leather / "ground_truth/glue/001_mask.png"), np.full((64, 64), 65535, np.uint16))
    Image.new("RGB", (64, 64)).save(
        leather / "test/good/000.tif", save_all=True, append_images=[Image.new("RGB", (64, 64))]
    )
    (leather / "test/good/000.png").unlink()
    lost = bytearray(cv2.imencode(".jpg", cv2.imread(str(leather / "train/good/001.png")))[1].tobytes())
    lost[len(lost) // 2 : len(lost) // 2 + 200] = bytes(200)
    (leather / "train/good/001.jpg").write_bytes(lost)
    (leather / "train/good/001.png").unlink()
    (leather / "groups.csv").unlink()
    return {
        "test/cut/000.png": "expected one mask, got 2 (000_mask.png, 000.PNG). Keep one.",
        "test/cut/001.png": "expected a mask of 64 x 64 pixels, got 32 x 32",
        "ground_truth/glue/000_mask.png": "expected a picture",
        "test/glue/001.png": "expected a mask of 8 bits, got 16",
        "test/good/000.tif": "expected one picture, got several pages or frames in one TIFF file",
        "train/good/001.jpg": "the picture is damaged inside",
    }


def test_training_refuses_all_faults_at_once_in_the_words_of_the_check(leather):
    faults = spoil(leather)
    told = {problem.file: problem.message for problem in check_dataset(leather).problems}
    with pytest.raises(EdgeLeatherError) as refused:
        index_dataset(leather, needs="train")
    for file, words in faults.items():
        assert words in told[file]
        assert told[file] in str(refused.value) and file in str(refused.value)


@pytest.mark.train
@pytest.mark.parametrize("command", ["train", "teach"])
def test_nothing_is_trained_on_a_dataset_with_faults(leather, tmp_path, command, monkeypatch):
    from edgeleather.training import training

    def trained(*_):
        raise AssertionError("it trains")

    monkeypatch.setattr(training, "_untrained", trained)
    spoil(leather)
    result = CliRunner().invoke(
        main, [command, str(leather), "--method", "memory-bank", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1 and "6 pictures or masks cannot be used" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leather"]


def palette(mask):
    picture = Image.fromarray((mask > 0).astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 0, 0, 2])  # the defect's colour is a blue so dark that its grey is 0
    return picture


KINDS = {
    "0 and 255": Image.fromarray,
    "0 and 1": lambda mask: Image.fromarray(mask // 255),
    "one bit": lambda mask: Image.fromarray(mask).convert("1"),
    "colour": lambda mask: Image.fromarray(np.dstack([mask, mask // 2, 0 * mask])),
    "palette": palette,
    "with alpha": lambda mask: Image.fromarray(np.dstack([mask, mask, mask, np.full_like(mask, 255)])),
}


@pytest.mark.parametrize("ending", ["_mask.PNG", "_mask.bmp", "_mask.tif", ".png", ".PNG", ".tiff"])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_have_the_names_and_kinds_of_the_field(leather, dataset_folder, ending, kind):
    for path in (leather / "ground_truth").glob("*/*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        path.unlink()
        KINDS[kind](mask).save(path.with_name(path.name.replace("_mask.png", ending)))
    assert check_dataset(leather).problems == ()
    ours, theirs = (index_dataset(folder, needs="train").test for folder in (leather, dataset_folder))
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.read_mask((64, 64)), other.read_mask((64, 64))) and one.has_truth


def test_masks_that_want_a_look_are_named(leather):
    cut = leather / "ground_truth/cut"
    cv2.imwrite(str(cut / "000_mask.png"), np.zeros((64, 64), np.uint8))
    mask = cv2.imread(str(cut / "001_mask.png"))
    (cut / "001_mask.png").unlink()
    cv2.imwrite(str(cut / "001_mask.jpg"), mask)
    (cut / "002_mask.png").rename(cut / "other_mask.png")
    told = {problem.file: problem.message for problem in check_dataset(leather).problems}
    assert set(told) == {f"ground_truth/cut/{name}" for name in ("000_mask.png", "001_mask.jpg", "other_mask.png")}
    assert "marks no pixel of a defect" in told["ground_truth/cut/000_mask.png"]
    assert "pixels of the mask are nearly black" in told["ground_truth/cut/001_mask.jpg"]
    assert "mask without image" in told["ground_truth/cut/other_mask.png"]


def test_a_mask_that_belongs_to_no_picture_is_told_of_where_it_is_passed_over(leather, caplog):
    cut = leather / "ground_truth/cut"
    (cut / "002_mask.png").rename(cut / "other_mask.png")
    dataset = read_dataset(leather, needs="train")
    assert "passed over 1 masks that belong to no picture (other_mask.png first)" in caplog.text
    assert [sample.name for sample in dataset.test if not sample.has_truth] == ["test/cut/002.png"]


def test_two_pictures_of_one_mask_are_a_problem(leather):
    cv2.imwrite(str(leather / "test/cut/000.bmp"), np.full((64, 64, 3), 90, np.uint8))
    (leather / "groups.csv").unlink()
    (problem,) = check_dataset(leather).problems
    assert (problem.file, problem.message) == (
        "test/cut/000.png",
        "its mask 000_mask.png could be that of 000.bmp as well. Rename one picture and its mask.",
    )


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_names_are_the_same_in_any_unicode_form(leather, form, separator):
    """macOS writes an accent as a letter and a mark of its own; a spreadsheet on Windows does not."""
    other = "NFD" if form == "NFC" else "NFC"
    rows = (leather / "groups.csv").read_text().replace("cut/000", "cut/Größe").replace("good/000", "good/Größe")
    (leather / "groups.csv").write_text(unicodedata.normalize(other, rows).replace("/", separator), encoding="utf-8")
    name = unicodedata.normalize(form, "Größe")
    for place in ("train/good", "test/good", "test/cut"):
        (leather / place / "000.png").rename(leather / place / f"{name}.png")
    (leather / "ground_truth/cut/000_mask.png").rename(
        leather / "ground_truth/cut" / unicodedata.normalize(other, "Größe_mask.png")
    )
    assert check_dataset(leather).problems == ()
    groups = {sample.name: sample.group for sample in index_dataset(leather, needs="train").samples}
    assert groups[f"train/good/{name}.png"] == groups["train/good/001.png"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
def test_names_that_are_no_utf8_or_hold_line_breaks_are_read_and_told_on_one_line(leather):
    rows = (leather / "groups.csv").read_bytes().replace(b"train/good/000.png", b"train/good/L\xe4der.png")
    rows = rows.replace(b"train/good/001.png", b'"train/good/a\nb.png"')
    (leather / "groups.csv").write_bytes(rows)
    (leather / "train/good/000.png").rename(leather / "train/good" / os.fsdecode(b"L\xe4der.png"))
    (leather / "train/good/001.png").rename(leather / "train/good/a\nb.png")
    assert check_dataset(leather).problems == ()
    index_dataset(leather, needs="train")
    (leather / "train/good/a\nb.png").write_bytes(b"no picture")
    result = CliRunner().invoke(main, ["dataset", "check", str(leather)])
    assert result.exit_code == 1 and len(result.output.splitlines()) == 4  # it, two on sizes, the counts
    assert result.output.startswith("train/good/a\\nb.png: expected a picture")


def test_files_that_are_no_pictures_by_their_names_are_said_to_be_passed_over(leather, caplog):
    for name in ("a.heic", "b.cr2", "c.gif", "d.txt", ".hidden"):
        (leather / "train/good" / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        read_dataset(leather, needs="train")
    assert "train/good: passed over 4 entries that are no picture files (a.heic, b.cr2, c.gif, ...)" in (caplog.text)


def test_pictures_beside_the_folders_of_the_layout_are_said_to_be_passed_over(leather, caplog):
    for place in ("a.png", "train/b.png", "test/c.png"):
        shutil.copy(leather / "train/good/000.png", leather / place)
    with caplog.at_level(logging.WARNING):
        read_dataset(leather, needs="train")
    for place in (
        "leather: passed over 1 pictures (a.png",
        "train: passed over 1 pictures (b.png",
        "test: passed over 1",
    ):
        assert place in caplog.text


def test_pictures_in_folders_that_the_layout_has_not_are_said_to_be_passed_over(leather, caplog):
    for place in ("train/Good", "train/bad/monday", "Test/hole", ".hidden"):
        (leather / place).mkdir(parents=True)
        shutil.copy(leather / "train/good/000.png", leather / place)
    (leather / "notes").mkdir()
    with caplog.at_level(logging.WARNING):
        read_dataset(leather, needs="train")
    told = [record.getMessage().split("; the layout")[0] for record in caplog.records]
    assert told == [
        f"{leather}: passed over the pictures in Test",
        f"{leather / 'train'}: passed over the pictures in Good, bad",
    ]


def test_pixels_that_no_white_level_helps_are_told_as_such(leather):
    cv2.imwrite(str(leather / "train/good/000.tif"), np.full((64, 64, 3), 90, np.int16))
    cv2.imwrite(str(leather / "test/good/000.tif"), np.full((64, 64, 3), 90, np.float32))
    (leather / "groups.csv").unlink()
    told = {problem.file: problem.message for problem in check_dataset(leather, white_level=4095).problems}
    assert "got pixels of int16" in told["train/good/000.tif"]
    assert "got pixels of float32" in told["test/good/000.tif"]


def write_16_bits(folder, white):
    """The pictures of a dataset in 16 bits, `white` for 255."""
    for path in folder.glob("t*/*/*.png"):
        image = cv2.imread(str(path)).astype(np.float64)
        cv2.imwrite(str(path), np.rint(image * white / 255).astype(np.uint16))


def test_16_bits_need_a_white_level_and_all_are_told_at_once(leather):
    write_16_bits(leather, 4095)
    index = index_dataset(leather, needs="train")
    with pytest.raises(
        EdgeLeatherError, match=r"53 pictures or masks cannot be used\. .* and 50 more: expected 8 bits"
    ):
        index.require_fit(MODE)
    index.require_fit(MODE.with_white_level(4095))
    assert len(check_dataset(leather).problems) == 53
    assert check_dataset(leather, white_level=4095).problems == ()


def test_a_picture_of_16_bits_is_prepared_as_the_same_of_8(leather, dataset_folder):
    write_16_bits(leather, 4095)
    names = [path.relative_to(leather) for path in sorted(leather.glob("train/good/*"))[:5]]
    for name in names:
        eight, sixteen = (cv2.imread(str(root / name), cv2.IMREAD_UNCHANGED) for root in (dataset_folder, leather))
        found = prepare(sixteen, MODE.with_white_level(4095)).images
        assert np.array_equal(found, prepare(eight, MODE).images)


def test_pictures_of_another_shape_are_told_at_the_start_and_all_of_them(leather):
    for name in ("train/good/000.png", "test/cut/000.png"):
        cv2.imwrite(str(leather / name), np.full((64, 96, 3), 90, np.uint8))
    cv2.imwrite(str(leather / "ground_truth/cut/000_mask.png"), np.full((64, 96), 255, np.uint8))
    index = index_dataset(leather, needs="train")
    with pytest.raises(
        EdgeLeatherError, match=r"2 pictures .*train/good/000\.png, test/cut/000\.png: expected frames of the"
    ):
        index.require_fit(MODE)
    index.require_fit(InputMode("resize", (64, 64), None, "crop"))


def test_an_input_mode_of_before_the_white_level_is_read_and_a_wrong_level_is_not():
    old = {"kind": "resize", "image_size_hw": [64, 64], "pixel_scale": 1.0, "fit": "exact"}
    assert decode(InputMode, old, "") == MODE
    with pytest.raises(ValueError, match="white_level: expected 1 to 65535, got 0"):
        decode(InputMode, old | {"white_level": 0}, "")
    with pytest.raises(EdgeLeatherError, match="white_level: expected 1 to 65535, got 70000"):
        MODE.with_white_level(70_000)


@pytest.mark.train
def test_a_report_does_not_come_among_the_pictures(leather, tmp_path):
    for place in (leather, leather / "train/good", leather / "test/new"):
        arguments = [
            "teach",
            str(leather),
            "--method",
            "memory-bank",
            "--out",
            str(tmp_path / "bundle"),
            "--report",
            str(place),
        ]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1 and "that holds none of the dataset's pictures" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leather"]


@pytest.mark.parametrize("name", ["検査\u3000記録", "a\u00a0b", os.fsdecode(b"L\xe4der")])
def test_a_folder_name_may_hold_blanks_of_other_scripts(name):
    assert (
        StoreSettings(name).folder == JsonLinesSettings("jsonl", path=name).path == SourceSettings(name).address == name
    )
    with pytest.raises(ValueError, match="expected a folder's name"):
        StoreSettings(f"{name}\n")


@pytest.mark.parametrize("command", ["dataset check", "train", "teach", "export", "calibrate", "benchmark", "inspect"])
def test_whatever_reads_pictures_takes_a_white_level(command):
    assert "--white-level" in CliRunner().invoke(main, [*command.split(), "--help"]).output
