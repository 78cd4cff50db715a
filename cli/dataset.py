"""`edgeleather dataset`: check, suspects and synth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from edgeleather.cli.options import (
    absolute_path,
    as_json_option,
    dataset_argument,
    fit_of,
    fit_options,
    input_option,
    print_json,
    seed_option,
    white_level_option,
)
from edgeleather.errors import printable


@click.group()
def dataset() -> None:
    """Check a dataset, judge its good pictures, or make one of synthetic leather."""


@dataset.command(epilog="Example: edgeleather dataset check photos")
@dataset_argument
@input_option
@fit_options
@white_level_option
@as_json_option
def check(
    dataset: Path,
    input_kind: Literal["resize", "tiles"] | None,
    fit: str | None,
    white_level: int | None,
    as_json: bool,
) -> None:
    """List every problem of DATASET by file name, and say what a model will see of its pictures.

    Exit code 1 if there is a problem.
    """
    from edgeleather.dataset.checking import check_dataset
    from edgeleather.training.input_plan import planned_input

    report = check_dataset(dataset, white_level)
    plan = planned_input(report.sizes_hw, input_kind or "resize", fit_of(fit, input_kind) or "exact")
    if as_json:
        print_json(
            asdict(report) | {"input": asdict(plan.mode) if plan else None, "warnings": plan.warnings() if plan else []}
        )
    else:
        for problem in report.problems:
            click.echo(printable(f"{problem.file}: {problem.message}"))
        classes = ", ".join(f"{name} {count}" for name, count in report.test.items()) or "none"
        defects = sum(report.test.values()) - report.test.get("good", 0)
        for sentence in plan.describe() if plan else ():
            click.echo(sentence)
        for article, count in report.articles.items():
            click.echo(printable(f"article {article}: {count} good pictures for training"))
        click.echo(
            f"{report.train_good} good pictures for training; test: {classes}; {report.masks} of {defects} defects with masks; "
            f"{report.groups} photographs; {len(report.problems) or 'no'} problem{'s' * (len(report.problems) != 1)}"
        )
    if report.problems:
        raise SystemExit(1)


@dataset.command(epilog="Example: edgeleather dataset suspects photos --out suspects")
@dataset_argument
@input_option
@fit_options
@white_level_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="Folder for the list (suspects.csv) and the sheet of pictures (suspects.jpg).",
)
@as_json_option
def suspects(
    dataset: Path,
    input_kind: Literal["resize", "tiles"] | None,
    fit: str | None,
    white_level: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Find good pictures of DATASET that may not be good: unlabelled defects, dirt, the only picture of an article.

    Edit the list and give it to `train` or `teach` with --suspects.
    """
    from edgeleather.training.choices import TrainingChoices, judge_good_pictures

    choices = TrainingChoices(input_kind=input_kind, fit=fit_of(fit, input_kind), white_level=white_level)
    found = judge_good_pictures(dataset, choices, out)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(
            printable(f"{one.name}: {one.reason} ({one.part_mads:.1f}, {one.whole_mads:.1f} deviations): {one.use}")
        )
    click.echo(
        f"{len(found) or 'No'} suspect picture{'s' * (len(found) != 1)}"
        + (f"; look at {out / 'suspects.jpg'}" if found else "")
    )


@dataset.command(epilog="Example: edgeleather dataset synth --out synthetic --preset multi-colour")
@click.option("--out", type=click.Path(path_type=Path), callback=absolute_path, required=True, help="A new folder.")
@click.option(
    "--preset", type=click.Choice(["single-colour", "multi-colour"]), default="single-colour", show_default=True
)
@click.option(
    "--size", type=click.IntRange(64, 1024), default=256, show_default=True, help="Side of a picture in pixels."
)
@click.option("--train-good", type=click.IntRange(1, 10_000), default=40, show_default=True)
@click.option("--test-good", type=click.IntRange(0, 10_000), default=12, show_default=True)
@click.option("--defects-per-class", type=click.IntRange(0, 10_000), default=3, show_default=True)
@seed_option
def synth(
    out: Path, preset: str, size: int, train_good: int, test_good: int, defects_per_class: int, seed: int
) -> None:
    """Make a dataset of procedural leather with exact masks; the same options give the same bytes."""
    from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset

    synthesize_dataset(out, SynthSettings(preset, size, train_good, test_good, defects_per_class, seed))
    click.echo(
        f"{out}: {train_good} good pictures for training, {test_good} for testing, {defects_per_class} a defect class"
    )
