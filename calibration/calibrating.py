"""A bundle gets a graph of another precision, with everything that belongs to a graph file, measured anew on it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, read_bundle, update_bundle, without_original
from edgeleather.bundle.golden import answers_file, read_golden
from edgeleather.bundle.manifest import (
    FP16_GRAPH,
    FP32_GRAPH,
    GRAPH_FILES,
    INT8_7BIT_GRAPH,
    INT8_GRAPH,
    INT8_TENSORRT_GRAPH,
    Calibration,
    Manifest,
)
from edgeleather.calibration.comparison import Comparison, opened
from edgeleather.calibration.float32_nodes import find_float32_nodes
from edgeleather.calibration.fp16 import to_fp16
from edgeleather.calibration.guard import DEFAULT_BUDGET, Budget, BudgetError, Guarded, hold
from edgeleather.calibration.pictures import Pictures, find_pictures, taking_turns
from edgeleather.calibration.qdq import ONNXRUNTIME, ONNXRUNTIME_7BIT, TENSORRT, Dialect, to_int8
from edgeleather.calibration.quantised_layers import layer_names, pixel_layers, quantised_layers
from edgeleather.calibration.range_rules import RANGE_RULES
from edgeleather.calibration.ranges import RANGES_FILE, RangeCollector, Ranges, RangeSet, TensorRange, pixel_ranges
from edgeleather.calibration.sensitivity import LayerError, rank_layers
from edgeleather.calibration.speed import median_ms
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.reading import Dataset, Sample
from edgeleather.engines.replay import record_answers
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from edgeleather.imaging.preprocess import prepare
from edgeleather.inspection.scoring import find_thresholds, hand_over_metrics
from edgeleather.progress import track
from edgeleather.records import read_record, to_json

DEFAULT_IMAGES = 100
BY_MAP_ERROR = "by-map-error"
_CHOSEN_ON = 12  # frames, for the choice of images and of range rules


@dataclass(frozen=True)
class CalibrationSettings:
    """What a user chooses of a calibration.

    `precision` is int8, fp16 or auto (int8 where it holds `budget` and is faster here, else the fastest that is); `backend`
    says whose INT8 dialect; `range_rule` is one of `RANGE_RULES` or by-map-error, which chooses for each tensor.
    """

    precision: str = "int8"
    backend: str = "onnxruntime"
    images: int = DEFAULT_IMAGES
    range_rule: str = "minmax"
    budget: Budget = DEFAULT_BUDGET
    rank: bool = False


@dataclass(frozen=True)
class Calibrated:
    """What a calibration came to: the bundle, the records of its new graphs, the layers' ranking where one was made.

    `refused` says what was left out, and why.
    """

    bundle: Bundle
    records: tuple[Calibration, ...]
    ranking: tuple[LayerError, ...]
    refused: tuple[str, ...] = ()


@dataclass
class _Job:
    """The bundle in hand and what is asked of it more than once."""

    bundle: Bundle
    pictures: Pictures
    settings: CalibrationSettings
    model: onnx.ModelProto
    comparison: Comparison
    ranking: tuple[LayerError, ...] = ()
    float32_nodes: tuple[str, ...] | None = None
    refused: list[str] = field(default_factory=list)

    @property
    def is_tensorrt(self) -> bool:
        return self.settings.backend != "onnxruntime"

    def quantised(
        self, tensors: Mapping[str, TensorRange], float_layers: Collection[str] = (), dialect: Dialect | None = None
    ) -> bytes:
        """The INT8 graph in the backend's dialect, or another."""
        if self.is_tensorrt:
            kept = {*float_layers, *pixel_layers(self.model)}
            return self.half(to_int8(self.model, tensors, TENSORRT, kept))
        return _checked(to_int8(self.model, tensors, dialect or ONNXRUNTIME, float_layers))

    def half(self, model: onnx.ModelProto) -> bytes:
        """A graph in FP16 but for the nodes that lose too much there."""
        if self.float32_nodes is None:
            self.float32_nodes = find_float32_nodes(self.model, self.comparison)
        return _checked(to_fp16(model, self.float32_nodes))


@dataclass(frozen=True)
class _Made:
    """A new graph file and its record."""

    name: str
    graph: bytes
    record: Calibration


