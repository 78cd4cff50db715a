"""`edgeleather teach`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from edgeleather.cli.calibrate import calibrate_and_report
from edgeleather.cli.options import (
    TrainingChoices,
    absolute_path,
    as_json_option,
    dataset_argument,
    false_alarm_rate_option,
    force_option,
    print_json,
    training_options,
)
from edgeleather.cli.train import require_train_extra, train_run


@click.command(epilog="Example: edgeleather teach photos --method memory-bank --out bundle")
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
@as_json_option
def teach(
    dataset: Path,
    out: Path,
    report: Path | None,
    false_alarm_rate: float | None,
    force: bool,
    as_json: bool,
    training: TrainingChoices,
) -> None:
    """Train, export, calibrate to INT8 and benchmark in one go: from the good pictures of DATASET to a bundle and a report.

    Without a test set there is no benchmark, and the bundle says nothing about hits.
    """
    result = teach_bundle(dataset, out, report, false_alarm_rate, force, training, quiet=as_json)
    if as_json:
        print_json(result)


def teach_bundle(
    dataset: Path,
    out: Path,
    report: Path | None,
    false_alarm_rate: float | None,
    force: bool,
    training: TrainingChoices,
    quiet: bool,
) -> dict[str, Any]:
    """What `teach` and `demo` share. Returns the report, without rows where there is no test set.

    With `quiet` what is said goes to standard error.
    """
    require_train_extra()
    from edgeleather.benchmarks.report import benchmark_bundles, markdown
    from edgeleather.bundle.bundle import check_bundle_target
    from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
    from edgeleather.calibration.calibrating import CalibrationSettings
    from edgeleather.calibration.guard import BudgetError
    from edgeleather.dataset.reading import read_dataset
    from edgeleather.export.bundling import export_run

    check_bundle_target(out, force)
    # Beside the bundle until it is done: the same command goes on with an interrupted training.
    run_folder = out.with_name(f".{out.name}.run")
    train_run(dataset, training, run_folder)
    bundle = export_run(run_folder, out, dataset, false_alarm_rate or DEFAULT_FALSE_ALARM_RATE, overwrite=force)
    shutil.rmtree(run_folder)
    click.echo(f"Bundle {out}. Verdict: {bundle.manifest.thresholds[0].describe()}.", err=quiet)
    try:
        calibrate_and_report(out, dataset, CalibrationSettings(), quiet)
    except BudgetError as error:
        click.echo(f"The bundle stays in fp32. {error}", err=True)
    if not read_dataset(dataset, needs="any").test:
        click.echo("No test set, so no benchmark: hits and false alarms of this bundle are unmeasured.", err=quiet)
        return {"bundle": str(out), "rows": []}
    report_folder = report or out.with_name(f"{out.name}-report")
    result = benchmark_bundles([out], dataset, report_folder)
    click.echo(markdown(result), err=quiet)
    click.echo(f"Report {report_folder}/report.md", err=quiet)
    return result
