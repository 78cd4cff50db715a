"""Good pictures that may not be good: found, listed, shown and left out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.cli.main import main
from edgeleather.dataset.index import index_dataset
from edgeleather.dataset.splitting import leave_out_copies
from edgeleather.errors import EdgeLeatherError
from edgeleather.training.run import SHEET_FILE, SUSPECTS_FILE
from edgeleather.training.suspect_sheet import suspect_sheet
from edgeleather.training.suspects import listed_suspects, suspects_csv, suspects_of
from edgeleather.training.training import train
from tests.tiny import MODE, settings

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def soiled(dataset_folder, tmp_path_factory):
    """The tiny dataset with a cut in one good picture and another leather in place of another, both by name."""
    folder = tmp_path_factory.mktemp("soiled") / "data"
    shutil.copytree(dataset_folder, folder)
    cut, other = sorted((folder / "train/good").iterdir())[1:3]
    picture = cv2.imread(str(cut))
    cv2.line(picture, (20, 30), (40, 38), (0, 0, 0), 2)
    cv2.imwrite(str(cut), picture)
    rng = np.random.default_rng(0)
    cv2.imwrite(str(other), rng.integers(0, 255, picture.shape, dtype=np.uint8))
    return folder, f"train/good/{cut.name}", f"train/good/{other.name}"


@pytest.fixture(scope="module")
def judged(soiled):
    return suspects_of(index_dataset(soiled[0], needs="train"), MODE)


@pytest.mark.skipif(int(cv2.__version__[0]) < 5, reason="OpenCV before 5 draws ASCII alone")
def test_the_sheet_has_the_letters_of_a_name(judged):
    one = judged[0]
    sheets = {
        suspect_sheet([replace(one, suspect=replace(one.suspect, name=name))]) for name in ("grün.jpg", "gr?n.jpg")
    }
    assert len(sheets) == 2


def test_a_cut_and_another_leather_are_found_and_nothing_else(soiled, judged):
    _, cut, other = soiled
    assert {one.suspect.name: one.suspect.reason for one in judged if one.suspect.name in (cut, other)} == {
        cut: "a part stands out",
        other: "unlike all others",
    }
    assert len(judged) <= 3, [one.suspect for one in judged]  # twelve pictures have a wide spread


def test_a_list_is_read_as_it_was_written(soiled, judged, tmp_path):
    good = leave_out_copies(index_dataset(soiled[0], needs="train").train_good)
    path = tmp_path / "list.csv"
    path.write_text(suspects_csv([one.suspect for one in judged]).replace("leave out", "keep"))
    found = listed_suspects(path, good)
    assert {one.name: one.use for one in found} == {
        one.suspect.name: one.suspect.use.replace("leave out", "keep") for one in judged
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("file,use\ntrain/good/nothing.png,keep\n", "no good training picture"),
        ("file,use\ntrain/good/000.png,perhaps\n", "expected a use of leave out"),
        ("picture,use\nx,keep\n", "expected the columns file and use"),
        ("\xff\xfe", "cannot read"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(dataset_folder, tmp_path, text, wanted):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgeLeatherError, match=wanted):
        listed_suspects(path, index_dataset(dataset_folder, needs="train").train_good)


@pytest.mark.slow
def test_training_leaves_them_out_and_leaves_a_list_and_a_sheet(soiled, tmp_path):
    folder, cut, other = soiled
    run = train(index_dataset(folder, needs="train"), settings(suspects="leave-out"), tmp_path / "run")
    parts = run.splits
    used = {record.name for part in (parts.training, parts.validation, parts.threshold) for record in part}
    assert cut not in used
    assert other in parts.untypical and other not in {record.name for record in parts.threshold}
    assert cut in (tmp_path / "run" / SUSPECTS_FILE).read_text()
    sheet = cv2.imread(str(tmp_path / "run" / SHEET_FILE))
    assert sheet is not None and sheet.shape[1] > 3 * 2 * 200


@pytest.mark.slow
def test_a_user_may_keep_them_all(soiled, tmp_path):
    run = train(index_dataset(soiled[0], needs="train"), settings(), tmp_path / "run")
    used = [*run.splits.training, *run.splits.validation, *run.splits.threshold]
    assert run.splits.suspects == () and soiled[1] in {record.name for record in used}
    assert not (tmp_path / "run" / SHEET_FILE).exists()


@pytest.mark.slow
def test_the_command_names_them_and_teaches_by_an_edited_list(soiled, tmp_path, capsys):
    folder, cut, _ = soiled
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "suspects", str(folder), "--out", str(tmp_path / "judged")])
    assert not ended.value.code and cut in capsys.readouterr().out
    listed = tmp_path / "judged" / SUSPECTS_FILE
    listed.write_text(listed.read_text().replace(",leave out", ",keep"))
    run = train(index_dataset(folder, needs="train"), settings(suspects="listed"), tmp_path / "run", listed)
    assert cut in {
        record.name for part in (run.splits.training, run.splits.validation, run.splits.threshold) for record in part
    }
