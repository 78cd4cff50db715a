"""`edgeleather station`: run an inspection place from its file, or check that file."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from edgeleather.cli.inspect import Says, local_sinks, open_inspector, run_and_report, stop_on_signals
from edgeleather.cli.options import as_json_option, print_json
from edgeleather.events.local_sinks import Stop
from edgeleather.inspection.inspector import Inspector
from edgeleather.sources.credentials import Credentials, without_credentials
from edgeleather.sources.live import live_address
from edgeleather.station.station import Station, inspector_settings, open_station, open_station_source, read_station

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
    read = read_station(file)
    folder = file.absolute().parent
    credentials = Credentials(folder)
    if read.source.is_live:
        live_address(credentials.fill(read.source.address, encoded=True))
    else:
        open_station_source(read, folder, credentials, Stop(), lambda state, detail: None)
    sinks = read.sink_settings()
    for name, settings in sinks.items():
        with contextlib.closing(settings.open(credentials, folder, name)):
            pass
    with contextlib.closing(_inspector(read, folder)) as inspector:
        verdict = inspector.thresholds.describe()
        summary = {
            "station": read.name,
            "article": read.article,
            "source": without_credentials(read.source.address) if "://" in read.source.address else read.source.address,
            "bundle": read.bundle,
            "precision": inspector.precision,
            "backend": inspector.engine.signature.backend,
            "verdict": verdict,
            "alarm": f"{read.alarm.raise_frames} of {read.alarm.of_frames} frames, "
            f"cleared at {read.alarm.clear_frames} or fewer",
            "store": str(folder / read.store.folder),
            "sinks": {name: f"{one.kind}: {', '.join(one.receives)}" for name, one in sinks.items()},
        }
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
@click.option("--quiet", is_flag=True, help="No line a frame.")
@as_json_option
def run(file: Path, quiet: bool, as_json: bool) -> None:
    """Run a station until it is stopped (SIGINT, SIGTERM) or its files end."""
    read = read_station(file)
    folder = file.absolute().parent
    with (
        contextlib.closing(_inspector(read, folder)) as inspector,
        stop_on_signals() as stop,
        contextlib.closing(Says()) as say,
        open_station(read, folder, stop, say, say.state) as opened,
    ):
        sinks = local_sinks(quiet, as_json, None, None)
        run_and_report(opened.frames, inspector, sinks, stop, say, opened.journal, as_json, hide=opened.hide)


def _inspector(read: Station, folder: Path) -> Inspector:
    return open_inspector(folder / read.bundle, inspector_settings(read), is_free=not (read.precision or read.backend))
