"""`edgeleather inspect`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from edgeleather.bundle import for_inspection, read_bundle, without_original
from edgeleather.cli.options import (
    FiniteFloat,
    as_json_option,
    bundle_argument,
    false_alarm_rate_option,
    fit_of,
    fit_options,
    input_option,
    print_json,
    threads_option,
)
from edgeleather.engines.built import read_choice
from edgeleather.engines.engine import ENGINES, PRECISIONS
from edgeleather.runtime.inspector import Inspector, InspectorSettings
from edgeleather.runtime.live import DEFAULT_RECONNECT_SECONDS
from edgeleather.runtime.loop import Summary, run_loop
from edgeleather.runtime.sinks import DefectPicturesSink, JsonLinesSink, QueuedSink, Sink, Stop, TerminalSink
from edgeleather.runtime.sources import open_source


@click.command(
    epilog="Example: edgeleather inspect bundle --source 'photos/*.png' --jsonl out.jsonl --save-defects defects"
)
@bundle_argument
@click.option(
    "--source",
    required=True,
    help="A picture, a folder, a quoted pattern or a video file; or a camera (its number or device) or an RTSP or HTTP "
    "address, of which frames that come too fast are dropped.",
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
    "--precision",
    type=click.Choice(PRECISIONS),
    default=None,
    help="Which of the bundle's graphs.  [default: what build --precision auto chose here, else the bundle's own]",
)
@click.option(
    "--backend",
    type=click.Choice(list(ENGINES)),
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
    "--jsonl", type=click.Path(path_type=Path), default=None, help="Append a JSON object a frame to this file."
)
@click.option(
    "--save-defects",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for an overlay picture a defective frame.",
)
@false_alarm_rate_option
@click.option(
    "--white-level", type=click.IntRange(1, 65535), default=None, help="16-bit pixels: the value that is white."
)
@threads_option
@click.option("--fail-on-defect", is_flag=True, help="Exit with 3 if a frame was defective.")
@click.option("--quiet", is_flag=True, help="No line a frame.")
@as_json_option
def inspect(
    bundle: Path,
    source: str,
    reconnect_for: float,
    precision: str | None,
    backend: str | None,
    trust_engine: Path | None,
    input_kind: str | None,
    fit: str | None,
    jsonl: Path | None,
    save_defects: Path | None,
    false_alarm_rate: float | None,
    white_level: int | None,
    threads: int | None,
    fail_on_defect: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Inspect every frame of a source with BUNDLE; each gets a verdict: good, defect or failed.

    Exit code 1 if nothing could be inferred, the source ended abnormally or a record could not be written.
    """
    if trust_engine and (precision or backend):
        raise click.UsageError("--trust-engine says by itself which precision and backend it is of.")
    choice = None if precision or backend or trust_engine else read_choice(read_bundle(bundle, lambda _: ()))
    precision, backend = (choice.precision, choice.backend) if choice else (precision, backend or "onnxruntime")
    settings = InspectorSettings(
        precision=precision,
        backend=backend,
        trusted_engine=trust_engine,
        input_kind=input_kind,
        fit=fit_of(fit, input_kind),
        white_level=white_level,
        false_alarm_rate=false_alarm_rate,
        threads=threads,
    )
    inspector = Inspector(
        read_bundle(bundle, without_original if trust_engine else for_inspection(precision, backend)), settings
    )
    with contextlib.closing(inspector), stop_on_signals() as stop:
        frames = open_source(source, stop, reconnect_for, lambda *state: click.echo(": ".join(state), err=True))
        stream = sys.stderr if as_json else sys.stdout
        chosen: list[Sink] = [] if quiet or stream is None else [TerminalSink(stream)]
        chosen += [JsonLinesSink(jsonl)] if jsonl else []
        chosen += [DefectPicturesSink(save_defects)] if save_defects else []
        sinks = [QueuedSink(sink) for sink in chosen]
        summary = run_loop(frames, inspector, sinks, stop)
    if any(sink.stuck for sink in sinks):
        # What held the sink may hold standard output or its lock too: two seconds for the summary, then out.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, 2)
        report(summary, sinks, inspector, as_json)
        os._exit(1)
    report(summary, sinks, inspector, as_json)
    unwritten = any(sink.first_error for sink in sinks)
    if summary.source_error or not summary.inferred or unwritten:
        raise SystemExit(1)
    if fail_on_defect and summary.defects:
        raise SystemExit(3)


def report(summary: Summary, sinks: list[QueuedSink], inspector: Inspector, as_json: bool) -> None:
    """The summary on standard output, what went wrong on standard error."""
    if summary.source_error:
        click.echo(f"Error: {summary.source_error}", err=True)
    elif not summary.inferred and not summary.stopped_by_signal:
        reason = f" The first failed with: {summary.first_failure}" if summary.first_failure else ""
        click.echo(f"Error: no frame of this source could be inspected.{reason}", err=True)
    for sink in sinks:
        if sink.first_error:
            click.echo(f"Error: {sink.lost} records were not kept by {sink.name}: {sink.first_error}", err=True)
    if as_json:
        unwritten = {sink.name: sink.lost for sink in sinks if sink.lost}
        verdicts = [{"tiles_per_frame": tiles} | vars(verdict) for tiles, verdict in inspector.verdicts.items()]
        named = {
            "precision": inspector.precision,
            "graph": inspector.graph,
            "backend": inspector.engine.signature.backend,
        }
        print_json(vars(summary) | named | {"unwritten": unwritten, "verdicts": verdicts})
        return
    for tiles, verdict in inspector.verdicts.items():
        click.echo(
            f"{inspector.precision} verdict for frames of {tiles} image{'s' * (tiles > 1)}: {verdict.describe()}"
        )
    click.echo(
        f"{summary.captured} captured = {summary.inferred} inferred + {summary.dropped} dropped + {summary.failed} failed; "
        f"{summary.defects} with defects; {summary.fps:.1f} frames a second"
        + ("; stopped by a signal" if summary.stopped_by_signal else "")
    )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM set the event, so that the loop ends after the frame in hand and everything is written.

    A second one ends it at once: a disk or pipe that never answers must not hold the process.
    """
    stop = Stop()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
