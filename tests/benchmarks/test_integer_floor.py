from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")
torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.benchmarks.integer_floor import PeakWorker, multiply_accumulates  # noqa: E402
from edgeleather.export.onnx_graph import to_onnx  # noqa: E402
from edgeleather.methods.method import build_method  # noqa: E402


@pytest.mark.slow
def test_multiply_accumulates_of_resnet18_are_those_of_its_layers():
    """Two networks up to layer3 at 64 x 64, counted by hand, and the map's own arithmetic, which is far below 2 %."""
    model = onnx.load_from_string(to_onnx(build_method("stfpm", "resnet18", (64, 64))))
    stem = 32 * 32 * 64 * (4 * 49) + 64 * 64 * 4 * 3
    layer1 = 4 * 16 * 16 * 64 * 64 * 9
    layer2 = 8 * 8 * 128 * (64 * 9 + 3 * 128 * 9 + 64)
    layer3 = 4 * 4 * 256 * (128 * 9 + 3 * 256 * 9 + 128)
    expected = 2 * (stem + layer1 + layer2 + layer3)
    assert expected <= multiply_accumulates(model) < 1.02 * expected


def test_the_peak_is_a_rate_that_a_processor_can_have():
    answer = PeakWorker(threads=1).time(repeats=3)
    assert 1e9 < answer["macs_per_second"] < 1e14
