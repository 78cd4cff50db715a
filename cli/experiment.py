"""`edgeleather experiment`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import absolute_path, as_json_option, print_json, seed_option
from edgeleather.engines.engine import PRECISIONS
from edgeleather.machine import usable_cores
from edgeleather.methods.table import METHODS
from edgeleather.training.choices import require_train_extra


def words(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Callback for a list with commas: its different words, in their order."""
    found = tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
    allowed = {"methods": tuple(METHODS), "precisions": PRECISIONS, "experiments": ("1", "2", "3")}[str(param.name)]
    wrong = [word for word in found if word not in allowed]
    if wrong or not found:
        raise click.BadParameter(
            f"expected some of {', '.join(allowed)}, with commas between them, got {value!r}.", ctx, param
        )
    return found


@click.command(
    epilog="Example: edgeleather experiment --first mvtec_leather --second neadvance --budget quick --out experiment"
)
@click.option(
    "--first",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="A data set; the paper's MVTec.",
)
@click.option(
    "--second", type=click.Path(path_type=Path), callback=absolute_path, required=True, help="Another; its Neadvance."
)
@click.option(
    "--methods", default=",".join(METHODS), show_default=True, callback=words, help="With commas between them."
)
@click.option(
    "--experiments",
    default="1,2,3",
    show_default=True,
    callback=words,
    help="1: each leather on its own; 2: trained on one, tested on the other; 3: trained on both.",
)
@click.option(
    "--precision",
    "precisions",
    default="fp32",
    show_default=True,
    callback=words,
    help="fp32, fp16, int8, with commas.",
)
@click.option("--preset", type=click.Choice(["edge", "paper"]), default="edge", show_default=True)
@click.option(
    "--budget",
    type=click.Choice(["quick", "full"]),
    default="full",
    show_default=True,
    help="Epochs: the preset's, or few, for a first look.",
)
@click.option("--backbone", default=None, help="efficientnet-lite0 or resnet18  [default: the preset's]")
@click.option("--weights", default="imagenet", show_default=True, help="Of the backbone: imagenet, random, or a file.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Trials at once; they share the cores."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="Folder; the same command goes on in it.",
)
@seed_option
@as_json_option
def experiment(
    first: Path,
    second: Path,
    methods: tuple[str, ...],
    experiments: tuple[str, ...],
    precisions: tuple[str, ...],
    preset: str,
    budget: str,
    backbone: str | None,
    weights: str,
    workers: int,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    """The seed paper's three experiments, tables 2 to 8 and figures 1 to 4, on any two leathers.

    Leaves index.html, report.md, results.json and the figures. A trial that is done is not done again.
    """
    require_train_extra()
    from edgeleather.benchmarks.experiment.plan import ExperimentSettings
    from edgeleather.benchmarks.experiment.report import run_experiment

    settings = ExperimentSettings(
        first=str(first),
        second=str(second),
        methods=methods,
        experiments=tuple(sorted(int(number) for number in experiments)),
        precisions=precisions,
        preset=preset,
        budget=budget,
        backbone=backbone,
        weights=weights,
        seed=seed,
        threads=max(1, usable_cores() // workers),
    )
    report = run_experiment(settings, out, workers)
    if as_json:
        print_json(report)
        return
    for sentence in report["findings"]:
        click.echo(f"- {sentence}")
    click.echo(f"Look at {out}/index.html (or report.md); every figure is in {out}/results.json.")