def calibrate_bundle(folder: Path, data: Path, settings: CalibrationSettings | None = None) -> Calibrated:
    """Add graphs of a precision to a bundle, each with thresholds, golden answers and metrics of its own.

    Ranges come from the training part of the good pictures (at most `images` model images, and the same with synthetic
    defects); those in the bundle's ranges.json are used again where graph and pictures are the same.

    Raises:
        EdgeLeatherError: the bundle is damaged, the pictures are not those that trained it, cannot be read or show nothing,
            the budget cannot be held, or the bundle cannot be written. Nothing half-written stays behind.
    """
    settings = settings or CalibrationSettings()
    # What calibration writes anew may be damaged: calibrating again is how it is mended.
    rewritten = _rewritten(settings)
    bundle = read_bundle(folder, lambda manifest: [n for n in without_original(manifest) if n not in rewritten])
    pictures = find_pictures(data)
    fp32 = (folder / FP32_GRAPH).read_bytes()
    # Before anything is computed: pictures that cannot calibrate are told at once.
    chosen = _calibration_pictures(bundle, pictures, settings.images)
    job = _Job(bundle, pictures, settings, onnx.load_from_string(fp32), Comparison(bundle, pictures, fp32))
    ranges: Ranges | None = None
    made: list[_Made] = []
    if settings.precision in ("int8", "auto"):
        ranges = _ranges(job, chosen)
        try:
            made += _int8_graphs(job, ranges)
        except BudgetError as error:
            if settings.precision == "int8":
                raise BudgetError(str(error), job.ranking) from error
            job.refused.append(str(error))
    if settings.precision in ("fp16", "auto"):
        try:
            made.append(_fp16_graph(job))
        except BudgetError as error:
            if settings.precision == "fp16":
                raise
            job.refused.append(str(error))
    changed = _written(job, made, ranges, fp32)
    names = {one.name for one in made}
    records = tuple(record for record in changed.manifest.calibrations if record.graph in names)
    return Calibrated(changed, records, job.ranking, tuple(job.refused))


def lost_at_hand_over(manifest: Manifest, graph: str) -> dict[str, float]:
    """By how much a graph's image AUROC and AUPRO at hand-over are below the fp32 graph's; empty without test pictures."""
    found = {metrics.graph: metrics for metrics in manifest.metrics}
    if FP32_GRAPH not in found or graph not in found:
        return {}
    before, after = found[FP32_GRAPH], found[graph]
    pairs = {"image AUROC": (before.image_auroc, after.image_auroc), "AUPRO": (before.aupro, after.aupro)}
    return {name: a - b for name, (a, b) in pairs.items() if a is not None and b is not None}


def _rewritten(settings: CalibrationSettings) -> set[str]:
    """The files that a calibration writes anew."""
    int8 = (INT8_GRAPH, INT8_7BIT_GRAPH) if settings.backend == "onnxruntime" else (INT8_TENSORRT_GRAPH,)
    graphs = {"int8": int8, "fp16": (FP16_GRAPH,), "auto": (*int8, FP16_GRAPH)}[settings.precision]
    ranges = () if settings.precision == "fp16" else (RANGES_FILE,)
    return {*ranges, *graphs, *(answers_file(graph) for graph in graphs)}


def _int8_graphs(job: _Job, ranges: Ranges) -> list[_Made]:
    """The graph of the backend's dialect; for ONNX Runtime also the one for processors without integer dot products."""
    taken, errors, tensors = _tensor_ranges(job, ranges)
    layers = quantised_layers(job.model).layers
    always_float = pixel_layers(job.model) if job.is_tensorrt else ()
    names = layer_names(job.model)

    def quantise(float_layers: Collection[str]) -> bytes:
        return job.quantised(tensors, float_layers)

    def ranking() -> tuple[LayerError, ...]:
        choosable = {layer: names[layer] for layer in layers if layer not in always_float}
        job.ranking = job.ranking or rank_layers(choosable, quantise, job.comparison)
        return job.ranking

    if job.settings.rank:
        ranking()
    guarded = hold(job.settings.budget, ranking, quantise, job.comparison)

    def record(name: str, one: Guarded) -> _Made:
        calibration = Calibration(
            graph=name,
            images=taken.images,
            images_show=taken.shows,
            map_errors=errors,
            range_rule=job.settings.range_rule,
            layers=len(layers),
            float_layers=tuple(names[layer] for layer in (*always_float, *one.raised)),
            float32_nodes=job.float32_nodes or (),
            cost=one.cost,
        )
        return _Made(name, one.graph, calibration)

    if job.is_tensorrt:
        return [record(INT8_TENSORRT_GRAPH, guarded)]

    def reduce(float_layers: Collection[str]) -> bytes:
        return job.quantised(tensors, float_layers, ONNXRUNTIME_7BIT)

    made = [record(INT8_GRAPH, guarded)]
    try:
        made.append(record(INT8_7BIT_GRAPH, hold(job.settings.budget, ranking, reduce, job.comparison)))
    except BudgetError as error:
        job.refused.append(f"{INT8_7BIT_GRAPH}, for processors without integer dot products: {error}")
    return made


