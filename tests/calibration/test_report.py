from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")

from edgeleather.bundle.manifest import INT8_GRAPH
from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings
from edgeleather.calibration.report import describe, result_as_json, warnings, write_ranking
from edgeleather.calibration.sensitivity import LayerError
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import require_folder


@pytest.fixture
def result(bundle):
    return CalibrationResult(bundle, bundle.manifest.calibrations, (), ("fp16.onnx: too far off",))


def test_a_result_is_told_in_lines(result):
    lines = describe(result, CalibrationSettings())
    assert any(line.startswith(f"{INT8_GRAPH} against fp32") for line in lines)
    assert any("an image on this machine in ONNX Runtime" in line for line in lines)
    assert lines[-1] == "Left out: fp16.onnx: too far off"
    auto = describe(result, CalibrationSettings(precision="auto"))
    assert auto == [*lines, "Fastest here of what holds the budget: int8."]


def test_a_loss_on_the_test_pictures_is_a_warning(result):
    manifest = result.bundle.manifest
    fp32 = next(one for one in manifest.metrics if one.graph == "fp32.onnx")
    known = replace(fp32, image_auroc=0.9, aupro=0.9)
    worse = replace(known, graph=INT8_GRAPH, image_auroc=0.85)

    def warned(*metrics):
        bundle = replace(result.bundle, manifest=replace(manifest, metrics=metrics))
        return warnings(replace(result, bundle=bundle))

    (line,) = warned(known, worse)
    assert "int8-onnxruntime.onnx loses 5.0 points of image AUROC on the test pictures" in line
    assert warned(known, replace(known, graph=INT8_GRAPH)) == []


def test_a_result_is_json(result, bundle):
    found = json.loads(json.dumps(result_as_json(result, bundle.folder)))
    assert list(found) == ["bundle", "default_precision", "graphs", "refused"]
    threshold = bundle.thresholds_of(INT8_GRAPH).verdict.value
    assert found["graphs"][0]["verdict_threshold"] == threshold and found["refused"] == ["fp16.onnx: too far off"]


def test_a_ranking_is_written_as_json_and_a_picture(tmp_path):
    require_folder(tmp_path / "a" / "b")
    ranking = (LayerError("conv_1", "stem.0", 0.02), LayerError("conv_2", "stem.1", 0.01))
    write_ranking(ranking, ("stem.1",), tmp_path / "a" / "b")
    rows = json.loads((tmp_path / "a/b/sensitivity.json").read_text())
    assert [(row["name"], row["raised"]) for row in rows] == [("stem.0", False), ("stem.1", True)]
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeLeatherError, match="cannot write"):
        require_folder(tmp_path / "file" / "b")
