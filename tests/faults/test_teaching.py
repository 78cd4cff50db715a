"""An interrupted teaching goes on, or begins anew; it never refuses with the name of a folder that nobody was told of."""

from __future__ import annotations

import logging
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.benchmarks.report import benchmark_bundles
from edgeleather.benchmarks.worker import WORKERS
from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle
from edgeleather.calibration.guard import Budget
from edgeleather.dataset.index import index_dataset, write_index
from edgeleather.errors import EdgeLeatherError
from edgeleather.export import teaching
from edgeleather.export.bundling import export_run
from edgeleather.export.teaching import teach
from edgeleather.inspection.inspector import InspectorSettings
from edgeleather.inspection.opening import open_inspector
from edgeleather.training import training
from edgeleather.training.choices import TrainingChoices
from tests.faults.test_datasets import write_16_bits

FAST = CalibrationSettings(precision="fp16", budget=Budget())


def interrupted(*_, **__):
    raise KeyboardInterrupt


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def unreported(dataset_folder, tmp_path_factory):
    """A folder with a bundle whose teaching was interrupted in its export, its calibration and at last in its report."""
    out = tmp_path_factory.mktemp("taught") / "bundle"
    trained = []
    for stage in ("export_run", "calibrate_bundle", None):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            if stage:
                patch.setattr(teaching, stage, interrupted)
            teach(dataset_folder, out, calibration=FAST, then=interrupted)
        assert names(out.parent) == ([".bundle.run"] if stage else [".bundle.run", "bundle"]), (
            "half a bundle is to be seen"
        )
        trained.append((out.parent / ".bundle.run" / "run.json").read_bytes())
    assert len(set(trained)) == 1, "it has trained again"
    return out


@pytest.fixture
def again(unreported, tmp_path):
    """The same in a folder of its own."""
    return shutil.copytree(unreported.parent, tmp_path / "again") / "bundle"


@pytest.mark.slow
def test_the_same_command_goes_on_with_the_report_of_a_finished_bundle(again, dataset_folder):
    manifest = (again / "manifest.json").read_bytes()
    told = []
    lesson = teach(dataset_folder, again, calibration=FAST, then=told.append)
    assert told == [lesson] and lesson.bundle.folder == again and lesson.calibrated is None and lesson.refused is None
    assert (again / "manifest.json").read_bytes() == manifest
    assert names(again.parent) == ["bundle"]
    with pytest.raises(EdgeLeatherError, match="is a bundle already"):
        teach(dataset_folder, again, calibration=FAST)


@pytest.mark.parametrize(
    ("choices", "rate"), [(TrainingChoices(seed=1), 0.01), (TrainingChoices(), 0.05)], ids=["seed", "rate"]
)
def test_other_choices_do_not_touch_a_finished_bundle(again, dataset_folder, choices, rate):
    manifest = (again / "manifest.json").read_bytes()
    with pytest.raises(EdgeLeatherError, match=f"{again} is a bundle already"):
        teach(dataset_folder, again, choices, false_alarm_rate=rate, calibration=FAST)
    assert (again / "manifest.json").read_bytes() == manifest


@pytest.mark.slow
def test_an_interrupted_teaching_of_other_choices_is_begun_anew(again, dataset_folder):
    shutil.rmtree(again)
    lesson = teach(dataset_folder, again, TrainingChoices(seed=1), calibration=FAST)
    assert lesson.run.settings.seed == 1 and names(again.parent) == ["bundle"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "content"), [("run.json", b"half a r"), ("checkpoint.safetensors", b"half"), ("of somebody", b"")]
)
def test_a_hidden_folder_that_is_damaged_does_not_stand_in_the_way(again, dataset_folder, left, content):
    shutil.rmtree(again)
    place = again.parent / ".bundle.run"
    (place / "run.json").unlink()
    (place / left).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(teaching, "export_run", interrupted)
        teach(dataset_folder, again)
    assert names(place) == ["run.json", "weights.safetensors"]


