"""From a run to a bundle: graph, proof, thresholds, golden frames, metrics at hand-over."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, check_bundle_target, write_bundle
from edgeleather.bundle.golden import answers_file
from edgeleather.bundle.manifest import ORIGINAL_FOLDER, Manifest, UsedImages
from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
from edgeleather.dataset.reading import Dataset, Sample, read_dataset
from edgeleather.engines.engine import load_engine
from edgeleather.engines.replay import record_answers
from edgeleather.errors import EdgeLeatherError
from edgeleather.export.golden_frames import golden_frames
from edgeleather.export.onnx_graph import prove, to_onnx
from edgeleather.imaging.images import image_digest
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.inspection.scoring import find_thresholds, hand_over_metrics
from edgeleather.records import to_json
from edgeleather.training.run import RUN_FILE, WEIGHTS_FILE, ImageRecord, Run, read_run
from edgeleather.training.training import load_trained

_PROOF_IMAGES = 8


def export_run(
    folder: Path,
    out: Path,
    data: Path | None = None,
    false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE,
    with_original: bool = True,
    overwrite: bool = False,
) -> Bundle:
    """Export a run folder to a bundle; `data` is the dataset where it has moved since training.

    Raises:
        EdgeLeatherError: the run or dataset is damaged, the dataset has changed, the export is not faithful, or `out`
            cannot be written. Nothing half-written stays behind.
    """
    check_bundle_target(out, overwrite)
    run = read_run(folder)
    dataset = read_dataset(data or Path(run.dataset), needs="any")
    held_out = _find(dataset, run.splits.threshold)
    t2_t3 = _find(dataset, run.splits.t2_t3)
    mode = run.settings.input_mode
    digests = {record.name: record.digest for part in _parts(run) for record in part}
    method = load_trained(run, folder)
    contents = {"fp32.onnx": to_onnx(method)}
    with tempfile.TemporaryDirectory() as work:
        graph = Path(work) / "fp32.onnx"
        graph.write_bytes(contents[graph.name])
        with closing(load_engine("onnxruntime", graph, "fp32")) as engine:
            proof = _model_images(held_out, mode)[:_PROOF_IMAGES]
            prove(method, engine, np.stack(proof))
            thresholds = find_thresholds(
                engine,
                graph.name,
                mode,
                held_out,
                t2_t3,
                left_out_scores={digests[item.name]: item.score for item in run.left_out_scores},
                good_groups=len(
                    {record.group for record in run.splits.threshold} | {i.group for i in run.left_out_scores}
                ),
                false_alarm_rate=false_alarm_rate,
            )
            frames = golden_frames(proof, run.settings.seed)
            answers = record_answers(engine, graph.name, frames)
            metrics = hand_over_metrics(engine, graph.name, mode, dataset.test, set(digests.values()))
    contents |= {name: _png(image) for name, image in frames.items()}
    contents[answers_file(graph.name)] = to_json(answers)
    if with_original:
        # Only names travel: a path of the training machine says nothing elsewhere.
        textures = run.settings.textures and Path(run.settings.textures).name
        settings = replace(run.settings, weights=Path(run.settings.weights).name, textures=textures)
        travelling = replace(run, dataset=Path(run.dataset).name, settings=settings)
        contents[f"{ORIGINAL_FOLDER}/{RUN_FILE}"] = to_json(travelling)
        contents[f"{ORIGINAL_FOLDER}/{WEIGHTS_FILE}"] = (folder / WEIGHTS_FILE).read_bytes()
    manifest = Manifest(
        schema=3,
        digest="",
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeleather=version("edgeleather"),
        method=run.settings.method,
        backbone=run.settings.backbone,
        default_precision="fp32",
        input_mode=mode,
        thresholds=(thresholds,),
        files={},
        images=_used_images(run),
        calibrations=(),
        metrics=(metrics,),
    )
    return write_bundle(out, manifest, contents, overwrite)


def _parts(run: Run) -> tuple[tuple[ImageRecord, ...], ...]:
    splits = run.splits
    return splits.training, splits.validation, splits.threshold, splits.t2_t3


def _used_images(run: Run) -> UsedImages:
    training, validation, threshold, t2_t3 = (tuple(record.digest for record in part) for part in _parts(run))
    return UsedImages(training, validation, threshold, t2_t3, calibration=())


def _find(dataset: Dataset, records: Sequence[ImageRecord]) -> list[Sample]:
    """The pictures of a split, checked to be those that were there at training."""
    by_name = {sample.name: sample for sample in (*dataset.train_good, *dataset.test)}
    found = []
    for record in records:
        sample = by_name.get(record.name)
        if sample is None or image_digest(sample.read()) != record.digest:
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
