"""Accuracy of an engine on the test pictures that no threshold was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import Manifest
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.dataset.index import DatasetIndex, IndexedSample
from edgeleather.engines.engine import Engine, load_engine
from edgeleather.engines.graphs import graphs_of
from edgeleather.engines.replay import first_proven, require_golden
from edgeleather.engines.table import REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import appearance_of, thinned
from edgeleather.inspection.familiarity import FamiliarityCheck
from edgeleather.inspection.inference import FrameMap
from edgeleather.inspection.scoring import score_samples, unseen_samples
from edgeleather.metrics.scores import image_auroc, image_f1


@dataclass(frozen=True)
class ImageScore:
    """One test picture's score, and the verdict at the graph's default threshold."""

    name: str
    defective: bool
    score: float
    verdict: str


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on the tested pictures; a metric is None where the pictures or thresholds do not give it.

    `f1`, `false_alarm_percent` and `hit_percent` are of the default verdict; `iou` and `pro` of the pixel threshold
    `pixel_threshold` names (T2, or T1 without masks to fit it); the rest carry their threshold in their name. Figures of pixels
    rest on the good pictures and on the `tested_masks` defective ones that have a mask; None without any. `chosen_on`
    counts the tested pictures that somebody chose the verdict's threshold on.
    """

    images: tuple[ImageScore, ...]
    left_out: tuple[str, ...]
    tested_masks: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    f1: float | None
    false_alarm_percent: float | None
    hit_percent: float | None
    pixel_threshold: str
    iou: float | None
    pro: float | None
    iou_t1: float | None
    pro_t1: float | None
    f1_t1: float | None
    f1_t3: float | None
    chosen_on: int


def reportable_samples(dataset: DatasetIndex, manifest: Manifest) -> tuple[list[IndexedSample], list[str]]:
    """The test pictures that neither training nor a threshold has seen, and the names of those left out.

    Raises:
        EdgeLeatherError: none is left.
    """
    kept, left_out = unseen_samples(dataset.test, manifest.images.all)
    if not kept:
        raise EdgeLeatherError(
            f"{dataset.root}: training or a threshold has seen every test picture; none is left to report on."
        )
    return kept, left_out


def answering_graph(bundle: Bundle, precision: str, threads: int | None, backend: str = REFERENCE_BACKEND) -> str:
    """The graph of a precision that `inspect` would take: the first that gives its recorded answer here.

    The last of them is taken unproven: a report says how far it is off, where `inspect` refuses it.
    """
    graphs = graphs_of(bundle, precision, backend)

    def answering(graph: str) -> str:
        if graph != graphs[-1]:
            with closing(load_engine(backend, bundle.folder / graph, precision, threads)) as engine:
                require_golden(bundle, engine, graph, frames=1)
        return graph

    return first_proven(graphs, answering)


def evaluate(engine: Engine, bundle: Bundle, graph: str, dataset: DatasetIndex) -> Evaluation:
    """Run an engine over the tested pictures at the bundle's own input mode and thresholds.

    Raises:
        EdgeLeatherError: a picture or mask cannot be used, or none is left to report on.
    """
    samples, left_out = reportable_samples(dataset, bundle.manifest)
    thresholds = bundle.thresholds_of(graph)
    mode, label = bundle.manifest.input_mode, f"testing {engine.signature.backend}"
    scored = score_samples(engine, samples, mode, label, _familiarity(bundle, thresholds))
    scores, defective = np.array(scored.scores), np.array(scored.defective, bool)
    limits = np.array([thresholds.verdict_for(tiles).value for tiles in scored.tiles])
    verdicts = np.where(scored.unfamiliar, "unfamiliar", np.where(scores > limits, "defect", "good"))
    # An unfamiliar frame is no hit, and on a good picture a false alarm.
    alarms = np.where(defective, verdicts == "defect", verdicts != "good")
    curve = scored.pixels.curve()
    has_defects = bool(defective.any())
    pixel = thresholds.t2_pixel or thresholds.t1_pixel
    names = (sample.name for sample in samples)
    chosen = frozenset(thresholds.choice.pictures if thresholds.choice else ())
    rows = zip(names, scored.defective, scored.scores, verdicts.tolist(), strict=True)
    return Evaluation(
        images=tuple(ImageScore(*row) for row in rows),
        left_out=tuple(left_out),
        tested_masks=scored.masks,
        image_auroc=image_auroc(scores, defective),
        pixel_auroc=curve.auroc(),
        aupro=curve.aupro(),
        f1=image_f1(alarms.astype(float), defective, 0.5) if has_defects else None,
        false_alarm_percent=_percent(alarms[~defective]),
        hit_percent=_percent(alarms[defective]),
        pixel_threshold="T2" if thresholds.t2_pixel else "T1",
        iou=curve.iou_at(pixel.value),
        pro=curve.pro_at(pixel.value),
        iou_t1=curve.iou_at(thresholds.t1_pixel.value),
        pro_t1=curve.pro_at(thresholds.t1_pixel.value),
        f1_t1=image_f1(scores, defective, thresholds.t1_pixel.value) if has_defects else None,
        f1_t3=_f1_t3(scores, defective, thresholds) if has_defects else None,
        chosen_on=sum(sample.digest in chosen for sample in samples),
    )


def _familiarity(bundle: Bundle, thresholds: Thresholds) -> Callable[[FrameMap], bool]:
    """Whether the inspector would call a picture unfamiliar."""
    if bundle.looks is None:
        return lambda result: False
    check = FamiliarityCheck(bundle.looks, thresholds)

    def is_unfamiliar(result: FrameMap) -> bool:
        prepared = result.prepared
        is_above = result.score > thresholds.verdict_for(prepared.count).value
        return check.of(appearance_of(thinned(prepared)), result.anomaly_map, result.score, is_above).reason is not None

    return is_unfamiliar


def _f1_t3(scores: np.ndarray, defective: np.ndarray, thresholds: Thresholds) -> float | None:
    return image_f1(scores, defective, thresholds.t3_image.value) if thresholds.t3_image else None


def _percent(flags: np.ndarray) -> float | None:
    return 100.0 * float(flags.mean()) if len(flags) else None