def _fp16_graph(job: _Job) -> _Made:
    graph = job.half(job.model)
    cost = job.comparison.cost(graph)
    if broken := job.settings.budget.broken_by(cost):
        raise BudgetError(f"FP16 refused: it breaks the budget: {broken}. Allow more, or use fp32.")
    calibration = Calibration(
        graph=FP16_GRAPH,
        images=0,
        images_show=None,
        map_errors={},
        range_rule=None,
        layers=0,
        float_layers=(),
        float32_nodes=job.float32_nodes or (),
        cost=cost,
    )
    return _Made(FP16_GRAPH, graph, calibration)


def _tensor_ranges(job: _Job, ranges: Ranges) -> tuple[RangeSet, dict[str, float], dict[str, TensorRange]]:
    """The images whose ranges leave the smaller map error, the error of each choice, and the ranges by the rule asked for."""

    def error(tensors: dict[str, TensorRange]) -> float:
        return job.comparison.map_error(job.quantised(tensors), _CHOSEN_ON)

    pixels = pixel_ranges(job.model)
    rule = job.settings.range_rule
    start = RANGE_RULES["minmax" if rule == BY_MAP_ERROR else rule]
    candidates: dict[str, dict[str, TensorRange]] = {
        found.shows: {n: start(t) for n, t in found.tensors.items()} | pixels for found in ranges.sets
    }
    errors: dict[str, float] = {shows: error(tensors) for shows, tensors in candidates.items()}
    (taken,) = (found for found in ranges.sets if found.shows == min(errors, key=lambda shows: errors[shows]))
    tensors = candidates[taken.shows]
    if rule == BY_MAP_ERROR:
        best = errors[taken.shows]
        choosable = [name for name in quantised_layers(job.model).tensors if name not in pixels]
        for name in track(choosable, "choosing ranges"):
            for other in ("percentile", "entropy"):
                tried = tensors | {name: RANGE_RULES[other](taken.tensors[name])}
                if tried[name] != tensors[name] and (found := error(tried)) < best:
                    best, tensors = found, tried
    return taken, errors, tensors


def _written(job: _Job, made: Sequence[_Made], ranges: Ranges | None, fp32: bytes) -> Bundle:
    """The bundle with the new graphs and all that belongs to them."""
    if not made and job.settings.precision != "auto":
        return job.bundle
    before = job.bundle.manifest
    names = {one.name for one in made}
    contents: dict[str, bytes] = {}
    thresholds, metrics = [], []
    for one in made:
        with opened(one.graph) as engine:
            contents[one.name] = one.graph
            contents[answers_file(one.name)] = to_json(record_answers(engine, one.name, read_golden(job.bundle)))
            thresholds.append(
                find_thresholds(
                    engine,
                    one.name,
                    before.input_mode,
                    job.pictures.find(before.images.threshold, "thresholds"),
                    job.pictures.find(before.images.t2_t3, "T2 and T3"),
                    left_out_scores=job.comparison.carried_over_by(engine),
                    good_groups=job.bundle.thresholds_of(FP32_GRAPH).good_groups,
                    false_alarm_rate=job.bundle.thresholds_of(FP32_GRAPH).verdict.wished_rate,
                )
            )
            test, seen = job.pictures.dataset.test, before.images.all
            metrics.append(hand_over_metrics(engine, one.name, before.input_mode, test, seen))
    speeds = _speeds(job, made, fp32)
    fp32_ms = speeds.get(FP32_GRAPH)
    records = [replace(one.record, median_ms=speeds.get(one.name), fp32_median_ms=fp32_ms) for one in made]
    images = before.images
    if ranges is not None:
        contents[RANGES_FILE] = json.dumps(asdict(ranges), separators=(",", ":")).encode()
        images = replace(images, calibration=ranges.image_digests)
    manifest = replace(
        before,
        default_precision=_default_precision(job, made, speeds),
        thresholds=(*(t for t in before.thresholds if t.graph not in names), *thresholds),
        calibrations=(*(c for c in before.calibrations if c.graph not in names), *records),
        metrics=(*(m for m in before.metrics if m.graph not in names), *metrics),
        images=images,
    )
    return update_bundle(job.bundle, manifest, contents)


