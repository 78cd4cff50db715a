"""A tiny data set and bundle, made for real: 64 pixel pictures, the real backbone."""

from __future__ import annotations

import json
from pathlib import Path

from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import manifest_digest
from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset
from edgeleather.files import sha256_of_file
from edgeleather.imaging.preprocess import InputMode

SETTINGS = SynthSettings(size_px=64, train_good=24, test_good=8, defects_per_class=3, seed=3)
MODE = InputMode("resize", (64, 64), 1.0)


def make_dataset(root: Path) -> Path:
    """The tiny data set in a new folder."""
    synthesize_dataset(root, SETTINGS)
    return root


def make_bundle(folder: Path, dataset: Path, mode: InputMode = MODE) -> Bundle:
    """Train memory-bank on the tiny data set, export and calibrate it; needs torch. The run stays beside it as `<name>-run`."""
    from edgeleather.calibration.calibrating import CalibrationSettings, calibrate_bundle
    from edgeleather.calibration.guard import Budget
    from edgeleather.dataset.reading import read_dataset
    from edgeleather.export.bundling import export_run
    from edgeleather.training.training import train

    run_folder = folder.with_name(f"{folder.name}-run")
    train(read_dataset(dataset, needs="train"), settings(input_mode=mode), run_folder)
    export_run(run_folder, folder)
    # Without the guard: so small pictures lie farther from fp32 than real ones.
    return calibrate_bundle(folder, dataset, CalibrationSettings(budget=Budget())).bundle


def spoil_answers(bundle_folder: Path, graph: str) -> None:
    """Make a bundle's recorded answers of a graph those of another one, and its manifest agree with that."""
    golden = bundle_folder / "golden" / f"{graph}.json"
    answers = json.loads(golden.read_text())
    for answer in answers["answers"]:
        answer["score"] += 0.5
    golden.write_text(json.dumps(answers))
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    record = {"sha256": sha256_of_file(golden), "size_bytes": golden.stat().st_size}
    manifest["files"][f"golden/{graph}.json"] = record
    manifest["digest"] = manifest_digest(manifest)
    (bundle_folder / "manifest.json").write_text(json.dumps(manifest))


def write_cut_film(path: Path, kept: float) -> None:
    """An MJPG film of 60 frames of noise, of whose bytes only this share is left."""
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for seed in range(60):
        writer.write(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * kept)])


def settings(**changes: object):  # type: ignore[no-untyped-def]
    """The training settings of the tiny bundle, with some changed."""
    from edgeleather.training.run import TrainingSettings

    chosen: dict[str, object] = {
        "method": "memory-bank",
        "preset": "edge",
        "batch_images": 8,
        "backbone": "efficientnet-lite0",
        "weights": "imagenet",
        "input_mode": MODE,
        "epochs": 1,
        "learning_rate": 0.0,
        "patience_epochs": 5,
        "suspects": "keep",
        "article": "",
        "own": {},
        "seed": 0,
    }
    return TrainingSettings(**{**chosen, **changes})  # type: ignore[arg-type]