def test_pictures_that_cannot_be_used_leave_nothing_behind(dataset_folder, tmp_path):
    leather = shutil.copytree(dataset_folder, tmp_path / "leather")
    cv2.imwrite(str(leather / "ground_truth/cut/000_mask.png"), np.zeros((32, 32), np.uint8))
    with pytest.raises(EdgeLeatherError, match=r"test/cut/000\.png: expected a mask of 64 x 64"):
        teach(leather, tmp_path / "bundle")
    assert names(tmp_path) == ["leather"]


def test_two_at_work_on_one_bundle_do_not_mix(dataset_folder, tmp_path):
    place = tmp_path / ".bundle.run"
    with teaching._held(place, tmp_path / "bundle"):
        with pytest.raises(EdgeLeatherError, match=f"another process is at work on {tmp_path / 'bundle'}"):
            teach(dataset_folder, tmp_path / "bundle")
        assert place.is_dir()


@pytest.mark.slow
def test_a_bundle_of_16_bit_pictures_needs_no_option_at_inspection(dataset_folder, tmp_path):
    leather = shutil.copytree(dataset_folder, tmp_path / "leather")
    write_16_bits(leather, 4095)
    with pytest.raises(EdgeLeatherError, match="Say which value is white with --white-level"):
        teach(leather, tmp_path / "bundle")
    lesson = teach(leather, tmp_path / "bundle", TrainingChoices(white_level=4095), calibration=FAST)
    assert lesson.run.settings.input_mode.white_level == lesson.bundle.manifest.input_mode.white_level == 4095
    sixteen, eight = (
        cv2.imread(str(root / "test/cut/000.png"), cv2.IMREAD_UNCHANGED) for root in (leather, dataset_folder)
    )
    assert sixteen.dtype == np.uint16
    with open_inspector(tmp_path / "bundle") as inspector:
        found = inspector.inspect(sixteen)
        assert found.error is None and found.score == inspector.inspect(eight).score
    with open_inspector(tmp_path / "bundle", InspectorSettings(white_level=65_535)) as inspector:
        assert inspector.inspect(sixteen).score != found.score
    with pytest.raises(
        EdgeLeatherError, match="expected the white level 4095, with which the bundle's thresholds were found"
    ):
        calibrate_bundle(tmp_path / "bundle", leather, CalibrationSettings(white_level=65_535))


@pytest.mark.slow
def test_a_bundle_that_was_taught_with_8_bits_may_be_exported_and_measured_with_16(
    bundle, run_folder, dataset_folder, tmp_path
):
    leather = shutil.copytree(dataset_folder, tmp_path / "leather")
    write_16_bits(leather, 4095)
    with pytest.raises(EdgeLeatherError, match=r"29 pictures .* Say which value is white with --white-level"):
        benchmark_bundles([bundle.folder], leather, tmp_path / "report")
    (tmp_path / "index").write_bytes(write_index(index_dataset(leather, needs="test")))
    (tmp_path / "eight").write_bytes(write_index(index_dataset(dataset_folder, needs="test")))
    places = (str(bundle.folder), "onnxruntime", "fp32", 1)
    sixteen, eight = (
        WORKERS["engine"](places[0], str(tmp_path / name), *places[1:], level).evaluate()
        for name, level in (("index", 4095), ("eight", None))
    )
    scores = {image["name"]: image["score"] for image in sixteen["images"]}
    assert eight["images"] and all(scores[image["name"]] == image["score"] for image in eight["images"])
    exported = export_run(run_folder, tmp_path / "bundle", dataset_folder, white_level=4095)
    assert exported.manifest.input_mode.white_level == 4095


def test_flat_pictures_are_told_before_the_training(dataset_folder, tmp_path, caplog, monkeypatch):
    leather = shutil.copytree(dataset_folder, tmp_path / "leather")
    write_16_bits(leather, 255)  # a white level of 65535 makes them nearly black
    monkeypatch.setattr(training, "_untrained", interrupted)
    choices = TrainingChoices(white_level=65_535)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        teach(leather, tmp_path / "bundle", choices)
    assert "the good pictures are flat: their values vary by 0" in caplog.text
    assert "or --white-level 65535 is not the camera's white" in caplog.text
