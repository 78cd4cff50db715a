"""TensorRT for RTX builds real engines without a GPU; what runs one is marked `gpu`."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")
torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

import onnx  # noqa: E402

from edgeleather.bundle.bundle import read_bundle  # noqa: E402
from edgeleather.bundle.manifest import FP32_GRAPH  # noqa: E402
from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle  # noqa: E402
from edgeleather.calibration.guard import Budget  # noqa: E402
from edgeleather.engines.built import graphs_to_open, open_engine, open_trusted, signature_file  # noqa: E402
from edgeleather.engines.engine import BuildSettings, backend_module, load_engine  # noqa: E402
from edgeleather.engines.graphs import graphs_of  # noqa: E402
from edgeleather.engines.tensorrt.backend import TensorRtBackend  # noqa: E402
from edgeleather.engines.tensorrt.library import TENSORRT_RTX  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.export.building import build_engine  # noqa: E402
from edgeleather.imaging.preprocess import prepare  # noqa: E402
from edgeleather.inspection.inference import infer_frame  # noqa: E402
from edgeleather.machine import saturates_integer_products  # noqa: E402
from tests.conftest import REAL_DATA  # noqa: E402

pytestmark = pytest.mark.tensorrt_rtx


@pytest.fixture(scope="module")
def calibrated(bundle, dataset_folder, tmp_path_factory):
    """The tiny bundle with graphs of every precision."""
    folder = tmp_path_factory.mktemp("tensorrt") / "bundle"
    shutil.copytree(bundle.folder, folder)
    calibrate_bundle(folder, dataset_folder, CalibrationSettings(precision="fp16", budget=Budget()))
    calibrate_bundle(folder, dataset_folder, CalibrationSettings(backend="tensorrt", images=8, budget=Budget()))
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_is_built_with_its_signature(calibrated, precision):
    outcome = build_engine(calibrated, "tensorrt-rtx", precision, BuildSettings(batch=(1, 2, 4), workspace_mib=256))
    record = outcome.record
    assert outcome.file.stat().st_size > 100_000 and record.built_for == "compute capability 8.0 and later"
    assert (
        record.signature.batch_range == (1, 4)
        and record.flags["batch min, opt, max"] == "1, 2, 4"
        and record.signature.image_size_hw == (64, 64)
    )
    (graph,) = graphs_of(read_bundle(calibrated), precision, "tensorrt-rtx")
    assert record.signature.graph_sha256 == read_bundle(calibrated).manifest.files[graph].sha256
    assert record.driver_floor == "580 (CUDA 13)" and record.flags["workspace MiB"] == "256"
    if not backend_module("tensorrt-rtx").can_run():
        assert outcome.replay.passed
    else:
        assert not record.replayed and any("not replayed" in note for note in outcome.notes)
    written = json.loads(signature_file(calibrated, "tensorrt-rtx", precision).read_text())
    assert written["file_sha256"].startswith(outcome.file.stem.rpartition("-")[2])


def test_a_build_for_other_gpus_names_them(calibrated):
    outcome = build_engine(calibrated, "tensorrt-rtx", "fp32", BuildSettings(targets=("8.6", "8.9")))
    assert outcome.record.built_for == "compute capability 8.6, 8.9"
    with pytest.raises(EdgeLeatherError, match=r"expected compute capabilities of 7\.5, .*, got 9\.0"):
        build_engine(calibrated, "tensorrt-rtx", "fp32", BuildSettings(targets=("9.0",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BuildSettings(batch=(4, 2, 8)), "expected a batch of least <= usual <= most"),
        (BuildSettings(threads=2), "--threads is for onnxruntime; tensorrt-rtx does not take it"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_leave_nothing(bundle_copy, settings, message):
    with pytest.raises(EdgeLeatherError, match=message):
        build_engine(bundle_copy, "tensorrt-rtx", "fp32", settings)
    assert not [path for path in (bundle_copy / "engines").rglob("*") if path.is_file()]


def test_onnx_runtime_refuses_what_is_for_gpus(bundle_copy):
    with pytest.raises(EdgeLeatherError, match="--target is for tensorrt-rtx; onnxruntime does not take it"):
        build_engine(bundle_copy, "onnxruntime", "fp32", BuildSettings(targets=("8.6",)))


def test_a_graph_that_the_parser_refuses_is_one_message_with_its_reason(tmp_path):
    """A quantised bias, as ONNX Runtime wants it, is nothing for TensorRT."""
    node = onnx.helper.make_node("NoSuchOperator", ["image"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, 3]) for name in ("image", "y")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=9), tmp_path / "graph.onnx")
    with pytest.raises(EdgeLeatherError, match=r"its parser refuses graph\.onnx: .*NoSuchOperator"):
        backend_module("tensorrt-rtx").build(tmp_path / "graph.onnx", tmp_path / "work/made.engine", BuildSettings())
    (tmp_path / "no-graph.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeLeatherError, match=r"its parser refuses no-graph\.onnx"):
        backend_module("tensorrt-rtx").build(tmp_path / "no-graph.onnx", tmp_path / "made.engine", BuildSettings())


def test_an_interrupted_build_leaves_nothing(calibrated, tmp_path, monkeypatch):
    folder = shutil.copytree(calibrated, tmp_path / "bundle", ignore=shutil.ignore_patterns("engines"))
    real = TensorRtBackend.build

    def interrupted(self, graph, engine, settings):
        real(self, graph, engine, settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "edgeleather.engines.tensorrt.tensorrt_rtx.build", interrupted.__get__(TensorRtBackend(TENSORRT_RTX))
    )
    with pytest.raises(KeyboardInterrupt):
        build_engine(folder, "tensorrt-rtx", "fp32", BuildSettings())
    assert not [path for path in (folder / "engines").rglob("*") if path.is_file()]


def test_a_graph_is_no_engine_and_without_a_gpu_nothing_runs(calibrated):
    with pytest.raises(EdgeLeatherError, match=r"runs engines, not graphs\. Build one with: edgeleather build"):
        load_engine("tensorrt-rtx", calibrated / FP32_GRAPH, "fp32")
    if not backend_module("tensorrt-rtx").can_run():
        pytest.skip("a GPU is here")
    build_engine(calibrated, "tensorrt-rtx", "fp32", BuildSettings())
    with pytest.raises(EdgeLeatherError, match="pycuda|GPU|compute capability"):  # noqa: RUF043
        graphs_to_open(read_bundle(calibrated), "fp32", "tensorrt-rtx")


@pytest.mark.skipif(
    "not __import__('importlib').util.find_spec('tensorrt') is None", reason="TensorRT is installed here"
)
def test_a_missing_library_names_its_extra(bundle_copy):
    with pytest.raises(EdgeLeatherError, match=r"pip install 'edgeleather\[tensorrt\]'"):
        build_engine(bundle_copy, "tensorrt", "fp32", BuildSettings())


def on_gpu(backend):
    """Skip where this backend cannot run."""
    if reason := backend_module(backend).can_run():
        pytest.skip(reason)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.real_data
def test_an_engine_agrees_with_onnx_runtime_on_real_pictures(calibrated, backend, precision):
    from edgeleather.dataset.reading import read_dataset

    on_gpu(backend)
    build_engine(calibrated, backend, precision, BuildSettings())
    bundle = read_bundle(calibrated)
    (graph,) = graphs_to_open(bundle, precision, backend)
    samples = read_dataset(REAL_DATA / "neadvance_tiles", needs="any").test[:20]
    with (
        closing(open_engine(bundle, graph, precision, None, backend)) as engine,
        closing(load_engine("onnxruntime", calibrated / FP32_GRAPH, "fp32")) as reference,
    ):
        for sample in samples:
            expected, got = (infer_frame(e, sample.read(), bundle.manifest.input_mode) for e in (reference, engine))
            limit = {"fp32": 0.01, "fp16": 0.02, "int8": 0.15}[precision] * np.ptp(expected.anomaly_map)
            assert np.abs(got.anomaly_map - expected.anomaly_map).mean() < limit


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_memory_is_flat_over_10_000_frames_and_100_starts(calibrated, dataset_folder, backend):
    from pycuda import driver

    from edgeleather.benchmarks.worker import peak_rss_mb
    from edgeleather.dataset.reading import read_dataset

    on_gpu(backend)
    build_engine(calibrated, backend, "fp16", BuildSettings())
    bundle = read_bundle(calibrated)
    (graph,) = graphs_to_open(bundle, "fp16", backend)
    image = prepare(read_dataset(dataset_folder, needs="any").train_good[0].read(), bundle.manifest.input_mode).images
    with closing(open_engine(bundle, graph, "fp16", None, backend)) as engine:
        for _ in range(100):
            engine.infer(image)
        free_bytes, host_mb = driver.mem_get_info()[0], peak_rss_mb()
        for _ in range(10_000):
            engine.infer(image)
        assert abs(free_bytes - driver.mem_get_info()[0]) < 1 << 20 and peak_rss_mb() - host_mb < 4
    for _ in range(100):
        open_engine(bundle, graph, "fp16", None, backend).close()
    with closing(open_engine(bundle, graph, "fp16", None, backend)) as engine:
        assert engine.infer(image).scores.shape == (1,)
        assert abs(free_bytes - driver.mem_get_info()[0]) < 64 << 20


def test_an_interruption_during_a_build_is_not_lost(calibrated, tmp_path):
    """SIGINT while the library builds: its next step says no, KeyboardInterrupt comes, and nothing half-made stays."""
    folder = shutil.copytree(calibrated, tmp_path / "bundle", ignore=shutil.ignore_patterns("engines"))
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        for _ in range(20):  # however fast this machine builds
            build_engine(folder, "tensorrt-rtx", "int8", BuildSettings())
    timer.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert not list((folder / "engines").rglob("*.partial"))


def test_a_trusted_engine_is_checked_like_any_other(bundle_copy, tmp_path):
    """An engine of ONNX Runtime from elsewhere: loaded when it is named, refused when it is damaged or another bundle's."""
    built = build_engine(bundle_copy, "onnxruntime", "int8", BuildSettings(threads=1))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(built.file.parent, elsewhere)
    file = elsewhere / built.file.name
    engine, graph = open_trusted(read_bundle(bundle_copy), file, None)
    engine.close()
    assert graph == "int8-onnxruntime.onnx" or saturates_integer_products()
    signature = json.loads((elsewhere / "onnxruntime-int8.json").read_text())
    signature["signature"]["graph_sha256"] = "0" * 64
    (elsewhere / "onnxruntime-int8.json").write_text(json.dumps(signature))
    with pytest.raises(EdgeLeatherError, match="got one of another bundle's graph"):
        open_trusted(read_bundle(bundle_copy), file, None)
    file.write_bytes(b"damaged")
    with pytest.raises(EdgeLeatherError, match="expected an engine of file"):
        open_trusted(read_bundle(bundle_copy), file, None)
    (elsewhere / "onnxruntime-int8.json").unlink()
    with pytest.raises(EdgeLeatherError, match=r"expected a file .*onnxruntime-int8\.json"):  # noqa: RUF043, RUF100
        open_trusted(read_bundle(bundle_copy), file, None)
