from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import closing

import pytest

from edgeleather.bundle.bundle import everything, read_bundle, update_bundle
from edgeleather.bundle.manifest import manifest_digest
from edgeleather.bundle.versions import UPGRADES
from edgeleather.engines.engine import load_engine
from edgeleather.engines.replay import replay
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import read_image
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.sources.frame import Frame
from tests.conftest import REPOSITORY

OLDEST = REPOSITORY / "tests" / "data" / "bundle-schema-3"


def test_a_bundle_of_schema_3_is_read_whole():
    manifest = read_bundle(OLDEST, everything).manifest
    assert json.loads((OLDEST / "manifest.json").read_text())["schema"] == 3
    assert set(manifest.files) >= {"fp32.onnx", "fp16.onnx", "golden/0-good.png", "golden/fp32.onnx.json"}
    assert len(manifest.images.all) == 24 and manifest.thresholds[0].verdict.wished_rate == 0.05


def test_a_bundle_of_schema_4_is_read_whole():
    folder = OLDEST.with_name("bundle-schema-4")
    manifest = read_bundle(folder, everything).manifest
    assert json.loads((folder / "manifest.json").read_text())["schema"] == 4
    assert manifest.schema == 6 and [one.choice for one in manifest.thresholds] == [None, None]


def test_regions_of_a_bundle_of_schema_5_reach_as_far_as_they_did():
    folder = OLDEST.with_name("bundle-schema-5")
    manifest = read_bundle(folder, everything).manifest
    assert json.loads((folder / "manifest.json").read_text())["schema"] == 5
    assert manifest.schema == 6 and [one.peak_share for one in manifest.thresholds] == [None, None]
    for thresholds in manifest.thresholds:
        assert thresholds.t2_pixel and thresholds.pixel_threshold == thresholds.t2_pixel.value


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_inspects_and_gives_its_recorded_answers(precision):
    bundle = read_bundle(OLDEST)
    graph = f"{precision}.onnx"
    with closing(load_engine("onnxruntime", OLDEST / graph, precision)) as engine:
        outcome = replay(bundle, engine, graph)
    assert outcome.passed and outcome.frames == 2 and outcome.worst_deviation < 1e-3
    with closing(Inspector(bundle, InspectorSettings(precision=precision))) as inspector:
        verdicts = {
            name: inspector.inspect(Frame(0, 0.0, name, read_image(OLDEST / "golden" / f"{name}.png"))).verdict
            for name in ("0-good", "0-stain")
        }
    assert verdicts == {"0-good": "good", "0-stain": "defect"}


def test_one_that_is_changed_is_written_in_todays_schema(tmp_path):
    bundle = read_bundle(shutil.copytree(OLDEST, tmp_path / "bundle"))
    update_bundle(bundle, dataclasses.replace(bundle.manifest, default_precision="fp16"), {})
    again = read_bundle(tmp_path / "bundle", everything).manifest
    assert again.default_precision == "fp16" and again.schema == bundle.manifest.schema


def test_the_digest_is_of_what_was_written_and_not_of_what_it_was_upgraded_to(tmp_path, monkeypatch):
    """A manifest of schema 2, as if 3 had renamed a key of it."""
    folder = shutil.copytree(OLDEST, tmp_path / "bundle")
    data = json.loads((folder / "manifest.json").read_text())
    data["schema"], data["technique"] = 2, data.pop("method")
    data["digest"] = manifest_digest(data)
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(EdgeLeatherError, match="schema: expected one of"):
        read_bundle(folder)
    monkeypatch.setitem(UPGRADES, 2, lambda old: {**without(old, "technique"), "schema": 3, "method": old["technique"]})
    assert read_bundle(folder, everything).manifest.method == "ssim-ae"
    data["technique"] = "draem"
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(EdgeLeatherError, match="its digest is not its own"):
        read_bundle(folder)


def without(data, name):
    return {key: value for key, value in data.items() if key != name}
