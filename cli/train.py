"""`edgeleather train`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import absolute_path, as_json_option, dataset_argument, print_json
from edgeleather.cli.training_options import TrainingCommand, training_options
from edgeleather.training.choices import TrainingChoices, train_chosen


@click.command(cls=TrainingCommand, epilog="Example: edgeleather train photos --method memory-bank --out run")
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
    run = train_chosen(dataset, training, out)
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
