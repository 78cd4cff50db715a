from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")
pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.benchmarks.threshold_choice import ThresholdWish, choose_threshold
from edgeleather.bundle.bundle import everything, read_bundle
from edgeleather.bundle.manifest import INT8_7BIT_GRAPH, INT8_GRAPH
from edgeleather.calibration import range_choice
from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle, lost_at_hand_over
from edgeleather.calibration.comparison import CandidateGraph, opened
from edgeleather.calibration.guard import Budget
from edgeleather.dataset.reading import read_dataset
from edgeleather.engines.replay import replay
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.bundling import export_run
from edgeleather.imaging.images import image_digest, write_image
from edgeleather.inspection.inference import infer_frame
from edgeleather.training.training import train
from tests.tiny import settings

pytestmark = pytest.mark.slow


@pytest.fixture
def fp32_only(run_folder, tmp_path):
    """A bundle that is not calibrated yet."""
    return export_run(run_folder, tmp_path / "fresh").folder


def test_calibration_adds_what_belongs_to_a_graph_and_changes_nothing_else(fp32_only, dataset_folder):
    before = read_bundle(fp32_only, everything)
    made = calibrate_bundle(fp32_only, dataset_folder, CalibrationSettings(images=10, budget=Budget())).bundle
    after = read_bundle(fp32_only, everything)
    assert after.manifest == made.manifest
    for name, record in before.manifest.files.items():
        assert after.manifest.files[name] == record
    added = set(after.manifest.files) - set(before.manifest.files)
    graphs = (INT8_GRAPH, INT8_7BIT_GRAPH)
    assert added == {"ranges.json", *graphs, *(f"golden/{graph}.json" for graph in graphs)}
    assert after.default_precision == "int8" and before.default_precision == "fp32"
    assert set(after.manifest.images.calibration) <= set(after.manifest.images.training)
    assert len(after.manifest.images.calibration) == 10
    assert not [path for path in fp32_only.rglob("*") if path.name.endswith(".partial")]
    with opened(CandidateGraph((fp32_only / INT8_GRAPH).read_bytes())) as engine:
        assert replay(after, engine, INT8_GRAPH).worst_deviation < 1e-6


def test_the_choice_of_images_with_the_smaller_map_error_is_taken(bundle):
    record = bundle.manifest.calibrations[0]
    assert set(record.map_errors) == {"normals", "normals and synthetic defects"}
    assert record.map_errors[record.images_show] == min(record.map_errors.values()) < 0.05


def test_what_int8_loses_is_the_difference_of_the_hand_over_metrics(bundle):
    fp32, int8, _ = bundle.manifest.metrics
    lost = lost_at_hand_over(bundle.manifest, INT8_GRAPH)
    assert lost["image AUROC"] == pytest.approx(fp32.image_auroc - int8.image_auroc)
    assert lost["AUPRO"] == pytest.approx(fp32.aupro - int8.aupro)
    worse = replace(bundle.manifest, metrics=(replace(fp32, image_auroc=0.93), replace(int8, image_auroc=0.83)))
    assert lost_at_hand_over(worse, INT8_GRAPH)["image AUROC"] == pytest.approx(0.1)
    assert lost_at_hand_over(replace(bundle.manifest, metrics=(fp32,)), INT8_GRAPH) == {}
    untested = replace(bundle.manifest, metrics=(fp32, replace(int8, image_auroc=None, aupro=None)))
    assert lost_at_hand_over(untested, INT8_GRAPH) == {}


def test_thresholds_are_refitted_on_the_int8_graph(bundle, dataset_folder):
    fp32, int8 = bundle.thresholds_of("fp32.onnx"), bundle.thresholds_of(INT8_GRAPH)
    held_out = [
        sample
        for sample in read_dataset(dataset_folder, needs="train").train_good
        if image_digest(sample.read()) in bundle.manifest.images.threshold
    ]
    with opened(CandidateGraph((bundle.folder / INT8_GRAPH).read_bytes())) as engine:
        scores = [infer_frame(engine, sample.read(), bundle.manifest.input_mode).score for sample in held_out]
    assert sorted(scores) == pytest.approx(list(int8.held_out_scores), rel=1e-4)
    assert int8.held_out_scores != fp32.held_out_scores
    assert set(int8.left_out_scores) == set(fp32.left_out_scores) and int8.good_groups == fp32.good_groups
    shifts = {
        int8.left_out_scores[key] - fp32.left_out_scores[key]
        for key in fp32.left_out_scores
        if key in bundle.manifest.images.training
    }
    assert 0 < abs(min(shifts)) < 0.03 * fp32.verdict.value  # one and the same for all training pictures
    assert max(shifts) - min(shifts) < 1e-9


def test_a_graph_that_comes_later_takes_the_threshold_that_was_chosen(fp32_only, dataset_folder):
    choose_threshold(fp32_only, dataset_folder, ThresholdWish(value=1.7))
    made = calibrate_bundle(fp32_only, dataset_folder, CalibrationSettings(images=10, budget=Budget())).bundle
    fp32, int8 = made.thresholds_of("fp32.onnx"), made.thresholds_of(INT8_GRAPH)
    assert fp32.verdict.value == 1.7 and int8.choice == fp32.choice
    assert int8.verdict.value - 1.7 == pytest.approx(np.mean(int8.good_scores) - np.mean(fp32.good_scores))


