from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")
onnx = pytest.importorskip("onnx")

from edgeleather.dataset.reading import read_dataset  # noqa: E402
from edgeleather.engines.engine import Maps, load_engine  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.export.onnx_graph import prove, to_onnx  # noqa: E402
from edgeleather.imaging.preprocess import prepare  # noqa: E402
from edgeleather.training.run import read_run  # noqa: E402
from edgeleather.training.training import load_trained  # noqa: E402
from tests.conftest import REAL_DATA  # noqa: E402
from tests.tiny import MODE  # noqa: E402


@pytest.fixture(scope="module")
def method(run_folder):
    return load_trained(read_run(run_folder), run_folder)


@pytest.fixture(scope="module")
def images(dataset_folder):
    samples = read_dataset(dataset_folder, needs="test").test[:6]
    return np.concatenate([prepare(sample.read(), MODE).images for sample in samples])


@pytest.fixture
def engine(bundle):
    with closing(load_engine("onnxruntime", bundle.folder / "fp32.onnx", "fp32")) as loaded:
        yield loaded


def test_the_graph_keeps_the_contract(bundle):
    graph = onnx.load(bundle.folder / "fp32.onnx").graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": ["batch", 64, 64, 3], "anomaly_map": ["batch", 64, 64], "anomaly_score": ["batch"],
    }  # fmt: skip
    types = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert types == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT]


def test_the_bank_is_one_matmul_without_topk_or_cdist(bundle):
    operators = [node.op_type for node in onnx.load(bundle.folder / "fp32.onnx").graph.node]
    # And two, one a side, for each of the three layers that are brought to one grid, and for the map.
    assert sum(operator in ("MatMul", "Gemm") for operator in operators) == 1 + 2 * (3 + 1)
    assert not {"TopK", "CDist", "Loop", "If"} & set(operators)


def test_torch_and_onnx_runtime_agree_on_pictures(method, engine, images):
    assert prove(method, engine, images) <= 1e-4


class Altered:
    def __init__(self, engine, alter):
        self.signature, self._engine, self._alter = engine.signature, engine, alter

    def infer(self, images):
        return self._alter(self._engine.infer(images), len(images))


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda m, n: Maps(m.maps * np.float32(1.01), m.scores * np.float32(1.01)), "differ from torch's"),
        (lambda m, n: Maps(m.maps, m.scores * np.float32(1 + 1e-3 * (n > 1))), "change by .* with the batch"),
        (lambda m, n: Maps(m.maps, m.scores * np.float32(1.5)), "not its map's maximum"),
        (lambda m, n: Maps(m.maps * np.float32("nan"), m.scores), "differ from torch's by nan"),
    ],
)
def test_an_unfaithful_engine_is_refused(method, engine, images, alter, message):
    with pytest.raises(EdgeLeatherError, match=message):
        prove(method, Altered(engine, alter), images)


def test_flat_pictures_are_not_called_a_fault_of_the_program(method, engine, images):
    flat = np.full_like(images, 250)
    flat[:, ::20, ::20] = 255
    altered = Altered(engine, lambda m, n: Maps(m.maps * np.float32(1.01), m.scores * np.float32(1.01)))
    with pytest.raises(
        EdgeLeatherError, match=r"The good pictures are flat: their values vary by 0\.\d+ of 255"
    ) as flat_error:
        prove(method, altered, flat)
    assert "fault" not in str(flat_error.value)
    with pytest.raises(EdgeLeatherError, match="a fault of the export or of ONNX Runtime"):
        prove(method, altered, images)


@pytest.mark.slow
def test_the_export_is_reproducible(method, bundle):
    assert to_onnx(method) == (bundle.folder / "fp32.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.real_data
def test_resnet18_at_another_size_and_shape_agrees_too(tmp_path):
    from edgeleather.imaging.preprocess import InputMode
    from edgeleather.methods.memory_bank import MemoryBank

    torch.manual_seed(0)
    samples = read_dataset(REAL_DATA / "mvtec_leather", needs="test").test[:4]
    mode = InputMode("resize", (96, 160), None, "crop")
    batch = np.concatenate([prepare(sample.read(), mode).images for sample in samples])
    bank = MemoryBank("resnet18", (96, 160), bank_patches=100).eval()
    with torch.inference_mode():
        bank.training_step(torch.from_numpy(batch[:2]), [])
        bank.end_epoch(0)
    (tmp_path / "graph.onnx").write_bytes(to_onnx(bank))
    with closing(load_engine("onnxruntime", tmp_path / "graph.onnx", "fp32")) as loaded:
        assert prove(bank, loaded, batch) <= 1e-4
