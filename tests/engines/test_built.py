from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import closing

import numpy as np
import pytest

from edgeleather.bundle.bundle import read_bundle
from edgeleather.engines import built
from edgeleather.engines.built import engine_file, graphs_to_open, open_engine, signature_file, wanted_engine
from edgeleather.engines.engine import BuildSettings, load_engine
from edgeleather.engines.graphs import graphs_of
from edgeleather.engines.replay import GoldenError
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.building import build, build_engine
from edgeleather.machine import saturates_integer_products
from tests.tiny import spoil_answers


def opened(bundle, precision):
    return open_engine(bundle, graphs_to_open(bundle, precision, "onnxruntime")[0], precision, None, "onnxruntime")


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_built_engine_answers_as_its_graph_and_names_it(bundle_copy, precision):
    bundle = read_bundle(bundle_copy)
    build_engine(bundle_copy, "onnxruntime", precision, BuildSettings(threads=2))
    built = build_engine(bundle_copy, "onnxruntime", precision, BuildSettings(threads=1))
    file = built.file
    assert built.replay.passed and built.replay.frames == 8 and built.record.replayed and built.median_ms > 0
    names = {file.name, signature_file(bundle_copy, "onnxruntime", precision).name}
    assert {path.name for path in file.parent.iterdir()} == names  # nothing of the first one is left
    with closing(opened(read_bundle(bundle_copy), precision)) as engine:
        got = engine.infer(IMAGES)
        digests = {bundle.manifest.files[name].sha256: name for name in graphs_of(bundle, precision)}
        graph = digests[engine.signature.graph_sha256]
        assert engine.signature.device.startswith("cpu, 1 threads")
    # The 7-bit graph is taken only where the processor saturates.
    assert graph == graphs_of(bundle, precision)[0] or saturates_integer_products()
    with closing(load_engine("onnxruntime", bundle_copy / graph, precision)) as engine:
        expected = engine.infer(IMAGES)
    assert np.abs(got.maps - expected.maps).max() < 1e-3 * np.ptp(expected.maps)


@pytest.fixture
def with_engine(bundle_copy):
    build_engine(bundle_copy, "onnxruntime", "fp32", BuildSettings())
    return bundle_copy


def files_of(folder):
    signature = signature_file(folder, "onnxruntime", "fp32")
    return signature, engine_file(signature, json.loads(signature.read_text())["file_sha256"])


def change(folder, edit):
    path, _ = files_of(folder)
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["signature"].update(graph_sha256="0" * 64), "expected an engine of graph"),
        (lambda d: d["signature"]["versions"].update(onnxruntime="1.0"), r"of version .*, got version 1\.0"),
        (lambda d: d.update(built_for="another"), "got one for another: this processor is"),
        (
            lambda d: d.update(machine="another"),
            "built on this machine, got another's of the same name.*--trust-engine",
        ),
        (lambda d: d["signature"].update(backend="tensorrt"), "of backend onnxruntime, got backend tensorrt"),
        (lambda d: d.update(surprise=1), "unknown key 'surprise'"),
        (lambda d: d.update(threads=-3), "its signature has -3 threads"),
    ],
)
def test_a_stale_or_foreign_engine_is_refused_with_the_rebuild_command(with_engine, edit, message):
    change(with_engine, edit)
    with pytest.raises(EdgeLeatherError, match=message) as caught:
        opened(read_bundle(with_engine), "fp32")
    assert "edgeleather build" in str(caught.value) and "--precision fp32" in str(caught.value)


def test_a_damaged_or_missing_engine_file_is_refused(with_engine):
    signature, file = files_of(with_engine)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(EdgeLeatherError, match=r"expected an engine of file \w+\.\.\., got file"):
        opened(read_bundle(with_engine), "fp32")
    file.unlink()
    with pytest.raises(EdgeLeatherError, match=r"got file no such file\. Build it again with"):
        opened(read_bundle(with_engine), "fp32")
    signature.unlink()
    opened(read_bundle(with_engine), "fp32").close()  # the graph itself, then
    build_engine(with_engine, "onnxruntime", "fp32", BuildSettings())
    opened(read_bundle(with_engine), "fp32").close()


def test_an_engine_that_was_built_elsewhere_is_not_used(with_engine, monkeypatch):
    monkeypatch.setattr(built.platform, "node", lambda: "another box")
    with closing(opened(read_bundle(with_engine), "fp32")) as engine:
        assert engine.signature.batch_range == (1, None)
    assert "another-box" in str(signature_file(with_engine, "onnxruntime", "fp32"))


def test_an_engine_that_answers_otherwise_is_not_kept(bundle_copy):
    """A manifest whose recorded answers are another graph's: nothing of the engine stays behind."""
    spoil_answers(bundle_copy, "fp32.onnx")
    with pytest.raises(EdgeLeatherError, match="does not give the recorded answers"):
        build_engine(bundle_copy, "onnxruntime", "fp32", BuildSettings())
    assert not [path for path in (bundle_copy / "engines").rglob("*") if path.is_file()]
    shutil.rmtree(bundle_copy)


def test_a_signature_cannot_point_elsewhere(with_engine):
    change(with_engine, lambda d: d.update(file_sha256="../../x"))
    with pytest.raises(EdgeLeatherError, match=r"expected the engine's SHA-256, got '\.\./\.\./x'"):
        opened(read_bundle(with_engine), "fp32")


@pytest.mark.tmpfs
@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("tensorrt-rtx", marks=pytest.mark.tensorrt_rtx)])
def test_a_full_disk_is_one_message_and_leaves_the_bundle_as_it_was(bundle, tmp_path, backend):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) + (1 << 20)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    try:
        folder = shutil.copytree(bundle.folder, disk / "bundle")
        before = {path for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(EdgeLeatherError, match=r"No space left on device|cannot write"):
            build_engine(folder, backend, "fp32", BuildSettings())
        assert {path for path in folder.rglob("*") if path.is_file()} == before
        opened(read_bundle(folder), "fp32").close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_is_named_is_wanted_then_what_was_chosen_here_then_the_bundles_own(bundle_copy):
    bundle = read_bundle(bundle_copy)
    assert wanted_engine(bundle) == ("onnxruntime", "int8")
    fastest = build(bundle_copy, precision="auto").choice
    assert fastest and wanted_engine(bundle) == ("onnxruntime", fastest.precision)
    assert wanted_engine(bundle, precision="fp16") == ("onnxruntime", "fp16")
    assert wanted_engine(bundle, backend="tensorrt") == ("tensorrt", "int8")


def test_the_next_graph_is_opened_where_the_first_does_not_answer_as_recorded(bundle_copy):
    spoil_answers(bundle_copy, "int8-onnxruntime.onnx")
    engine, graph = built.open_proven(read_bundle(bundle_copy), "int8", None, "onnxruntime")
    engine.close()
    assert graph == "int8-onnxruntime-7bit.onnx"
    spoil_answers(bundle_copy, graph)
    with pytest.raises(GoldenError, match="does not give the recorded answers"):
        built.open_proven(read_bundle(bundle_copy), "int8", None, "onnxruntime")
