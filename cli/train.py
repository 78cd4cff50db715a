"""`edgeleather train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgeleather.cli.options import (
    TrainingChoices,
    absolute_path,
    as_json_option,
    dataset_argument,
    fit_of,
    print_json,
    training_options,
)
from edgeleather.errors import EdgeLeatherError, MissingPartError
from edgeleather.machine import is_installed

if TYPE_CHECKING:
    from edgeleather.training.run import Run


@click.command(epilog="Example: edgeleather train photos --method memory-bank --out run")
@dataset_argument
@training_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="Folder for the run; an interrupted one goes on.",
)
@as_json_option
def train(dataset: Path, training: TrainingChoices, out: Path, as_json: bool) -> None:
    """Train a method on the good pictures of DATASET (MVTec layout, or a folder of good photos)."""
    run = train_run(dataset, training, out)
    best = run.losses[run.best_epoch - 1]
    if as_json:
        print_json({"run": str(out), "best_epoch": run.best_epoch, "validation_loss": best.validation})
        return
    parts = run.splits
    click.echo(
        f"Trained {training.method} on {len(parts.training)} good pictures in {run.training_seconds:.1f} s "
        f"({len(parts.validation)} kept for validation, {len(parts.threshold)} for thresholds, split by {parts.by})."
    )
    click.echo(f"Best epoch {run.best_epoch} of {len(run.losses)}: validation loss {best.validation:.4g}.")
    click.echo(f"Next: edgeleather export {out} --out BUNDLE")


def train_run(dataset: Path, training: TrainingChoices, out: Path) -> Run:
    """Train with a command's options; `teach` and `demo` go this way too."""
    require_train_extra()
    from edgeleather.dataset.reading import read_dataset
    from edgeleather.methods.method import NO_BACKBONE, method_class
    from edgeleather.training.loading import choose_input_mode
    from edgeleather.training.run import TrainingSettings
    from edgeleather.training.training import train as train_method

    preset = method_class(training.method).presets[training.preset]
    backbone = training.backbone or preset.backbone
    if preset.backbone == NO_BACKBONE and backbone != NO_BACKBONE:
        raise EdgeLeatherError(f"{training.method} has no backbone: leave --backbone away.")
    if preset.backbone == NO_BACKBONE and training.weights != "imagenet":
        raise EdgeLeatherError(f"{training.method} has no backbone to fill: leave --weights away.")
    if preset.width is None and training.width is not None:
        raise EdgeLeatherError(f"{training.method} has no networks whose width can be chosen: leave --width away.")
    pictures = read_dataset(dataset, needs="train")
    kind: Literal["resize", "tiles"] = "tiles" if training.input_kind == "tiles" else "resize"
    fit = fit_of(training.fit, training.input_kind) or "exact"
    mode = choose_input_mode(pictures.train_good, kind, training.image_size or preset.longer_side_px, fit)
    settings = TrainingSettings(
        method=training.method,
        preset=training.preset,
        backbone=backbone,
        weights=training.weights if backbone != NO_BACKBONE else "none",
        input_mode=mode,
        epochs=training.epochs or preset.epochs,
        learning_rate=training.learning_rate or preset.learning_rate,
        batch_images=preset.batch_images,
        patience_epochs=training.patience or preset.patience_epochs,
        width=training.width or preset.width,
        textures=str(training.textures) if training.textures else None,
        seed=training.seed,
    )
    return train_method(pictures, settings, out)


def require_train_extra() -> None:
    """Fail in one sentence where torch and its companions are not installed.

    Raises:
        MissingPartError: one of them is missing.
    """
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        if not is_installed(module):
            raise MissingPartError(module, "train")
