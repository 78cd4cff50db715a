"""The manifest: the bundle's record of what it is, and the names of the files that it may have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeleather.bundle.familiarity import Familiarity
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.imaging.preprocess import InputMode

MANIFEST_FILE = "manifest.json"
ORIGINAL_FOLDER = "original"
FP32_GRAPH, FP16_GRAPH = "fp32.onnx", "fp16.onnx"
INT8_GRAPH, INT8_TENSORRT_GRAPH = "int8-onnxruntime.onnx", "int8-tensorrt.onnx"
INT8_7BIT_GRAPH = "int8-onnxruntime-7bit.onnx"  # for processors without integer dot products
GRAPH_FILES = {
    FP32_GRAPH: "fp32",
    FP16_GRAPH: "fp16",
    INT8_GRAPH: "int8",
    INT8_7BIT_GRAPH: "int8",
    INT8_TENSORRT_GRAPH: "int8",
}


@dataclass(frozen=True)
class FileRecord:
    """A portable file's digest and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class UsedImages:
    """Digests (of pixels) of every picture that training, calibration or a threshold saw, so that none is reported on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    threshold: tuple[str, ...]
    t2_t3: tuple[str, ...]
    calibration: tuple[str, ...]  # some of `training`

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.training, *self.validation, *self.threshold, *self.t2_t3, *self.calibration))


@dataclass(frozen=True)
class Cost:
    """What a graph changes against fp32, on pictures that no report counts.

    `map_error` is the mean absolute difference of the maps, as a share of the fp32 maps' range; `flips` names the frames whose
    verdict differs, each graph at its own threshold; `auroc_drop` and `aupro_drop` are how much image AUROC and AUPRO it loses,
    None without both good and defective frames.
    """

    map_error: float
    flips: tuple[str, ...]
    auroc_drop: float | None
    aupro_drop: float | None


@dataclass(frozen=True)
class Calibration:
    """How a graph was made of the fp32 graph, and what that cost. For INT8, `map_errors` has the error of each choice of
    calibration images that was tried, `images_show` names the one taken, and `float_layers` of the `layers` are in higher
    precision. `float32_nodes` are those that FP16 leaves alone. `median_ms` and fp32's beside it are of the machine that
    calibrated, in ONNX Runtime; None for a graph of another backend.
    """

    graph: str
    images: int
    images_show: str | None
    map_errors: dict[str, float]
    range_rule: str | None
    layers: int
    float_layers: tuple[str, ...]
    float32_nodes: tuple[str, ...]
    cost: Cost
    median_ms: float | None = None
    fp32_median_ms: float | None = None


@dataclass(frozen=True)
class HandOverMetrics:
    """Measured when the graph was made, in ONNX Runtime, on test pictures that fitted no threshold, or None."""

    graph: str
    test_images: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None


@dataclass(frozen=True)
class Manifest:
    """The bundle's record. Engines are never in it: they belong to one machine.

    `digest` is the SHA-256 of the rest: without it a flipped byte in a threshold would pass for a threshold. `looks` says, by
    article, how the good pictures look (an empty name where a bundle knows no articles); it is empty where they were too few
    to tell, or where version 0.1 wrote the bundle. `suspects` counts the good pictures that may not be good, by what they were
    used for.
    """

    schema: Literal[6]
    digest: str
    created_at: str
    edgeleather: str
    method: str
    backbone: str
    default_precision: str
    input_mode: InputMode
    thresholds: tuple[Thresholds, ...]
    looks: dict[str, Familiarity]
    files: dict[str, FileRecord]
    images: UsedImages
    suspects: dict[str, int]
    calibrations: tuple[Calibration, ...]
    metrics: tuple[HandOverMetrics, ...]


def describe_suspects(suspects: Mapping[str, int]) -> str | None:
    """A sentence on the suspects that a manifest counts and the false-alarm rate; None where all good pictures were taken."""
    out, unlike = suspects.get("leave out", 0), suspects.get("not for the threshold", 0)
    if not out + unlike:
        return None
    return (
        f"{out} good pictures were left out, since a part of them stands out, and {unlike} more set no threshold, since they are "
        "unlike all others: the false-alarm rate is that of the others, so it is nominal"
    )


def manifest_digest(data: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's content, as parsed JSON, without its own `digest`."""
    rest = {key: value for key, value in data.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
