"""A bundle gets graphs of another precision: what is asked for, in the order in which it is done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from edgeleather.bundle.bundle import Bundle, read_bundle, without_original
from edgeleather.bundle.golden import answers_file
from edgeleather.bundle.manifest import FP16_GRAPH, FP32_GRAPH, GRAPH_FILES, Calibration, Cost, Manifest
from edgeleather.calibration.comparison import CandidateGraph, Comparison
from edgeleather.calibration.float32_nodes import find_float32_nodes
from edgeleather.calibration.guard import DEFAULT_BUDGET, Budget, BudgetError, GuardedGraph, hold
from edgeleather.calibration.new_graphs import NewGraph, add_graphs, measure_belongings
from edgeleather.calibration.pictures import CalibrationPictures, find_pictures
from edgeleather.calibration.qdq import DIALECTS
from edgeleather.calibration.quantised_layers import layer_names, quantised_layers
from edgeleather.calibration.quantiser import Quantiser, half_graph
from edgeleather.calibration.range_choice import (
    BY_MAP_ERROR,
    RangeChoice,
    bundle_ranges,
    calibration_pictures,
    choose_ranges,
)
from edgeleather.calibration.range_rules import RANGE_RULES
from edgeleather.calibration.ranges import RANGES_FILE, Ranges
from edgeleather.calibration.sensitivity import LayerError, LayerRanking
from edgeleather.calibration.speed import median_ms
from edgeleather.dataset.index import IndexedSample
from edgeleather.dataset.reading import Dataset
from edgeleather.engines.graphs import graph_files
from edgeleather.engines.table import REFERENCE_BACKEND, capabilities
from edgeleather.errors import EdgeLeatherError
from edgeleather.progress import Progress

DEFAULT_IMAGES = 100


@dataclass(frozen=True)
class CalibrationSettings:
    """What a user chooses of a calibration.

    `precision` is int8, fp16 or auto (int8 where it holds `budget` and is faster here, else the fastest that is); `backend`
    says whose INT8 dialect; `range_rule` is one of `RANGE_RULES` or by-map-error, which chooses for each tensor. A
    `white_level` for 16-bit pictures is kept in a bundle that has none.

    Raises:
        EdgeLeatherError: a value that is not known, or auto for a backend other than the reference.

    >>> import edgeleather as el
    >>> el.CalibrationSettings(precision="fp16", images=20).makes_int8
    False
    """

    precision: str = "int8"
    backend: str = REFERENCE_BACKEND
    images: int = DEFAULT_IMAGES
    range_rule: str = "minmax"
    budget: Budget = DEFAULT_BUDGET
    rank: bool = False
    white_level: int | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("precision", self.precision, ("int8", "fp16", "auto")),
            ("range rule", self.range_rule, (*RANGE_RULES, BY_MAP_ERROR)),
        ):
            if value not in known:
                raise EdgeLeatherError(f"expected a {what} of {', '.join(known)}, got {value!r}.")
        if self.images < 1:
            raise EdgeLeatherError(f"expected at least 1 image to calibrate on, got {self.images}.")
        if self.precision == "auto" and not capabilities(self.backend).is_reference:
            raise EdgeLeatherError(
                f"calibration times graphs in {REFERENCE_BACKEND}, which says nothing of {self.backend}: expected a precision of "
                f"int8 or fp16, got auto. build with precision auto times the engines of {self.backend}."
            )

    @property
    def makes_int8(self) -> bool:
        """Whether INT8 graphs are asked for."""
        return self.precision in ("int8", "auto")

    @property
    def makes_fp16(self) -> bool:
        """Whether an FP16 graph is asked for."""
        return self.precision in ("fp16", "auto")


@dataclass(frozen=True)
class CalibrationResult:
    """What a calibration came to: the bundle, the records of its new graphs, the layers' ranking where one was made.

    `refused` says what was left out, and why.
    """

    bundle: Bundle
    records: tuple[Calibration, ...]
    ranking: tuple[LayerError, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Material:
    """What every step works on: the bundle, its pictures, its fp32 graph, and the answers that others are compared with."""

    bundle: Bundle
    pictures: CalibrationPictures
    chosen: list[tuple[str, IndexedSample]]  # the pictures to calibrate on, with their digests
    fp32: CandidateGraph
    model: onnx.ModelProto
    comparison: Comparison


@dataclass(frozen=True)
class _NewGraphs:
    """Graphs that hold the budget, with what was measured on the way and what was left out."""

    graphs: tuple[NewGraph, ...] = ()
    ranges: Ranges | None = None
    ranking: tuple[LayerError, ...] = ()
    refused: tuple[str, ...] = ()


def calibrate_bundle(
    folder: Path | str, data: Path | str | Dataset, settings: CalibrationSettings | None = None
) -> CalibrationResult:
    """Add graphs of a precision to a bundle, each with thresholds, golden answers and metrics of its own.

    Ranges come from the training part of the good pictures (at most `images` model images, and the same with synthetic
    defects); those in the bundle's ranges.json are used again where graph and pictures are the same.

    Raises:
        EdgeLeatherError: the bundle is damaged, the pictures are not those that trained it, cannot be read or show nothing,
            the budget cannot be held, or the bundle cannot be written. Nothing half-written stays behind.

    >>> import edgeleather as el
    >>> result = el.calibrate("bundle", "photos", el.CalibrationSettings(precision="fp16"))
    >>> result.bundle.default_precision
    'int8'
    """
    data = Path(data) if isinstance(data, str) else data
    with Progress("calibrating"):
        return _calibrated(Path(folder), data, settings or CalibrationSettings())


def _calibrated(folder: Path, data: Path | Dataset, settings: CalibrationSettings) -> CalibrationResult:
    # What calibration writes anew may be damaged: calibrating again is how it is mended.
    rewritten = _rewritten(settings)
    bundle = read_bundle(folder, lambda manifest: [n for n in without_original(manifest) if n not in rewritten])
    bundle = _with_white_level(bundle, settings.white_level)
    pictures = find_pictures(data)
    pictures.dataset.require_fit(bundle.manifest.input_mode)
    # Before anything is computed: pictures that cannot calibrate are told at once.
    chosen = calibration_pictures(bundle, pictures, settings.images)
    fp32 = CandidateGraph((folder / FP32_GRAPH).read_bytes())
    model = onnx.load_from_string(fp32.content)
    material = _Material(bundle, pictures, chosen, fp32, model, Comparison(bundle, pictures, fp32))
    int8 = _int8_graphs(material, settings) if settings.makes_int8 else _NewGraphs()
    fp16 = _fp16_graphs(material, settings) if settings.makes_fp16 else _NewGraphs()
    graphs, refused = (*int8.graphs, *fp16.graphs), (*int8.refused, *fp16.refused)
    if not graphs and settings.precision != "auto":
        return CalibrationResult(bundle, (), int8.ranking, refused)
    changed = _added(material, graphs, int8.ranges, settings)
    names = {new.name for new in graphs}
    records = tuple(record for record in changed.manifest.calibrations if record.graph in names)
    return CalibrationResult(changed, records, int8.ranking, refused)


def _with_white_level(bundle: Bundle, white_level: int | None) -> Bundle:
    kept = bundle.manifest.input_mode.white_level
    if None not in (kept, white_level) and kept != white_level:
        raise EdgeLeatherError(
            f"{bundle.folder}: expected the white level {kept}, with which the bundle's thresholds were found, got "
            f"{white_level}. Leave --white-level away, or export anew with the other one."
        )
    return bundle.with_white_level(white_level)


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
    graphs = graph_files(settings.backend, "int8") if settings.makes_int8 else ()
    graphs = (*graphs, FP16_GRAPH) if settings.makes_fp16 else graphs
    ranges = (RANGES_FILE,) if settings.makes_int8 else ()
    return {*ranges, *graphs, *(answers_file(graph) for graph in graphs)}


def _int8_graphs(material: _Material, settings: CalibrationSettings) -> _NewGraphs:
    """The INT8 graphs that the backend takes. The first has to hold the budget; one for other processors may be left out.

    Under precision auto the first may be refused too.

    Raises:
        BudgetError: the first does not hold the budget.
    """
    first, *others = graph_files(settings.backend, "int8")
    comparison = material.comparison
    ranges = bundle_ranges(material.bundle, material.model, material.chosen, settings.images)
    refused: list[str] = []
    try:
        dialect = DIALECTS[first]
        float32_nodes = find_float32_nodes(material.model, comparison) if dialect.in_half else ()
        start = Quantiser(material.model, dialect, {}, float32_nodes)
        choice = choose_ranges(start, ranges, settings.range_rule, comparison)
        quantiser = replace(start, ranges=choice.tensors)
        ranking = LayerRanking(quantiser, comparison)
        if settings.rank:
            ranking.errors()
        held = hold(settings.budget, ranking, quantiser, comparison)
    except BudgetError as error:
        if settings.precision != "auto":
            raise
        return _NewGraphs(ranges=ranges, ranking=error.ranking, refused=(str(error),))
    graphs = [NewGraph(first, held.graph, _int8_record(first, quantiser, held, choice, settings.range_rule))]
    for name in others:
        reduced = replace(quantiser, dialect=DIALECTS[name])
        try:
            held = hold(settings.budget, ranking, reduced, comparison)
        except BudgetError as error:
            refused.append(f"{name}, for {reduced.dialect.meant_for}: {error}")
        else:
            graphs.append(NewGraph(name, held.graph, _int8_record(name, reduced, held, choice, settings.range_rule)))
    return _NewGraphs(tuple(graphs), ranges, ranking.measured, tuple(refused))


def _int8_record(name: str, quantiser: Quantiser, held: GuardedGraph, choice: RangeChoice, rule: str) -> Calibration:
    names = layer_names(quantiser.model)
    return Calibration(
        graph=name,
        images=choice.taken.images,
        images_show=choice.taken.shows,
        map_errors=choice.map_errors,
        range_rule=rule,
        layers=len(quantised_layers(quantiser.model).layers),
        float_layers=tuple(names[layer] for layer in (*quantiser.always_float, *held.raised)),
        float32_nodes=quantiser.float32_nodes,
        cost=held.cost,
    )


def _fp16_graphs(material: _Material, settings: CalibrationSettings) -> _NewGraphs:
    """The FP16 graph; under precision auto none where it does not hold the budget.

    Raises:
        BudgetError: it does not hold the budget.
    """
    try:
        float32_nodes = find_float32_nodes(material.model, material.comparison)
        graph = half_graph(material.model, float32_nodes)
        cost = material.comparison.cost(graph)
        if broken := settings.budget.broken_by(cost):
            raise BudgetError(f"FP16 refused: it breaks the budget: {broken}. Allow more, or use fp32.")
    except BudgetError as error:
        if settings.precision != "auto":
            raise
        return _NewGraphs(refused=(str(error),))
    return _NewGraphs((NewGraph(FP16_GRAPH, graph, _fp16_record(float32_nodes, cost)),))


def _fp16_record(float32_nodes: tuple[str, ...], cost: Cost) -> Calibration:
    return Calibration(
        graph=FP16_GRAPH,
        images=0,
        images_show=None,
        map_errors={},
        range_rule=None,
        layers=0,
        float_layers=(),
        float32_nodes=float32_nodes,
        cost=cost,
    )


def _added(
    material: _Material, graphs: tuple[NewGraph, ...], ranges: Ranges | None, settings: CalibrationSettings
) -> Bundle:
    """The bundle with the new graphs and all that belongs to them."""
    bundle, pictures, comparison = material.bundle, material.pictures, material.comparison
    belongings = {new.name: measure_belongings(bundle, pictures, comparison, new) for new in graphs}
    speeds = _speeds_ms(material, graphs)
    fp32_ms = speeds.get(FP32_GRAPH)
    timed = [
        replace(new, record=replace(new.record, median_ms=speeds.get(new.name), fp32_median_ms=fp32_ms))
        for new in graphs
    ]
    default = bundle.default_precision
    if settings.precision == "auto":  # the fastest here of fp32 and the graphs that hold the budget
        default = GRAPH_FILES[min(speeds, key=lambda name: speeds[name])] if speeds else "fp32"
    elif any(new.name == _timed_graphs()["int8"] for new in graphs):
        default = "int8"
    return add_graphs(bundle, belongings, timed, ranges, default)


def _speeds_ms(material: _Material, graphs: tuple[NewGraph, ...]) -> dict[str, float]:
    """The median milliseconds of those graphs that the reference backend tries first, and of fp32 beside them."""
    timed = {new.name: new.graph for new in graphs if new.name in _timed_graphs().values()}
    if not timed:
        return {}
    return median_ms({FP32_GRAPH: material.fp32} | timed, material.comparison.compared.frames[0].images[:1])


def _timed_graphs() -> dict[str, str]:
    """The graph that the reference backend tries first, by precision."""
    return {precision: names[0] for precision, names in capabilities(REFERENCE_BACKEND).graphs.items()}
