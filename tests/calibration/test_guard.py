"""Sensitivity and guard on a real bundle, one of whose layers is spoiled on purpose."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")
pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.bundle.bundle import read_bundle  # noqa: E402
from edgeleather.bundle.manifest import INT8_GRAPH, Cost  # noqa: E402
from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle  # noqa: E402
from edgeleather.calibration.comparison import CandidateGraph, Comparison  # noqa: E402
from edgeleather.calibration.float32_nodes import find_float32_nodes  # noqa: E402
from edgeleather.calibration.guard import Budget, BudgetError, hold  # noqa: E402
from edgeleather.calibration.pictures import find_pictures  # noqa: E402
from edgeleather.calibration.qdq import ONNXRUNTIME, TENSORRT  # noqa: E402
from edgeleather.calibration.quantised_layers import layer_names, pixel_layers, quantised_layers  # noqa: E402
from edgeleather.calibration.quantiser import Quantiser, half_graph  # noqa: E402
from edgeleather.calibration.ranges import Ranges  # noqa: E402
from edgeleather.calibration.sensitivity import LayerRanking, picture_of  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.records import read_record  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(bundle, dataset_folder):
    """The fp32 graph, its comparison and its ranges."""
    content = (bundle.folder / "fp32.onnx").read_bytes()
    comparison = Comparison(bundle, find_pictures(dataset_folder), CandidateGraph(content))
    ranges = read_record(Ranges, bundle.folder / "ranges.json", "")
    return onnx.load_from_string(content), comparison, ranges.sets[1].tensors


@pytest.fixture(scope="module")
def spoiled(case):
    """A layer that no other layer reads, whose output's range is a thousand times too wide, and the quantiser that meets it."""
    model, comparison, tensors = case
    chosen = quantised_layers(model)
    read = {name for node in model.graph.node if node.output[0] in chosen.layers for name in node.input}
    (layer, end) = next(
        (node.output[0], end)
        for node in model.graph.node
        if node.output[0] in chosen.layers
        for end in _ends(model, node.output[0])
        if end in chosen.tensors and not read & _ends(model, node.output[0])
    )
    found = tensors[end]
    wide = tensors | {end: replace(found, minimum=1000 * found.minimum, maximum=1000 * found.maximum)}

    return layer, layer_names(model), Quantiser(model, ONNXRUNTIME, wide), comparison


def _ends(model, layer):
    """A layer's output and what an activation makes of it."""
    acts = (node for node in model.graph.node if node.op_type in ("Relu", "Clip") and node.input[0] == layer)
    return {layer, *(node.output[0] for node in acts)}


def test_a_spoiled_layer_is_ranked_first_and_raised_by_the_guard(spoiled):
    layer, names, quantiser, comparison = spoiled
    ranking = LayerRanking(quantiser, comparison)
    errors = ranking.errors()
    assert {error.layer for error in errors} == set(quantised_layers(quantiser.model).layers)
    assert all(error.name == names[error.layer] for error in errors)
    assert errors[0].layer == layer and errors[0].map_error > 3 * errors[1].map_error
    whole = comparison.cost(quantiser.graph())
    allowed = whole.map_error / 3
    held = hold(Budget(max_map_error=allowed), ranking, quantiser, comparison)
    assert held.raised[0] == layer and held.cost.map_error <= allowed < whole.map_error
    assert len(held.raised) <= 4  # and no more of them than it takes
    picture = picture_of(errors, [names[raised] for raised in held.raised])
    assert picture.startswith(b"\x89PNG")


def test_a_budget_that_nothing_holds_is_refused_with_the_reason_and_the_ranking(spoiled):
    _, _, quantiser, comparison = spoiled
    ranking = LayerRanking(quantiser, comparison)
    refusal = r"INT8 refused: with \d+ of \d+ layers .* map error .* \(0 % allowed\)"
    with pytest.raises(BudgetError, match=refusal) as caught:
        hold(Budget(max_map_error=0.0), ranking, quantiser, comparison)
    assert caught.value.ranking == ranking.measured != ()


def test_a_budget_that_holds_at_once_asks_for_no_ranking(case):
    model, comparison, tensors = case
    quantiser = Quantiser(model, ONNXRUNTIME, tensors)
    ranking = LayerRanking(quantiser, comparison)
    held = hold(Budget(), ranking, quantiser, comparison)
    assert held.raised == () and 0 < held.cost.map_error < 0.05 and ranking.measured == ()


