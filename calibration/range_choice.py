"""The ranges of a bundle: measured once on its calibration pictures, and chosen by the map error that they leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import FP32_GRAPH
from edgeleather.calibration.comparison import Comparison
from edgeleather.calibration.pictures import CalibrationPictures, taking_turns
from edgeleather.calibration.quantised_layers import quantised_layers
from edgeleather.calibration.quantiser import Quantiser
from edgeleather.calibration.range_rules import RANGE_RULES
from edgeleather.calibration.ranges import RANGES_FILE, RangeCollector, Ranges, RangeSet, TensorRange, pixel_ranges
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.index import IndexedSample
from edgeleather.dataset.reading import Dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from edgeleather.imaging.preprocess import prepare
from edgeleather.progress import track
from edgeleather.records import read_record

BY_MAP_ERROR = "by-map-error"
_CHOSEN_ON = 12  # frames, for the choice of images and of range rules


@dataclass(frozen=True)
class RangeChoice:
    """The set of ranges that was taken, the map error of each set that was tried, and the ranges by the rule asked for."""

    taken: RangeSet
    map_errors: dict[str, float]
    tensors: dict[str, TensorRange]


def calibration_pictures(bundle: Bundle, pictures: CalibrationPictures, most: int) -> list[tuple[str, IndexedSample]]:
    """At most so many of the pictures that trained a bundle, with their digests, of as many photographs as there are.

    Raises:
        EdgeLeatherError: they are not there, have changed, or show nothing.
    """
    digests = bundle.manifest.images.training
    chosen = taking_turns(pictures.find(digests, "training"), digests, most)
    _check_that_they_show_something([sample for _, sample in chosen], pictures.dataset)
    return chosen


def bundle_ranges(bundle: Bundle, model: ModelProto, chosen: Sequence[tuple[str, IndexedSample]], most: int) -> Ranges:
    """The ranges of a model on at most `most` images: the bundle's own where graph and pictures are the same, else measured."""
    tensors = quantised_layers(model).tensors
    used = tuple(digest for digest, _ in chosen)
    graph_sha256 = bundle.manifest.files[FP32_GRAPH].sha256
    if kept := _kept_ranges(bundle):
        same = (kept.graph_sha256, kept.image_digests, kept.most_images) == (graph_sha256, used, most)
        if same and all(set(tensors) <= found.tensors.keys() for found in kept.sets):
            return kept
    mode = bundle.manifest.input_mode
    each = -(-most // len(chosen))  # of tiles, a picture gives so many
    samples = track([sample for _, sample in chosen], "reading calibration pictures")
    images = [image for sample in samples for image in prepare(sample.read(), mode).images[:each]]
    collector = RangeCollector(model, tensors)
    collector.add(track(images, "calibrating on normals"))
    normals = collector.ranges("normals")
    collector.add(_with_defects(images))
    return Ranges(1, graph_sha256, used, most, (normals, collector.ranges("normals and synthetic defects")))


def choose_ranges(quantiser: Quantiser, ranges: Ranges, rule: str, comparison: Comparison) -> RangeChoice:
    """The images whose ranges leave the smaller map error; under by-map-error also the rule for each tensor that does."""

    def error(tensors: dict[str, TensorRange]) -> float:
        return comparison.map_error(replace(quantiser, ranges=tensors).graph(), _CHOSEN_ON)

    pixels = pixel_ranges(quantiser.model)
    start = RANGE_RULES["minmax" if rule == BY_MAP_ERROR else rule]
    candidates: dict[str, dict[str, TensorRange]] = {
        found.shows: {n: start(t) for n, t in found.tensors.items()} | pixels for found in ranges.sets
    }
    errors: dict[str, float] = {shows: error(tensors) for shows, tensors in candidates.items()}
    (taken,) = (found for found in ranges.sets if found.shows == min(errors, key=lambda shows: errors[shows]))
    tensors = candidates[taken.shows]
    if rule == BY_MAP_ERROR:
        best = errors[taken.shows]
        choosable = [name for name in quantised_layers(quantiser.model).tensors if name not in pixels]
        for name in track(choosable, "choosing ranges"):
            for other in ("percentile", "entropy"):
                tried = tensors | {name: RANGE_RULES[other](taken.tensors[name])}
                if tried[name] != tensors[name] and (found := error(tried)) < best:
                    best, tensors = found, tried
    return RangeChoice(taken, errors, tensors)


def _with_defects(images: Sequence[UInt8Array]) -> Iterator[UInt8Array]:
    """The images, each with a synthetic defect pasted on it."""
    rng = np.random.default_rng(5)
    for image in track(images, "calibrating on synthetic defects"):
        yield paste_defect(image, str(rng.choice(sorted(DEFECTS))), rng)[0]


def _kept_ranges(bundle: Bundle) -> Ranges | None:
    """The bundle's ranges.json, or None where there is none or it is damaged: it can be measured again."""
    record, path = bundle.manifest.files.get(RANGES_FILE), bundle.folder / RANGES_FILE
    if record is None or not path.is_file() or sha256_of_file(path) != record.sha256:
        return None
    return read_record(Ranges, path, "Delete it and calibrate again.")


def _check_that_they_show_something(samples: Sequence[IndexedSample], dataset: Dataset) -> None:
    for sample in samples:
        image = sample.read()
        if (image != image[:1, :1]).any():
            return
    raise EdgeLeatherError(
        f"{dataset.root}: every calibration picture is of one colour all over; activations measured on them say nothing. "
        "Give pictures of leather."
    )
