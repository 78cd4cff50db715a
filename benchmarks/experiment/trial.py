"""One trial in a process of its own: `python -m edgeleather.benchmarks.experiment.trial OUT NAME` trains, exports and tests."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeleather.benchmarks.evaluation import answering_graph
from edgeleather.benchmarks.experiment.plan import (
    IMAGE_SIDE_PX,
    QUICK_EPOCHS,
    ExperimentSettings,
    Trial,
    data_folder,
    trials,
)
from edgeleather.benchmarks.experiment.protocol import measure, score_maps, smallest_side, split_scored
from edgeleather.bundle.bundle import Bundle, read_bundle
from edgeleather.dataset.index import index_dataset
from edgeleather.dataset.reading import read_dataset
from edgeleather.engines.engine import load_engine
from edgeleather.engines.table import REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import write_atomically
from edgeleather.records import read_record
from edgeleather.training.choices import TrainingChoices, imported_method, train_chosen

RESULT_FILE = "result.json"
ERROR_FILE = "error.txt"
_LOCK_SECONDS = 10.0


def trial_folder(out: Path, trial: Trial) -> Path:
    """Where a trial's run, bundle and result lie."""
    return out / "trials" / trial.name


def run_trial(settings: ExperimentSettings, trial: Trial, out: Path) -> None:
    """Do what of a trial is not done yet; its result.json comes last, so that it is whole or not there.

    Raises:
        EdgeLeatherError: a data set cannot be used, training fails, or the folder cannot be written.
    """
    folder = trial_folder(out, trial)
    folder.mkdir(parents=True, exist_ok=True)
    # Held until the process ends: a trial whose parent was killed must not have a second one write beside it.
    lock = _locked(folder)
    bundle = _bundle(settings, trial, out, folder)
    rows = [
        _row(settings, trial, out, bundle, precision, tested_on)
        for precision in settings.precisions
        for tested_on in trial.tested_on
    ]
    run = json.loads((folder / "run" / "run.json").read_text())
    result = {
        "method": trial.method,
        "trained_on": trial.trained_on,
        "backbone": bundle.manifest.backbone,
        "settings": run["settings"],
        "versions": run["versions"],
        "training_images": len(run["splits"]["training"]),
        "training_seconds": run["training_seconds"],
        "epochs": len(run["losses"]),
        "rows": rows,
    }
    write_atomically(folder / RESULT_FILE, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    os.close(lock)


def _locked(folder: Path) -> int:
    """The folder's lock; a process that an earlier command left ends within a second of it, and is waited for."""
    descriptor = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise EdgeLeatherError(
                    f"{folder.name} is being run by another process. Wait for it, or end it."
                ) from error
            time.sleep(0.2)


def _end_with(parent: int) -> None:
    """End this process once its parent is gone: killed, it could not say so."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _bundle(settings: ExperimentSettings, trial: Trial, out: Path, folder: Path) -> Bundle:
    import torch

    from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle
    from edgeleather.calibration.guard import Budget
    from edgeleather.export.bundling import export_run

    torch.set_num_threads(settings.threads)
    data = index_dataset(data_folder(settings, out, trial.trained_on), needs="train")
    train_chosen(data, _choices(settings, trial), folder / "run")
    made = folder / "bundle"
    if not (made / "manifest.json").is_file():
        export_run(folder / "run", made, data)
    bundle = read_bundle(made)
    for precision in ("int8", "fp16"):
        if precision in settings.precisions and not any(_is_of(graph, precision) for graph in bundle.manifest.files):
            # Without a guard: what quantisation costs is what is asked here.
            bundle = calibrate_bundle(made, data, CalibrationSettings(precision, budget=Budget())).bundle
    return bundle


def _is_of(graph: str, precision: str) -> bool:
    return graph.startswith(precision) and graph.endswith(".onnx")


def _choices(settings: ExperimentSettings, trial: Trial) -> TrainingChoices:
    from edgeleather.methods.method import NO_BACKBONE

    preset = imported_method(trial.method).presets[settings.preset]
    has_backbone = preset.backbone != NO_BACKBONE
    quick = min(QUICK_EPOCHS.get(trial.method, preset.epochs), preset.epochs)
    return TrainingChoices(
        method=trial.method,
        preset=settings.preset,
        backbone=settings.backbone if has_backbone else None,
        weights=settings.weights if has_backbone else "imagenet",
        image_size=IMAGE_SIDE_PX,
        epochs=quick if settings.budget == "quick" else None,
        seed=settings.seed,
    )


def _row(
    settings: ExperimentSettings, trial: Trial, out: Path, bundle: Bundle, precision: str, tested_on: str
) -> dict[str, Any]:
    """A row of a table; the first precision's also leaves the map for figures 3 and 4."""
    graph = answering_graph(bundle, precision, settings.threads)
    dataset = read_dataset(data_folder(settings, out, tested_on), needs="test")
    fitted, rest = split_scored(dataset, settings.seed)
    with closing(load_engine(REFERENCE_BACKEND, bundle.folder / graph, precision, settings.threads)) as engine:
        mode = bundle.manifest.input_mode
        scored_fit, scored = score_maps(engine, fitted, mode), score_maps(engine, rest, mode)
        same = smallest_side(rest)
        at_one_scale = score_maps(engine, rest, mode, same) if same else None
    metrics = measure(scored_fit, scored, at_one_scale, bundle.thresholds_of(graph).t1_pixel.value, settings.seed)
    if precision == settings.precisions[0] and tested_on == trial.trained_on:
        shown = next(index for index, sample in enumerate(scored.samples) if not sample.is_good)
        path = trial_folder(out, trial) / f"map-{tested_on}.npz"
        np.savez_compressed(
            path,
            anomaly_map=scored.maps[shown],
            t2=np.nan if metrics.t2 is None else metrics.t2,
            picture=str(scored.samples[shown].path),
        )
    scores = zip(scored.samples, scored.scores, strict=True)
    return {
        "tested_on": tested_on,
        "precision": precision,
        "graph": graph,
        "size_mb": bundle.manifest.files[graph].size_bytes / 1e6,
        **asdict(metrics),
        "scores": [[sample.name, not sample.is_good, float(score)] for sample, score in scores],
    }


def main() -> None:
    """Run the trial of this name; what a user can mend is left in the trial's error.txt, exit code 1."""
    out, name = Path(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    settings = read_record(ExperimentSettings, out / "settings.json", "Start the experiment again.")
    (trial,) = (one for one in trials(settings) if one.name == name)
    try:
        run_trial(settings, trial, out)
    except EdgeLeatherError as error:
        write_atomically(trial_folder(out, trial) / ERROR_FILE, str(error).encode())
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
