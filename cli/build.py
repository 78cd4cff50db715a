"""`edgeleather build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeleather.cli.options import as_json_option, backend_option, bundle_argument, print_json, threads_option
from edgeleather.engines.engine import PRECISIONS, BuildSettings

if TYPE_CHECKING:
    from edgeleather.export.building import BuildResult


@click.command(
    epilog="Example: edgeleather build bundle --backend tensorrt-rtx --precision fp16 --target 8.6 --target 8.9"
)
@bundle_argument
@backend_option
@click.option(
    "--precision",
    type=click.Choice([*PRECISIONS, "auto"]),
    default=None,
    help="Which of the bundle's graphs; auto builds and times all of them, and inspect then takes the fastest.  "
    "[default: the bundle's own]",
)
@click.option(
    "--batch",
    nargs=3,
    type=click.IntRange(1, 1024),
    default=(1, 1, 8),
    show_default=True,
    metavar="MIN OPT MAX",
    help="TensorRT: images at once, least, usual and greatest.",
)
@click.option(
    "--workspace-mib",
    type=click.IntRange(1, 1 << 20),
    default=None,
    help="TensorRT: most memory that a layer may take.  [default: 1024]",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="X.Y",
    help="tensorrt-rtx: a compute capability to build for; can be repeated.  [default: 8.0 and later]",
)
@threads_option
@as_json_option
def build(
    bundle: Path,
    backend: str,
    precision: str | None,
    batch: tuple[int, int, int],
    workspace_mib: int | None,
    targets: tuple[str, ...],
    threads: int | None,
    as_json: bool,
) -> None:
    """Build this machine's engine from a graph of BUNDLE and replay all golden frames on it.

    It is kept below the bundle's engines folder with its signature; `inspect` takes it from there. tensorrt-rtx builds without
    a GPU too; such an engine is replayed where it first runs.
    """
    from edgeleather.export import building

    result = building.build(bundle, backend, precision, BuildSettings(batch, workspace_mib, targets, threads))
    if as_json:
        print_json(result.as_json())
        return
    for reason in result.refused:
        click.echo(f"Left out {reason}", err=True)
    if result.choice:
        times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in result.choice.median_ms.items())
        click.echo(f"Fastest here: {result.choice.precision} ({times}). inspect takes it from now on.")
    _print(result)


def _print(result: BuildResult) -> None:
    record, replay = result.record, result.replay
    size_mb = result.file.stat().st_size / 1e6
    click.echo(f"Engine {result.file} ({size_mb:.1f} MB), {record.signature.precision}, for {record.built_for}.")
    for name, value in record.flags.items():
        click.echo(f"  {name}: {value}")
    if record.driver_floor:
        click.echo(f"  GPU driver at least: {record.driver_floor}")
    if result.layers_file:
        click.echo(f"  layer report: {result.layers_file}")
    if replay:
        click.echo(
            f"  {replay.frames} golden frames answered as recorded, at most {100 * replay.worst_deviation:.2g} % off; "
            f"{result.median_ms:.2f} ms per image" + (f" with {record.threads} threads" if record.threads else "")
        )
        starts = ", then ".join(f"{ms:.0f} ms" for ms in result.start_ms)
        click.echo(f"  start, with the first image: {starts}" + (" with its cache" * (len(result.start_ms) > 1)))
    for note in result.notes:
        click.echo(f"  {note}")
