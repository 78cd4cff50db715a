"""`edgeleather station`: run an inspection place from its file, or check that file."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import as_json_option, print_json
from edgeleather.cli.reporting import LocalWriters, end_process, report_and_exit, stop_on_signals
from edgeleather.station.station import Station

station_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group(epilog="Example: edgeleather station check line-3.toml")
def station() -> None:
    """An inspection place that is left running: source, bundle, decisions, store and sinks in one TOML file."""


@station.command(epilog="Example: edgeleather station check line-3.toml")
@station_argument
@as_json_option
def check(file: Path, as_json: bool) -> None:
    """Check a station file and all that it names, but for reaching cameras and receivers.

    Every key, every secret, the bundle with its digests and one golden frame, programs and packages of its sinks.
    """
    summary = Station.read(file).check()
    if as_json:
        print_json(summary)
        return
    for key, value in summary.items():
        if isinstance(value, dict):
            for name, text in value.items():
                click.echo(f"{'sink ' + name:12s} {text}")
        elif value is not None:
            click.echo(f"{key:12s} {value}")
    click.echo(f"{file} is in order; cameras and receivers were not tried.")


@station.command(epilog="Example: edgeleather station run line-3.toml --quiet")
@station_argument
@click.option("--quiet", is_flag=True, help="No line per frame.")
@as_json_option
def run(file: Path, quiet: bool, as_json: bool) -> None:
    """Run a station until it is stopped (SIGINT, SIGTERM, SIGHUP) or its files end."""
    station, writers = Station.read(file), LocalWriters(quiet, as_json)
    with stop_on_signals(station.stop_request):
        summary = station.run(writers.open, end_process)
        report_and_exit(summary, writers.opened, station.stop_request, as_json)
