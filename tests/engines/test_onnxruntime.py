from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from edgeleather.engines.engine import load_engine
from edgeleather.engines.onnxruntime.session import open_session
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def engine(bundle):
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32", threads=2)) as loaded:
        yield loaded


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_the_signature_names_what_it_is(bundle, engine):
    signature = engine.signature
    assert signature.backend == "onnxruntime" and signature.image_size_hw == (64, 64)
    assert signature.graph_sha256 == sha256_of_file(bundle.folder / "fp32.onnx")


def test_maps_and_scores_keep_the_contract_and_belong_to_the_caller(engine):
    first = engine.infer(images(3))
    assert first.maps.shape == (3, 64, 64) and first.maps.dtype == np.float32
    assert np.array_equal(first.scores, first.maps.max(axis=(1, 2)))
    kept = first.maps.copy()
    engine.infer(images(3, seed=1))
    assert np.array_equal(first.maps, kept)


def test_scores_do_not_depend_on_the_batch(engine):
    batch = images(5)
    batch[2] = 255  # an extreme neighbour
    alone = np.array([engine.infer(image[None]).scores[0] for image in batch])
    assert np.allclose(engine.infer(batch).scores, alone, rtol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 32, 64, 3), np.uint8),
        np.zeros((1, 64, 64, 1), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
        np.full((1, 64, 64, 3), np.nan, np.float32),
    ],
)
def test_other_images_are_refused_in_the_words_of_the_contract(engine, bad):
    with pytest.raises(EdgeLeatherError, match=r"expected images uint8 \[n, 64, 64, 3\] RGB"):
        engine.infer(bad)


def test_a_file_that_is_no_graph_or_not_there(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeLeatherError, match="expected an ONNX graph"):
        load_engine("onnxruntime", tmp_path / "x.onnx", "fp32")
    with pytest.raises(EdgeLeatherError, match="expected a graph at"):
        load_engine("onnxruntime", tmp_path / "absent.onnx", "fp32")
    with pytest.raises(EdgeLeatherError, match="expected a backend of onnxruntime"):
        load_engine("abacus", tmp_path / "x.onnx", "fp32")


@pytest.mark.train
def test_a_graph_of_another_program_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3]) for n in "xy"]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    model.ir_version = 10
    onnx.save(model, tmp_path / "relu.onnx")
    with pytest.raises(EdgeLeatherError, match="expected a graph of EdgeLeather"):
        load_engine("onnxruntime", tmp_path / "relu.onnx", "fp32")


def test_onnx_runtime_reports_to_nobody(bundle, good_picture, tmp_path):
    """Since 1.29 it keeps a database of reports below the home folder, unless it is told not to."""
    code = "from edgeleather.cli.main import main; main()"
    command = [sys.executable, "-c", code, "inspect", str(bundle.folder), "--source", str(good_picture)]
    hidden = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run(command, env=hidden | {"HOME": str(tmp_path)}, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_no_utf_8_is_one_clear_error(tmp_path):
    graph = (REPOSITORY / "tests" / "data" / "bundle-schema-3" / "fp32.onnx").read_bytes()
    with pytest.raises(EdgeLeatherError, match="no UTF-8"):
        open_session(graph, "fp32.onnx", 1, saved_as=tmp_path / os.fsdecode(b"L\xe4der") / "made.engine")
