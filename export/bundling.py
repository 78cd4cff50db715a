"""From a run to a bundle: graph, proof, thresholds, golden frames, metrics at hand-over."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, check_bundle_target, write_bundle
from edgeleather.bundle.familiarity import Familiarity, familiarity_of
from edgeleather.bundle.golden import answers_file
from edgeleather.bundle.manifest import FP32_GRAPH, ORIGINAL_FOLDER, HandOverMetrics, Manifest, UsedImages
from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE, Thresholds
from edgeleather.dataset.index import DatasetIndex, IndexedSample, index_dataset
from edgeleather.dataset.reading import Dataset, Sample
from edgeleather.engines.engine import Engine, load_engine
from edgeleather.engines.replay import record_answers
from edgeleather.engines.table import REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.golden_frames import golden_frames
from edgeleather.export.onnx_graph import prove, to_onnx
from edgeleather.imaging.appearance import answer_to, appearance_of
from edgeleather.imaging.preprocess import InputMode, prepare, tile_count
from edgeleather.inspection.inference import infer_prepared
from edgeleather.inspection.scoring import ThresholdPictures, find_thresholds, hand_over_metrics
from edgeleather.methods.method import Method, method_class
from edgeleather.methods.settings import without_paths
from edgeleather.progress import Progress, track
from edgeleather.records import to_json
from edgeleather.training.input_plan import of_common_tile_count
from edgeleather.training.run import RUN_FILE, WEIGHTS_FILE, ImageRecord, Run, read_run
from edgeleather.training.training import load_trained

_PROOF_IMAGES = 8


@dataclass(frozen=True)
class _Measured:
    """What the exported graph was measured to be: its thresholds, metrics, and golden frames with their answers as files."""

    thresholds: Thresholds
    looks: Familiarity | None
    metrics: HandOverMetrics
    golden: dict[str, bytes]


def export_run(
    folder: Path,
    out: Path,
    data: Path | Dataset | None = None,
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    with_original: bool = True,
    overwrite: bool = False,
    white_level: int | None = None,
) -> Bundle:
    """Export a run folder to a bundle; `data` is the dataset (a folder, or its index) where it is not where training found it.

    A `white_level` counts instead of the run's, and the bundle keeps it.

    Raises:
        EdgeLeatherError: the run or dataset is damaged, the dataset has changed, the export is not faithful, or `out`
            cannot be written. Nothing half-written stays behind.
    """
    check_bundle_target(out, overwrite)
    run = read_run(folder)
    settings = replace(run.settings, input_mode=run.settings.input_mode.with_white_level(white_level))
    run = replace(run, settings=settings)
    dataset = index_dataset(data or Path(run.dataset), needs="any").of_article(settings.article)
    dataset.require_fit(settings.input_mode)
    pictures = _threshold_pictures(run, dataset)
    with Progress("exporting to ONNX"):
        method = load_trained(run, folder)
        graph = to_onnx(method)
    measured = _measure(method, graph, run, dataset, pictures, false_alarm_rate)
    contents = {FP32_GRAPH: graph, **measured.golden}
    if with_original:
        contents[f"{ORIGINAL_FOLDER}/{RUN_FILE}"] = to_json(travelling(run))
        contents[f"{ORIGINAL_FOLDER}/{WEIGHTS_FILE}"] = (folder / WEIGHTS_FILE).read_bytes()
    manifest = Manifest(
        schema=6,
        digest="",
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeleather=version("edgeleather"),
        method=run.settings.method,
        backbone=run.settings.backbone,
        default_precision="fp32",
        input_mode=run.settings.input_mode,
        thresholds=(measured.thresholds,),
        looks={run.settings.article: measured.looks} if measured.looks else {},
        files={},
        images=_used_images(run, pictures),
        suspects=dict(Counter(one.use for one in run.splits.suspects)),
        calibrations=(),
        metrics=(measured.metrics,),
    )
    return write_bundle(out, manifest, contents, overwrite)


def _threshold_pictures(run: Run, dataset: DatasetIndex) -> ThresholdPictures:
    """The pictures that training set aside for thresholds, and the scores that it made of the others."""
    digests = {record.name: record.digest for part in _parts(run) for record in part}
    left_out = [item for item in run.left_out_scores if item.name not in run.splits.untypical]
    held_out = list(run.splits.threshold)
    if not left_out:
        # Where refitting takes too long, the validation pictures join those of the threshold, which are often few: all that
        # training has of them is the choice of its best epoch.
        held_out += [record for record in run.splits.validation if record.name not in run.splits.untypical]
    mode = run.settings.input_mode
    found = of_common_tile_count(_find(dataset, held_out), mode)
    # A score is the highest of a frame's tiles: those of frames of other numbers of tiles say nothing about it.
    tiles = tile_count(found[0].size_hw, mode)
    sizes_hw = {sample.name: sample.size_hw for sample in dataset.train_good}
    left_out = [item for item in left_out if tile_count(sizes_hw[item.name], mode) == tiles]
    groups = {sample.group for sample in found} | {item.group for item in left_out}
    return ThresholdPictures(
        held_out=found,
        t2_t3=_find(dataset, run.splits.t2_t3),
        left_out_scores={digests[item.name]: item.score for item in left_out},
        good_groups=len(groups),
        article=run.settings.article,
    )


def _measure(
    method: Method,
    graph: bytes,
    run: Run,
    dataset: DatasetIndex,
    pictures: ThresholdPictures,
    false_alarm_rate: float,
) -> _Measured:
    """Prove the graph against torch, and run it on what a bundle records."""
    mode = run.settings.input_mode
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / FP32_GRAPH
        path.write_bytes(graph)
        with closing(load_engine(REFERENCE_BACKEND, path, "fp32")) as engine:
            proof = _model_images(pictures.held_out, mode)[:_PROOF_IMAGES]
            with Progress("comparing the graph with torch"):
                prove(method, engine, np.stack(proof))
            thresholds = find_thresholds(engine, FP32_GRAPH, mode, pictures, false_alarm_rate)
            looks = _looks(engine, run, dataset)
            frames = golden_frames(proof, run.settings.seed)
            answers = record_answers(engine, FP32_GRAPH, frames)
            metrics = hand_over_metrics(engine, FP32_GRAPH, mode, dataset.test, _used_images(run, pictures).all)
    golden = {name: _png(image) for name, image in frames.items()}
    return _Measured(thresholds, looks, metrics, golden | {answers_file(FP32_GRAPH): to_json(answers)})


def _looks(engine: Engine, run: Run, dataset: DatasetIndex) -> Familiarity | None:
    """How the good pictures look, and what the model answers to them: without their photograph, where training has done that."""
    left_out = {item.name: item.answer for item in run.left_out_scores if item.answer}
    good = _find(dataset, (*run.splits.training, *run.splits.validation, *run.splits.threshold))
    groups = [record.group for part in _parts(run)[:3] for record in part]
    appearances, answers = [], []
    for sample in track(good, "how good pictures look"):
        prepared = prepare(sample.read(), run.settings.input_mode)
        appearances.append(appearance_of(prepared.images))
        if sample.name in left_out:
            answers.append(list(left_out[sample.name]))
        else:
            found = infer_prepared(engine, prepared)
            answers.append(answer_to(found.anomaly_map, found.score))
    return familiarity_of(appearances, answers, groups)


def travelling(run: Run) -> Run:
    """The run as it travels: of paths only names, since a path of the training machine says nothing elsewhere."""
    own = without_paths(method_class(run.settings.method).settings, run.settings.own)
    settings = replace(run.settings, weights=Path(run.settings.weights).name, own=own)
    return replace(run, dataset=Path(run.dataset).name, settings=settings)


def _parts(run: Run) -> tuple[tuple[ImageRecord, ...], ...]:
    splits = run.splits
    return splits.training, splits.validation, splits.threshold, splits.t2_t3


def _used_images(run: Run, pictures: ThresholdPictures) -> UsedImages:
    """Who saw which pictures; a graph that is made later takes its thresholds from the same ones."""
    training, validation, _, t2_t3 = (tuple(record.digest for record in part) for part in _parts(run))
    threshold = tuple(sample.digest for sample in pictures.held_out)
    return UsedImages(training, validation, threshold, t2_t3, calibration=())


def _find(dataset: DatasetIndex, records: Sequence[ImageRecord]) -> list[IndexedSample]:
    """The pictures of a split, checked to be those that were there at training."""
    by_name = {sample.name: sample for sample in dataset.samples}
    found = []
    for record in records:
        sample = by_name.get(record.name)
        if sample is None or sample.digest != record.digest:
            state = "is missing" if sample is None else "has changed"
            raise EdgeLeatherError(
                f"{dataset.root}: {record.name} {state} since training. Say where the same pictures are with --data, "
                "or train again."
            )
        found.append(sample)
    return found


def _model_images(samples: Sequence[Sample], mode: InputMode) -> list[UInt8Array]:
    """Model images of a few pictures, taking turns between photographs so that few images show many of them."""
    turns = sorted(range(len(samples)), key=lambda i: sum(s.group == samples[i].group for s in samples[:i]))
    return [prepare(samples[i].read(), mode).images[0] for i in turns[:_PROOF_IMAGES]]


def _png(image_rgb: UInt8Array) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1])
