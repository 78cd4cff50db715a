"""`edgeleather teach`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeleather.cli.calibrate import print_calibration
from edgeleather.cli.options import (
    absolute_path,
    as_json_option,
    dataset_argument,
    false_alarm_rate_option,
    force_option,
    print_json,
)
from edgeleather.cli.training_options import TrainingCommand, training_options
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.training.choices import TrainingChoices, require_train_extra

if TYPE_CHECKING:
    from edgeleather.export.teaching import Lesson


@click.command(cls=TrainingCommand, epilog="Example: edgeleather teach photos --method memory-bank --out bundle")
@dataset_argument
@training_options
@false_alarm_rate_option
@click.option(
    "--out", type=click.Path(path_type=Path), callback=absolute_path, required=True, help="The bundle's folder."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=None,
    help="Folder for the benchmark's report.  [default: OUT-report]",
)
@force_option
@click.option(
    "--add",
    is_flag=True,
    help="Teach the bundle at --out the articles of DATASET that it does not know yet; the others stay as they are.",
)
@as_json_option
def teach(
    dataset: Path,
    out: Path,
    report: Path | None,
    false_alarm_rate: float | None,
    force: bool,
    add: bool,
    as_json: bool,
    training: TrainingChoices,
) -> None:
    """Train, export, calibrate to INT8 and benchmark in one go: from the good pictures of DATASET to a bundle and a report.

    Subfolders of the good pictures are articles: the bundle knows all of them, and recognises a frame's.
    Interrupted, the same command goes on.
    Without a test set there is no benchmark, and the bundle says nothing about hits.
    """
    require_train_extra()
    from edgeleather.benchmarks.report import require_report_folder
    from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
    from edgeleather.export.teaching import add_articles
    from edgeleather.export.teaching import teach as teach_bundle

    if add and force:
        raise click.UsageError("--add keeps what the bundle knows, --force replaces it: give one of them.")
    rate = false_alarm_rate or DEFAULT_FALSE_ALARM_RATE
    report = report or out.parent / f"{out.name}-report"
    if report.is_relative_to(out):
        raise EdgeLeatherError(f"a bundle holds its own files only: expected a --report outside {out}, got {report}.")

    def tell(lesson: Lesson) -> None:
        print_lesson(lesson, quiet=as_json)
        keep_suspects(lesson, report, quiet=as_json)
        result = report_on(lesson, report, quiet=as_json)
        if as_json:
            print_json(result)

    if (dataset / "test").is_dir():
        require_report_folder(report, dataset)
    try:
        if add:
            add_articles(dataset, out, training, false_alarm_rate=rate, then=tell)
        else:
            teach_bundle(dataset, out, training, false_alarm_rate=rate, overwrite=force, then=tell)
    finally:
        with contextlib.suppress(OSError):
            report.rmdir()  # where nothing came of it


def print_lesson(lesson: Lesson, quiet: bool) -> None:
    """What teaching came to; with `quiet` on standard error."""
    from edgeleather.calibration.calibrating import CalibrationSettings

    for article, taught in lesson.articles.items():
        what = f"Article {article}: bundle" if article else "Bundle"
        verdict = taught.bundle.manifest.thresholds[0].describe()
        click.echo(printable(f"{what} {taught.bundle.folder}. Verdict: {verdict}."), err=quiet)
        if taught.calibrated is not None:
            print_calibration(taught.calibrated, CalibrationSettings(), quiet)
        elif taught.refused is not None:
            click.echo(f"This bundle stays in fp32. {taught.refused}", err=True)
    if len(lesson.articles) > 1:
        click.echo(f"Bundle {lesson.folder} of {len(lesson.articles)} articles.", err=quiet)


def keep_suspects(lesson: Lesson, folder: Path, quiet: bool) -> None:
    """Leave the list and the sheet of suspects beside the report, and say so."""
    from edgeleather.bundle.manifest import describe_suspects
    from edgeleather.files import write_atomically

    if not lesson.suspect_files:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in lesson.suspect_files.items():
        write_atomically(folder / name, content)
    for article, taught in lesson.articles.items():
        if told := describe_suspects(taught.bundle.manifest.suspects):
            click.echo(printable(f"{article}: {told}." if article else f"{told}."), err=quiet)
    sheets = ", ".join(str(folder / name) for name in lesson.suspect_files if name.endswith(".jpg"))
    click.echo(f"Look at {sheets}; edit {folder / 'suspects.csv'} and give it back with --suspects.", err=quiet)


def report_on(lesson: Lesson, folder: Path, quiet: bool) -> dict[str, Any]:
    """Benchmark what was taught on the test set and print the report; returns it, without rows where there is no test set."""
    from edgeleather.benchmarks.report import benchmark_bundles, markdown
    from edgeleather.bundle.articles import read_articles

    articles = {*lesson.articles, *(name for name in read_articles(lesson.folder) if name)}
    if not any(lesson.dataset.of_article(article).test for article in articles):
        click.echo("No test set, so no benchmark: hits and false alarms of this bundle are unmeasured.", err=quiet)
        return {"bundle": str(lesson.folder), "rows": []}
    result = benchmark_bundles([lesson.folder], lesson.dataset, folder)
    click.echo(markdown(result), err=quiet)
    click.echo(f"Report {folder}/report.md", err=quiet)
    return result
