from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from edgeleather.calibration.quantised_layers import quantised_layers  # noqa: E402
from edgeleather.calibration.ranges import RangeCollector, _Histogram  # noqa: E402
from edgeleather.engines.onnxruntime.session import open_session  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402


@pytest.fixture(scope="module")
def model(bundle):
    return onnx.load(bundle.folder / "fp32.onnx")


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_ranges_are_those_of_the_activations_themselves(model):
    tensors = quantised_layers(model).tensors
    collector = RangeCollector(model, tensors)
    collector.add(images(3))
    found = collector.ranges("normals")
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensors[3], 1, None))
    session = open_session(model.SerializeToString(), "graph", 2)
    values = session.run([tensors[3]], {"image": images(3)})[0]
    assert found.images == 3 and set(found.tensors) == set(tensors)
    one = found.tensors[tensors[3]]
    assert one.minimum == pytest.approx(values.min(), rel=1e-4)
    assert one.maximum == pytest.approx(values.max(), rel=1e-4)
    assert sum(one.counts) == values.size
    below = sum(count for i, count in enumerate(one.counts) if (one.first_bin + i + 1) * one.bin_width <= 1.0)
    assert below == pytest.approx((values < 1.0).sum(), abs=0.002 * values.size)


def test_more_images_can_follow_and_memory_does_not_grow_with_them(model):
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(images(20))
    first = collector.ranges("normals")

    def peak_bytes(count):
        tracemalloc.start()
        collector.add(image for seed in range(count) for image in images(1, seed))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(100) < 1.2 * peak_bytes(10)
    both = collector.ranges("normals and synthetic defects")
    assert (first.images, both.images) == (20, 130)
    for name, one in first.tensors.items():
        assert both.tensors[name].minimum <= one.minimum and both.tensors[name].maximum >= one.maximum


def test_no_image_is_an_error(model):
    collector = RangeCollector(model, quantised_layers(model).tensors)
    with pytest.raises(EdgeLeatherError, match="expected calibration pictures, got none"):
        collector.ranges("normals")


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=40), st.integers(1, 5))
def test_a_histogram_in_one_pass_counts_every_value_in_its_bin(values, parts):
    histogram = _Histogram()
    for part in np.array_split(np.array(values, np.float32), min(parts, len(values))):
        histogram.add(part)
    found = histogram.range()
    assert found.minimum == min(np.float32(values)) and found.maximum == max(np.float32(values))
    edges = (found.first_bin + np.arange(len(found.counts) + 1)) * found.bin_width
    expected, _ = np.histogram(np.array(values, np.float32).astype(np.float64), edges)
    # numpy counts the last edge in, which is never reached here, since a bin's upper edge is the next one's.
    assert sum(found.counts) == len(values) and np.array_equal(expected, found.counts)