def _speeds(job: _Job, made: Sequence[_Made], fp32: bytes) -> dict[str, float]:
    """Of those graphs that ONNX Runtime is for, and of fp32 beside them."""
    for_onnxruntime = {one.name: one.graph for one in made if one.name in (INT8_GRAPH, FP16_GRAPH)}
    if not for_onnxruntime:
        return {}
    return median_ms({FP32_GRAPH: fp32} | for_onnxruntime, job.comparison.compared.frames[0].images[:1])


def _default_precision(job: _Job, made: Sequence[_Made], speeds: dict[str, float]) -> str:
    """INT8 once it is there; under `auto` the fastest here of fp32 and the graphs that hold the budget."""
    if job.settings.precision == "auto":
        return GRAPH_FILES[min(speeds, key=lambda name: speeds[name])] if speeds else "fp32"
    return "int8" if any(one.name == INT8_GRAPH for one in made) else job.bundle.manifest.default_precision


def _calibration_pictures(bundle: Bundle, pictures: Pictures, most: int) -> list[tuple[str, Sample]]:
    digests = bundle.manifest.images.training
    chosen = taking_turns(pictures.find(digests, "training"), digests, most)
    _check_that_they_show_something([sample for _, sample in chosen], pictures.dataset)
    return chosen


def _ranges(job: _Job, chosen: list[tuple[str, Sample]]) -> Ranges:
    bundle, most = job.bundle, job.settings.images
    tensors = quantised_layers(job.model).tensors
    used = tuple(digest for digest, _ in chosen)
    graph_sha256 = bundle.manifest.files[FP32_GRAPH].sha256
    if kept := _kept_ranges(bundle):
        same = (kept.graph_sha256, kept.image_digests, kept.most_images) == (graph_sha256, used, most)
        if same and all(set(tensors) <= found.tensors.keys() for found in kept.sets):
            return kept
    collector = RangeCollector(job.model, tensors)
    mode = bundle.manifest.input_mode
    each = -(-most // len(chosen))  # of tiles, a picture gives so many
    rng = np.random.default_rng(5)

    def normals() -> Iterator[UInt8Array]:
        for _, sample in track(chosen, "calibrating on normals"):
            yield from prepare(sample.read(), mode).images[:each]

    def with_defects() -> Iterator[UInt8Array]:
        for _, sample in track(chosen, "calibrating on synthetic defects"):
            for image in prepare(sample.read(), mode).images[:each]:
                yield paste_defect(image, str(rng.choice(sorted(DEFECTS))), rng)[0]

    collector.add(normals())
    sets = [collector.ranges("normals")]
    collector.add(with_defects())
    sets.append(collector.ranges("normals and synthetic defects"))
    return Ranges(1, graph_sha256, used, most, tuple(sets))


def _kept_ranges(bundle: Bundle) -> Ranges | None:
    """The bundle's ranges.json, or None where there is none or it is damaged: it can be measured again."""
    record, path = bundle.manifest.files.get(RANGES_FILE), bundle.folder / RANGES_FILE
    if record is None or not path.is_file() or sha256_of_file(path) != record.sha256:
        return None
    return read_record(Ranges, path, "Delete it and calibrate again.")


def _check_that_they_show_something(samples: Sequence[Sample], dataset: Dataset) -> None:
    for sample in samples:
        image = sample.read()
        if (image != image[:1, :1]).any():
            return
    raise EdgeLeatherError(
        f"{dataset.root}: every calibration picture is of one colour all over; activations measured on them say nothing. "
        "Give pictures of leather."
    )


def _checked(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
