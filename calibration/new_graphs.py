"""New graphs come into a bundle, each with all that belongs to a graph file, measured anew on it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from edgeleather.bundle.bundle import Bundle, update_bundle
from edgeleather.bundle.golden import GoldenAnswers, answers_file, read_golden
from edgeleather.bundle.manifest import FP32_GRAPH, Calibration, HandOverMetrics
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.calibration.comparison import CandidateGraph, Comparison, opened
from edgeleather.calibration.pictures import CalibrationPictures
from edgeleather.calibration.ranges import RANGES_FILE, Ranges
from edgeleather.engines.replay import record_answers
from edgeleather.inspection.scoring import ThresholdPictures, find_thresholds, hand_over_metrics
from edgeleather.records import to_json

GraphRecord = TypeVar("GraphRecord", Thresholds, Calibration, HandOverMetrics)


@dataclass(frozen=True)
class NewGraph:
    """A new graph file by its name in the bundle, and how it was made."""

    name: str
    graph: CandidateGraph
    record: Calibration


@dataclass(frozen=True)
class GraphBelongings:
    """What a bundle keeps of each of its graphs: golden answers, thresholds, metrics at hand-over."""

    answers: GoldenAnswers
    thresholds: Thresholds
    metrics: HandOverMetrics


def measure_belongings(
    bundle: Bundle, pictures: CalibrationPictures, comparison: Comparison, new: NewGraph
) -> GraphBelongings:
    """Run a new graph on the golden frames, on the pictures set aside for thresholds and on the test pictures.

    Raises:
        EdgeLeatherError: a picture is not there, has changed or cannot be used.
    """
    before, fp32 = bundle.manifest, bundle.thresholds_of(FP32_GRAPH)
    with opened(new.graph) as engine:
        answers = record_answers(engine, new.name, read_golden(bundle))
        thresholds = find_thresholds(
            engine,
            new.name,
            before.input_mode,
            ThresholdPictures(
                held_out=pictures.find(before.images.threshold, "thresholds"),
                t2_t3=pictures.find(before.images.t2_t3, "T2 and T3"),
                left_out_scores=comparison.carried_over_by(engine),
                good_groups=fp32.good_groups,
                article=bundle.article,
            ),
            fp32.verdict.wished_rate,
        ).chosen_like(fp32)
        test = pictures.dataset.of_article(bundle.article).test
        metrics = hand_over_metrics(engine, new.name, before.input_mode, test, before.images.all)
    return GraphBelongings(answers, thresholds, metrics)


def add_graphs(
    bundle: Bundle,
    belongings: Mapping[str, GraphBelongings],
    graphs: Sequence[NewGraph],
    ranges: Ranges | None,
    default_precision: str,
) -> Bundle:
    """The bundle with new graphs and what belongs to them; graphs of the same names are replaced.

    Raises:
        EdgeLeatherError: the bundle cannot be written.
    """
    before, names = bundle.manifest, {new.name for new in graphs}
    contents: dict[str, bytes] = {}
    for new in graphs:
        contents[new.name] = new.graph.content
        contents[answers_file(new.name)] = to_json(belongings[new.name].answers)
    images = before.images
    if ranges is not None:
        contents[RANGES_FILE] = json.dumps(asdict(ranges), separators=(",", ":")).encode()
        images = replace(images, calibration=ranges.image_digests)
    made = [belongings[new.name] for new in graphs]
    manifest = replace(
        before,
        default_precision=default_precision,
        thresholds=(*_others(before.thresholds, names), *(one.thresholds for one in made)),
        calibrations=(*_others(before.calibrations, names), *(new.record for new in graphs)),
        metrics=(*_others(before.metrics, names), *(one.metrics for one in made)),
        images=images,
    )
    return update_bundle(bundle, manifest, contents)


def _others(records: Sequence[GraphRecord], names: Collection[str]) -> list[GraphRecord]:
    """The records of a manifest that are of none of these graphs."""
    return [record for record in records if record.graph not in names]
