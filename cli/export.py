"""`edgeleather export`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import (
    absolute_path,
    as_json_option,
    false_alarm_rate_option,
    force_option,
    print_json,
    white_level_option,
)
from edgeleather.training.choices import require_train_extra


@click.command(epilog="Example: edgeleather export run --out bundle")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), callback=absolute_path, required=True, help="The bundle's folder."
)
@click.option(
    "--data", type=click.Path(path_type=Path), default=None, help="The dataset, where it has moved since training."
)
@white_level_option
@false_alarm_rate_option
@click.option("--without-original", is_flag=True, help="Leave out what only `benchmark` needs.")
@force_option
@as_json_option
def export(
    run: Path,
    out: Path,
    data: Path | None,
    white_level: int | None,
    false_alarm_rate: float | None,
    without_original: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Export the trained RUN to a bundle: ONNX graph, thresholds, golden frames.

    The graph is compared with torch on real pictures; one that differs is refused.
    """
    require_train_extra()
    from edgeleather.bundle.thresholds import DEFAULT_FALSE_ALARM_RATE
    from edgeleather.export.bundling import export_run

    rate = false_alarm_rate or DEFAULT_FALSE_ALARM_RATE
    bundle = export_run(run, out, data, rate, not without_original, force, white_level)
    thresholds = bundle.manifest.thresholds[0]
    if as_json:
        metrics = vars(bundle.manifest.metrics[0])
        print_json({"bundle": str(out), "verdict_threshold": thresholds.verdict.value, "metrics": metrics})
        return
    click.echo(f"Bundle {out}: the graph agrees with torch.")
    click.echo(f"Verdict: {thresholds.describe()}.")
    click.echo(f"Next: edgeleather inspect {out} --source PICTURES")
