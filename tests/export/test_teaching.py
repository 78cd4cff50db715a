"""Teaching from Python: how often a picture is decoded on the way, and that no command is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.benchmarks.report import benchmark_bundles
from edgeleather.calibration.calibrating import CalibrationSettings
from edgeleather.calibration.guard import Budget
from edgeleather.dataset import reading
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.teaching import teach
from edgeleather.imaging.images import read_image
from edgeleather.training.choices import TrainingChoices
from tests.test_torch_free import run_walled

# In every process that is started: each picture that OpenCV decodes, by the digest of its file.
COUNTING = """
import hashlib, os
import cv2
decode, file = cv2.imdecode, os.open(os.environ["DECODED_FILES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def counted(content, *rest):
    os.write(file, (hashlib.sha256(content.tobytes()).hexdigest() + "\\n").encode())
    return decode(content, *rest)
cv2.imdecode = counted
"""


@pytest.fixture(scope="module")
def taught(dataset_folder, tmp_path_factory):
    """What teaching came to, and how often it decoded each file."""
    counts = Counter()

    def counted(path):
        counts[path] += 1
        return read_image(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_image", counted)
        budget = CalibrationSettings(images=8, budget=Budget())  # so small pictures hold no guard
        lesson = teach(
            dataset_folder,
            tmp_path_factory.mktemp("taught") / "bundle",
            TrainingChoices("memory-bank"),
            calibration=budget,
        )
    return lesson, counts


def test_teaching_decodes_every_picture_and_mask_once(taught, dataset_folder):
    _, counts = taught
    assert counts == dict.fromkeys(dataset_folder.rglob("*.png"), 1)


def test_it_gives_the_bundle_its_record_and_leaves_no_run(taught):
    lesson, _ = taught
    assert lesson.bundle.manifest.default_precision == "int8" and lesson.refused is None
    assert lesson.calibrated is not None and lesson.calibrated.bundle == lesson.bundle
    assert lesson.run.settings.method == "memory-bank"
    assert [path.name for path in lesson.bundle.folder.parent.iterdir()] == ["bundle"]


@pytest.mark.slow
def test_a_report_decodes_only_test_pictures_and_each_twice_in_a_process(taught, dataset_folder, tmp_path, monkeypatch):
    """To time with some of them and to score all; none to find its digest."""
    lesson, _ = taught
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(COUNTING)
    monkeypatch.setenv("DECODED_FILES", str(tmp_path / "decoded"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{Path.cwd()}")
    report = benchmark_bundles([lesson.bundle.folder], lesson.dataset, tmp_path / "report", rounds=1, repeats=2)
    counts = Counter((tmp_path / "decoded").read_text().split())
    digest = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in dataset_folder.rglob("*.png")}
    processes = len(report["rows"])
    for path, name in digest.items():
        part = path.relative_to(dataset_folder).parts[0]
        most = {"train": 0, "test": 2 * processes, "ground_truth": processes}[part]
        assert counts[name] <= most, path
    assert sum(counts.values()) > 0


def test_bad_choices_are_told_before_the_pictures_are_read(tmp_path, dataset_folder):
    for choices, message in (
        (TrainingChoices("magic"), "expected a method of"),
        (TrainingChoices("memory-bank", preset="huge"), "expected a preset of edge, paper"),
        (TrainingChoices("draem", backbone="resnet18"), "draem has no backbone: leave --backbone away"),
        (TrainingChoices("stfpm", own={"width": 3}), "stfpm has no option --width"),
    ):
        with pytest.raises(EdgeLeatherError, match=message):
            teach(tmp_path / "absent", tmp_path / "bundle", choices)


def test_no_command_is_needed():
    code = "import sys, edgeleather.export.teaching, edgeleather.training.training\n"
    code += "print([name for name in sys.modules if name.startswith(('edgeleather.cli', 'click'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_choices_need_no_torch():
    assert run_walled("import edgeleather.training.choices, edgeleather.methods.settings").returncode == 0
