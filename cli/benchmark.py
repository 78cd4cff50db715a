"""`edgeleather benchmark`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgeleather.cli.options import absolute_path, as_json_option, print_json, threads_option, white_level_option


@click.command(epilog="Example: edgeleather benchmark bundle --data photos --out report")
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A dataset; only its test set is needed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    required=True,
    help="Folder for report.json, report.md and raw figures.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Alternating between the engines."
)
@click.option("--repeats", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Images a round.")
@threads_option
@white_level_option
@as_json_option
def benchmark(
    bundles: tuple[Path, ...],
    data: Path,
    out: Path,
    rounds: int,
    repeats: int,
    threads: int | None,
    white_level: int | None,
    as_json: bool,
) -> None:
    """Compare accuracy and speed of each BUNDLE's engines with its full-precision torch original.

    Test pictures that training or a threshold has seen are left out.
    """
    from edgeleather.benchmarks.report import benchmark_bundles, markdown

    absolute = [Path(os.path.abspath(bundle)) for bundle in bundles]  # noqa: PTH100 - `.` has a name then
    report = benchmark_bundles(absolute, data, out, rounds, repeats, threads, white_level)
    if as_json:
        print_json(report)
        return
    click.echo(markdown(report))
    click.echo(f"Written to {out}/report.md and {out}/report.json.")
