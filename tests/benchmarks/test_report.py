from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.benchmarks.evaluation import evaluate, reportable_samples
from edgeleather.benchmarks.report import benchmark_bundles, markdown
from edgeleather.benchmarks.results_table import results_table
from edgeleather.benchmarks.threshold_choice import ThresholdWish, choose_threshold
from edgeleather.bundle.bundle import read_bundle
from edgeleather.dataset.index import index_dataset
from edgeleather.dataset.reading import read_dataset
from edgeleather.engines.engine import load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.bundling import export_run

KEYS = {
    "backend", "precision", "image_auroc", "pixel_auroc", "aupro", "f1", "iou", "flips", "latency_p50_ms",
    "latency_p95_ms", "latency_p99_ms", "fps", "size_mb", "peak_rss_mb",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(bundle, dataset_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    benchmark_bundles([bundle.folder], dataset_folder, out, rounds=2, repeats=4)
    return out


def test_the_report_has_a_row_an_engine_with_every_figure(report):
    data = json.loads((report / "report.json").read_text())
    engines = [("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    assert [(row["backend"], row["precision"]) for row in data["rows"]] == engines
    for row in data["rows"]:
        assert set(row) >= KEYS and all(row[key] is not None for key in KEYS)
        assert row["latency_p50_ms"] <= row["latency_p95_ms"] <= row["latency_p99_ms"]
        assert 20 < row["peak_rss_mb"] < 4000
    torch_row, ort_row, int8_row = data["rows"]
    assert int8_row["size_mb"] < 0.6 * ort_row["size_mb"]
    assert int8_row["image_auroc"] == pytest.approx(torch_row["image_auroc"], abs=0.05)
    assert torch_row["times_torch"] == pytest.approx(1.0) and ort_row["times_fp32"] == pytest.approx(1.0)
    assert torch_row["flips"] == 0 and ort_row["flips"] == 0
    assert ort_row["image_auroc"] == pytest.approx(torch_row["image_auroc"], abs=1e-3)
    assert ort_row["pixel_auroc"] == pytest.approx(torch_row["pixel_auroc"], abs=1e-3)


def test_the_figures_come_from_the_raw_ones_beside_it(report):
    data = json.loads((report / "report.json").read_text())
    latencies = json.loads((report / "latencies_ns.json").read_text())
    scores = json.loads((report / "scores.json").read_text())
    row = data["rows"][1]
    raw = latencies["bundle onnxruntime fp32"]
    assert len(raw) == 8 and row["latency_p50_ms"] == pytest.approx(np.median(raw) / 1e6)
    images = scores["bundle onnxruntime fp32"]
    assert len(images) == data["tested_images"] and sum(i["defective"] for i in images) == data["tested_defective"]
    good = [i["score"] for i in images if not i["defective"]]
    bad = [i["score"] for i in images if i["defective"]]
    assert row["image_auroc"] == pytest.approx(np.mean([b > g for b in bad for g in good]), abs=1e-3)


def test_pictures_that_fitted_a_threshold_are_left_out_and_said_so(report, bundle, dataset_folder):
    data = json.loads((report / "report.json").read_text())
    total = len(read_dataset(dataset_folder, needs="test").test)
    assert data["left_out_images"] == len(bundle.manifest.images.t2_t3) > 0
    assert data["tested_images"] == total - data["left_out_images"]
    page = (report / "report.md").read_text()
    assert f"{data['left_out_images']} more were left out" in page and "| bundle | torch | fp32 |" in page


PIXEL_KEYS = ("pixel_auroc", "aupro", "iou", "pro", "iou_t1", "pro_t1")


@pytest.fixture
def data_copy(dataset_folder, tmp_path):
    return shutil.copytree(dataset_folder, tmp_path / "data")


@pytest.mark.slow
def test_without_masks_the_columns_of_pixels_are_empty(report, run_folder, data_copy, tmp_path):
    shutil.rmtree(data_copy / "ground_truth")
    export_run(run_folder, tmp_path / "bundle", data_copy, with_original=False)
    benchmark_bundles([tmp_path / "bundle"], data_copy, tmp_path / "report", rounds=1, repeats=2)
    data = json.loads((tmp_path / "report/report.json").read_text())
    (row,), with_masks = data["rows"], json.loads((report / "report.json").read_text())["rows"][1]
    assert all(row[key] is None and with_masks[key] is not None for key in PIXEL_KEYS)
    for key in ("image_auroc", "f1", "hit_percent", "false_alarm_percent", "f1_t1", "f1_t3", "tested_images"):
        assert row[key] == with_masks[key]
    assert row["tested_masks"] == data["tested_masks"] == 0 and row["pixel_threshold"] == "T1"
    page = (tmp_path / "report/report.md").read_text()
    auroc = f"{row['image_auroc']:.4f}"
    assert "none with a mask" in page and f"| {auroc} | - | - | {row['f1']:.4f} | - |" in page
    assert f"| {auroc} / - | - / - | - / - |" in results_table(data)


def test_figures_of_pixels_are_of_the_pictures_that_have_a_mask(report, bundle, data_copy, tmp_path):
    for name in ("hole", "cut"):
        shutil.rmtree(data_copy / "ground_truth" / name)
    index = index_dataset(data_copy, needs="test")
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32")) as engine:
        some = evaluate(engine, bundle, "fp32.onnx", index)
        kept = tuple(s for s in index.test if s.has_truth)
        only = evaluate(engine, bundle, "fp32.onnx", replace(index, test=kept))
    whole = json.loads((report / "report.json").read_text())["rows"][1]
    assert some.image_auroc == pytest.approx(whole["image_auroc"]) and len(some.images) == whole["tested_images"]
    assert all(getattr(some, key) == getattr(only, key) != pytest.approx(whole[key]) for key in PIXEL_KEYS)
    assert 0 < some.tested_masks == only.tested_masks < whole["tested_masks"]
    counts = {"tested_defective": whole["tested_masks"], "tested_masks": some.tested_masks}
    page = markdown(json.loads((report / "report.json").read_text()) | counts)
    assert f"{whole['tested_masks']} of them defective, {some.tested_masks} with a mask" in page


@pytest.mark.slow
def test_without_the_original_the_torch_row_is_missing_and_said_so(run_folder, dataset_folder, tmp_path):
    export_run(run_folder, tmp_path / "bundle", with_original=False)
    data = benchmark_bundles([tmp_path / "bundle"], dataset_folder, tmp_path / "report", rounds=1, repeats=2)
    (row,) = data["rows"]
    assert row["backend"] == "onnxruntime" and row["flips"] is None
    assert "the torch row is missing" in markdown(data)


def test_a_test_set_that_was_all_seen_is_refused(bundle, dataset_folder, tmp_path):
    root = tmp_path / "seen"
    shutil.copytree(dataset_folder / "train", root / "test")
    with pytest.raises(EdgeLeatherError, match="has seen every test picture"):
        reportable_samples(index_dataset(root, needs="test"), bundle.manifest)


def test_a_damaged_picture_ends_the_benchmark_with_its_name(bundle, dataset_folder, tmp_path):
    root = shutil.copytree(dataset_folder, tmp_path / "damaged")
    (root / "test" / "cut" / "000.png").write_bytes(b"x")
    with pytest.raises(EdgeLeatherError, match=r"test/cut/000\.png: expected a picture"):
        benchmark_bundles([bundle.folder], root, tmp_path / "report", rounds=1, repeats=1)
    assert not (tmp_path / "report" / "report.json").exists()


@pytest.mark.parametrize(
    ("bundles", "rounds", "message"),
    [
        ("bundle", 1, "expected a list of bundles, got 'bundle'"),
        ([], 1, "expected at least one bundle to measure, got none"),
        (["bundle"], 0, "expected the number of rounds to be at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(bundles, rounds, message, tmp_path):
    with pytest.raises(EdgeLeatherError, match=message):
        benchmark_bundles(bundles, tmp_path, tmp_path / "report", rounds=rounds)


def test_figures_on_pictures_that_a_threshold_was_chosen_on_are_said_to_be_no_measurement(
    report, bundle_copy, dataset_folder
):
    choose_threshold(bundle_copy, dataset_folder, ThresholdWish(hit_rate=0.5), precision="fp32")
    bundle = read_bundle(bundle_copy)
    with closing(load_engine("onnxruntime", bundle_copy / "fp32.onnx", "fp32")) as engine:
        found = evaluate(engine, bundle, "fp32.onnx", index_dataset(dataset_folder, needs="test"))
    assert found.chosen_on == len(found.images) > 0
    data = json.loads((report / "report.json").read_text())
    assert [row["chosen_on"] for row in data["rows"]] == [0, 0, 0] and "measurement" not in markdown(data)
    data["rows"][1]["chosen_on"] = found.chosen_on
    assert f"onnxruntime fp32 was chosen on {found.chosen_on} of these pictures" in markdown(data)
