"""Calibration ranges: what each activation of the fp32 graph takes on over the calibration images; kept in `ranges.json`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import ModelProto, helper

from edgeleather.arrays import Float32Array, IntArray, UInt8Array
from edgeleather.calibration.quantised_layers import pixel_tensors, quantised_layers
from edgeleather.engines.onnxruntime.session import open_session
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import usable_cores

RANGES_FILE = "ranges.json"
_HALF_BINS = 1024  # on each side of zero, at least half of them used on the longer side


@dataclass(frozen=True)
class TensorRange:
    """Smallest and largest value of a tensor, and counts in bins of `bin_width` that start at `first_bin * bin_width`."""

    minimum: float
    maximum: float
    bin_width: float
    first_bin: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class RangeSet:
    """The calibration ranges of every quantised tensor, by its name in the fp32 graph, over one kind of images."""

    shows: Literal["normals", "normals and synthetic defects"]
    images: int
    tensors: dict[str, TensorRange]


@dataclass(frozen=True)
class Ranges:
    """`ranges.json`: measured once on the fp32 graph and used for every INT8 dialect; keyed by graph and image digests."""

    schema: Literal[1]
    graph_sha256: str
    image_digests: tuple[str, ...]
    most_images: int
    sets: tuple[RangeSet, ...]


class RangeCollector:
    """Streams images through a graph, one at a time, and keeps one histogram per tensor: memory does not grow with images."""

    def __init__(self, model: ModelProto, tensors: Sequence[str]) -> None:
        """`tensors` are names of float32 activations of the model.

        Raises:
            EdgeLeatherError: ONNX Runtime cannot load the model.
        """
        watched = ModelProto()
        watched.CopyFrom(model)
        outputs = {value.name for value in watched.graph.output}
        watched.graph.output.extend(
            helper.make_tensor_value_info(name, 1, None) for name in tensors if name not in outputs
        )
        self._session = open_session(watched.SerializeToString(), "fp32.onnx", usable_cores())
        self._histograms = {name: _Histogram() for name in tensors}
        self._images = 0

    def add(self, images: Iterable[UInt8Array]) -> None:
        """Run model images uint8 [h, w, 3] RGB.

        Raises:
            EdgeLeatherError: an activation is not finite.
        """
        names = list(self._histograms)
        for image in images:
            self._images += 1
            for name, values in zip(names, self._session.run(names, {"image": image[None]}), strict=True):
                if not np.isfinite(values).all():
                    raise EdgeLeatherError(f"calibration: activation {name!r} of the fp32 graph is not finite.")
                self._histograms[name].add(values)

    def ranges(self, shows: Literal["normals", "normals and synthetic defects"]) -> RangeSet:
        """What all images so far gave; more can be added afterwards.

        Raises:
            EdgeLeatherError: there was no image.
        """
        if not self._images:
            raise EdgeLeatherError("expected calibration pictures, got none.")
        return RangeSet(shows, self._images, {name: found.range() for name, found in self._histograms.items()})


def pixel_ranges(model: ModelProto) -> dict[str, TensorRange]:
    """The ranges of the tensors that are pixels still, over all pixels that can come: measured on the corners of the colour cube.

    What good leather does not show, a white spot say, must not be clipped before any network has seen it.
    """
    pixels = pixel_tensors(model)
    tensors = [name for name in quantised_layers(model).tensors if name in pixels]
    if not tensors:
        return {}
    _, height, width, _ = (dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim)
    collector = RangeCollector(model, tensors)
    collector.add(np.full((height, width, 3), colour, np.uint8) for colour in itertools.product((0, 255), repeat=3))
    return collector.ranges("normals").tensors


class _Histogram:
    """Counts in bins that are multiples of a power of two; when a value lies outside, neighbouring bins are merged."""

    def __init__(self) -> None:
        self._minimum, self._maximum = math.inf, -math.inf
        self._width = 0.0
        self._counts: IntArray = np.zeros(2 * _HALF_BINS, np.int64)

    def add(self, values: Float32Array) -> None:
        low, high = float(values.min()), float(values.max())
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        reach = max(abs(low), abs(high), 1e-30)
        if not self._width:
            self._width = 2.0 ** (math.floor(math.log2(reach)) + 1) / _HALF_BINS
        while reach >= self._width * _HALF_BINS:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.pad(merged, _HALF_BINS // 2)
            self._width *= 2
        bins = np.floor(values.ravel() * np.float32(1 / self._width)).astype(np.int32) + _HALF_BINS
        self._counts += np.bincount(bins, minlength=2 * _HALF_BINS)

    def range(self) -> TensorRange:
        used = np.flatnonzero(self._counts)
        first, last = int(used[0]), int(used[-1])
        counts = tuple(int(count) for count in self._counts[first : last + 1])
        return TensorRange(self._minimum, self._maximum, self._width, first - _HALF_BINS, counts)