def test_a_quantiser_knows_what_its_dialect_leaves_alone(case):
    """TensorRT's graph has FP16 around the INT8 layers, keeps the layers that read pixels, and runs as it is written."""
    model, _, tensors = case
    integer, half = Quantiser(model, ONNXRUNTIME, tensors), Quantiser(model, TENSORRT, tensors)
    assert integer.always_float == () and half.always_float == pixel_layers(model) != ()
    assert not integer.graph().is_run_as_written and half.graph().is_run_as_written
    types = {tensor.data_type for tensor in onnx.load_from_string(half.graph().content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types


def test_every_limit_of_a_budget_is_named_where_it_breaks():
    cost = Cost(0.02, ("a.png", "b.png"), 0.004, 0.01)
    budget = Budget(max_flips=1, max_auroc_drop=0.002, max_map_error=0.01, max_aupro_drop=0.005)
    text = budget.broken_by(cost)
    assert "map error 2 % (1 % allowed)" in text and "2 flipped verdicts (1 allowed: a.png, b.png)" in text
    assert "0.0040 of image AUROC lost" in text and "0.0100 of AUPRO lost (0.005 allowed)" in text
    assert not Budget().broken_by(cost) and not Budget(2, 0.004, 0.02, 0.01).broken_by(cost)


def test_a_comparison_tells_the_same_graph_from_another(case):
    model, comparison, _ = case
    same = comparison.cost(CandidateGraph(model.SerializeToString()))
    assert same.map_error == 0 and same.flips == () and same.auroc_drop == same.aupro_drop == 0
    assert any(comparison.compared.defective) and not all(comparison.compared.defective)


def test_fp16_keeps_in_float32_what_overflows_there(case):
    """Features scaled up beyond FP16 and down again: FP16 has to leave those two nodes alone."""
    model, comparison, _ = case
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = list(changed.graph.node)
    position, stage = next(
        (i, n) for i, n in enumerate(nodes) if n.op_type == "Concat" and len(n.input) == 3
    )  # the layers
    source = stage.input[0]
    constants = {"up": np.float32(1e6), "down": np.float32(1e-6)}
    changed.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items())
    made = [
        onnx.helper.make_node("Mul", [source, "up"], ["large"]),
        onnx.helper.make_node("Mul", ["large", "down"], ["as before"]),
    ]
    stage.input[0] = "as before"
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes[:position], *made, *nodes[position:]])
    kept = find_float32_nodes(changed, comparison)
    assert {"large", "as before"} <= set(kept)
    assert comparison.map_error(half_graph(changed, kept)) < 0.01
    assert comparison.map_error(half_graph(changed, ())) > 0.05


def test_calibrate_with_a_guard_notes_what_it_raised(bundle_copy, dataset_folder):
    free = calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=Budget())).records[0]
    budget = Budget(max_map_error=free.cost.map_error / 1.5)
    held = calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=budget, rank=True))
    record = held.records[0]
    assert 0 < len(record.float_layers) <= record.layers / 2 and record.cost.map_error <= budget.max_map_error
    assert record.float_layers[0] == held.ranking[0].name
    assert record.median_ms > 0 and record.fp32_median_ms > 0


def test_a_refused_guard_changes_nothing(bundle_copy, dataset_folder):
    before = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    with pytest.raises(EdgeLeatherError, match="INT8 refused"):
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=Budget(max_map_error=1e-9)))
    assert before == {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}


def test_auto_takes_the_fastest_that_holds(bundle_copy, dataset_folder):
    made = calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(precision="auto", budget=Budget()))
    times = {record.graph: record.median_ms for record in made.records if record.median_ms is not None}
    times["fp32.onnx"] = made.records[0].fp32_median_ms
    fastest = min(times, key=lambda name: times[name])
    assert made.bundle.default_precision == {"fp32.onnx": "fp32", "fp16.onnx": "fp16", INT8_GRAPH: "int8"}[fastest]
    assert read_bundle(bundle_copy).default_precision == made.bundle.default_precision
    refused = calibrate_bundle(
        bundle_copy, dataset_folder, CalibrationSettings(precision="auto", budget=Budget(max_map_error=1e-9))
    )
    assert len(refused.refused) == 2 and refused.records == () and json.dumps(refused.refused)
    # What breaks the budget is not what inspect takes, although its graph from before is still there.
    assert refused.bundle.default_precision == read_bundle(bundle_copy).default_precision == "fp32"


@pytest.mark.parametrize("rule", ["percentile", "entropy", "by-map-error"])
def test_range_rules_give_graphs_that_hold(bundle_copy, dataset_folder, rule):
    plain = calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(images=8, budget=Budget())).records[0]
    record = calibrate_bundle(
        bundle_copy, dataset_folder, CalibrationSettings(images=8, range_rule=rule, budget=Budget())
    ).records[0]
    assert record.range_rule == rule
    best = record.map_errors[record.images_show]
    assert best < 0.5 and (rule != "by-map-error" or record.cost.map_error <= 1.2 * plain.cost.map_error)


def test_a_limit_that_cannot_be_measured_is_an_error_and_so_are_maps_that_are_not_finite():
    unknown = Cost(0.001, (), None, None)
    for budget in (Budget(max_auroc_drop=0.1), Budget(max_aupro_drop=0.1)):
        with pytest.raises(EdgeLeatherError, match="cannot be measured"):
            budget.broken_by(unknown)
    assert "not finite" in Budget().broken_by(Cost(float("inf"), (), None, None))


def test_a_refusal_keeps_the_ranking(bundle_copy, dataset_folder):
    with pytest.raises(BudgetError) as caught:
        calibrate_bundle(bundle_copy, dataset_folder, CalibrationSettings(budget=Budget(max_map_error=1e-9), rank=True))
    assert len(caught.value.ranking) > 10
