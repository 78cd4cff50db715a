"""`edgeleather inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeleather.cli.options import (
    FiniteFloat,
    absolute_path,
    as_json_option,
    bundle_argument,
    false_alarm_rate_option,
    fit_of,
    fit_options,
    input_option,
    threads_option,
    white_level_option,
)
from edgeleather.cli.reporting import LocalWriters, end_process, report_and_exit, stop_on_signals
from edgeleather.engines.engine import PRECISIONS
from edgeleather.engines.table import BACKENDS
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.journal import StoreSettings
from edgeleather.events.recording import RecordingSettings
from edgeleather.events.stop import Stop
from edgeleather.imaging.images import MAX_MEGAPIXELS
from edgeleather.inspection.inspector import InspectorSettings
from edgeleather.sources.address import parse_address
from edgeleather.sources.patience import DEFAULT_RECONNECT_SECONDS, DEFAULT_STILL_SECONDS, Patience
from edgeleather.sources.watched import WatchFrom
from edgeleather.station.running import RunSettings, inspect_source


@click.command(
    epilog="Example: edgeleather inspect bundle --source 'photos/*.png' --jsonl out.jsonl --save-defects defects"
)
@bundle_argument
@click.option(
    "--source",
    required=True,
    help="A picture, a folder, a quoted pattern or a video file; or a camera (its number or device), an RTSP or HTTP "
    "address or gstreamer:PIPELINE, of which frames that come too fast are dropped.",
)
@click.option(
    "--reconnect-for",
    type=FiniteFloat(0),
    default=DEFAULT_RECONNECT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long a camera or stream that was lost is looked for.",
)
@click.option(
    "--stall-after",
    type=FiniteFloat(0.1),
    default=None,
    metavar="SECONDS",
    help="When a camera or stream that is connected but silent counts as lost.  [default: 5; a watched folder may be silent]",
)
@click.option(
    "--still-after",
    type=FiniteFloat(0),
    default=DEFAULT_STILL_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="When a camera or stream that gives the same frame again and again counts as frozen; 0: never.",
)
@click.option(
    "--watch",
    type=click.Choice(["new", "all"]),
    default=None,
    help="Go on with the pictures that come into the folder: new ones only, or all that are there first.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=None,
    help="Which of the bundle's graphs.  [default: what build --precision auto chose here, else the bundle's own]",
)
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default=None,
    help="What runs the engine.  [default: what build --precision auto chose here, else onnxruntime]",
)
@click.option(
    "--trust-engine",
    type=click.Path(path_type=Path),
    default=None,
    help="Run this engine file, which was built elsewhere. It is code: only from whom you trust.",
)
@input_option
@fit_options
@click.option(
    "--jsonl", type=click.Path(path_type=Path), default=None, help="Append one JSON object per frame to this file."
)
@click.option(
    "--save-defects",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for an overlay picture of each frame that is defective or unfamiliar.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=None,
    help="Folder of the local store: one row per verdict, and pictures of defects. Read it with: edgeleather events",
)
@click.option(
    "--article",
    default=None,
    help="What is inspected: one of the articles that the bundle knows, or any name for a bundle whose article has none. It "
    "stands in every record.  [default: recognised frame by frame]",
)
@false_alarm_rate_option
@white_level_option
@click.option(
    "--max-megapixels",
    type=FiniteFloat(0.001, 1000),
    default=MAX_MEGAPIXELS,
    show_default=True,
    help="Larger picture files fail before they are decoded.",
)
@threads_option
@click.option("--fail-on-defect", is_flag=True, help="Exit with 3 if a frame was defective or unfamiliar.")
@click.option("--quiet", is_flag=True, help="No line per frame.")
@as_json_option
def inspect(
    bundle: Path,
    source: str,
    reconnect_for: float,
    stall_after: float | None,
    still_after: float,
    watch: WatchFrom | None,
    precision: str | None,
    backend: str | None,
    trust_engine: Path | None,
    input_kind: str | None,
    fit: str | None,
    jsonl: Path | None,
    save_defects: Path | None,
    store: Path | None,
    article: str | None,
    false_alarm_rate: float | None,
    white_level: int | None,
    max_megapixels: float,
    threads: int | None,
    fail_on_defect: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Inspect every frame of a source with BUNDLE; each gets a verdict: good, defect, unfamiliar or failed.

    Exit code 1 if nothing could be inferred, the source ended abnormally or a record could not be written.
    """
    if trust_engine and (precision or backend):
        raise click.UsageError("--trust-engine says by itself which precision and backend it is of.")
    settings = InspectorSettings(
        precision=precision,
        backend=backend,
        trusted_engine=trust_engine,
        input_kind=input_kind,
        fit=fit_of(fit, input_kind),
        white_level=white_level,
        false_alarm_rate=false_alarm_rate,
        threads=threads,
        article=article,
    )
    try:
        recording = RecordingSettings(store, "inspect", article, StoreSettings(str(store))) if store else None
        address = parse_address(source)
    except ValueError as error:
        raise EdgeLeatherError(f"{error}.") from error
    patience = Patience(reconnect_for, stall_after, still_seconds=still_after)
    chosen = RunSettings(bundle, address, settings, patience, watch, recording, max_megapixels)
    writers, stop = LocalWriters(quiet, as_json, jsonl, save_defects), Stop()
    with stop_on_signals(stop):
        summary = inspect_source(chosen, writers.open, stop, end_process=end_process)
        report_and_exit(summary, writers.opened, stop, as_json, fail_on_defect)