def test_ranges_are_used_again_for_the_same_graph_and_pictures(bundle_copy, dataset_folder, monkeypatch):
    made = read_bundle(bundle_copy).manifest.files

    def fail(*arguments):
        raise AssertionError("measured again")

    monkeypatch.setattr(range_choice, "RangeCollector", fail)
    assert (
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=Budget())).bundle.manifest.files[
            INT8_GRAPH
        ]
        == made[INT8_GRAPH]
    )
    with pytest.raises(AssertionError, match="measured again"):
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(images=5, budget=Budget()))


@pytest.mark.parametrize("moment", ["files", "manifest"])
def test_an_interrupted_calibration_leaves_a_whole_bundle(bundle_copy, dataset_folder, monkeypatch, moment):
    from edgeleather.bundle import bundle as module

    real_files, real_manifest, calls = module._write_files, module._write_manifest, []

    def files(folder, contents):
        if moment == "files":
            real_files(folder, dict(list(contents.items())[:1]))
            raise KeyboardInterrupt
        return real_files(folder, contents)

    def manifest(folder, record):
        calls.append(record)
        if moment == "manifest" and len(calls) == 2:
            raise KeyboardInterrupt
        return real_manifest(folder, record)

    monkeypatch.setattr(module, "_write_files", files)
    monkeypatch.setattr(module, "_write_manifest", manifest)
    with pytest.raises(KeyboardInterrupt):
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(images=5, budget=Budget()))
    left = read_bundle(bundle_copy, everything)
    # What was there before stays until all of the new is on the disk.
    graphs = ["fp32.onnx", INT8_GRAPH, INT8_7BIT_GRAPH] if moment == "files" else ["fp32.onnx"]
    assert [t.graph for t in left.manifest.thresholds] == graphs
    assert not [path for path in bundle_copy.rglob("*") if path.name.endswith(".partial")]
    monkeypatch.undo()
    assert (
        calibrate_bundle(
            bundle_copy, dataset_folder, CalibrationSettings(images=5, budget=Budget())
        ).bundle.default_precision
        == "int8"
    )


def constant(folder):
    for path in (folder / "train" / "good").glob("*.png"):
        write_image(path, np.full((64, 64, 3), 90, np.uint8))


def empty(folder):
    for path in (folder / "train" / "good").glob("*.png"):
        path.unlink()


def unreadable(folder):
    sorted((folder / "train" / "good").glob("*.png"))[3].write_bytes(b"no picture")


def others(folder):
    rng = np.random.default_rng(0)
    for path in (folder / "train" / "good").glob("*.png"):
        write_image(path, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "expected good pictures|found none|no good picture"),
        (unreadable, r"00\d\.png: .*(decode|picture)"),
        (constant, "expected the 16 pictures that this bundle used for training, found 0"),
        (others, "expected the 16 pictures that this bundle used for training, found 0"),
    ],
)
def test_bad_calibration_pictures_are_one_clear_error_and_change_nothing(
    bundle_copy, dataset_folder, tmp_path, spoil, message
):
    data = shutil.copytree(dataset_folder, tmp_path / "data")
    spoil(data)
    before = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    with pytest.raises(EdgeLeatherError, match=message):
        calibrate_bundle(bundle_copy, data)
    assert before == {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}


def test_a_graph_of_another_bundle_beside_the_manifest_is_refused(bundle_copy, bundle_256, dataset_folder):
    shutil.copy(bundle_256.folder / "fp32.onnx", bundle_copy / "fp32.onnx")
    with pytest.raises(EdgeLeatherError, match=r"fp32\.onnx is damaged \(its SHA-256 is not the manifest's\)"):
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=Budget()))


def test_a_bundle_that_was_trained_on_nothing_is_not_calibrated(dataset_folder, tmp_path):
    """Every training picture of one colour, which differs from picture to picture: they are found, and show nothing."""
    data = shutil.copytree(dataset_folder, tmp_path / "data")
    for number, path in enumerate(sorted((data / "train" / "good").glob("*.png"))):
        write_image(path, np.full((64, 64, 3), 40 + number, np.uint8))
    run = tmp_path / "run"
    train(read_dataset(data, needs="train"), settings(), run)
    bundle = export_run(run, tmp_path / "bundle")
    with pytest.raises(EdgeLeatherError, match="every calibration picture is of one colour"):
        calibrate_bundle(bundle.folder, data)


@pytest.mark.parametrize("name", ["ranges.json", INT8_GRAPH, f"golden/{INT8_GRAPH}.json"])
def test_calibrating_again_mends_what_it_writes(bundle_copy, dataset_folder, name):
    (bundle_copy / name).write_bytes(b"damaged")
    with pytest.raises(EdgeLeatherError, match="is damaged"):
        read_bundle(bundle_copy)
    calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(images=8, budget=Budget()))
    read_bundle(bundle_copy, everything)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "int4"}, "expected a precision of int8, fp16, auto, got 'int4'"),
        ({"range_rule": "guess"}, "expected a range rule of minmax, percentile, entropy, by-map-error, got 'guess'"),
        ({"images": 0}, "expected at least 1 image"),
        ({"precision": "auto", "backend": "tensorrt"}, "calibration times graphs in onnxruntime"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_read(values, message):
    with pytest.raises(EdgeLeatherError, match=message):
        CalibrationSettings(**values)
