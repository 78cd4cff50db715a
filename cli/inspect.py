"""`edgeleather inspect`."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgeleather.bundle.bundle import read_bundle, without_original
from edgeleather.cli.options import (
    FiniteFloat,
    absolute_path,
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
from edgeleather.engines.engine import PRECISIONS
from edgeleather.engines.graphs import for_inspection
from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND
from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.local_sinks import DefectPicturesSink, JsonLinesSink, QueuedSink, Sink, Stop, TerminalSink
from edgeleather.events.store_lock import only_writer
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.sources.files import open_source
from edgeleather.sources.frame import FrameSource
from edgeleather.sources.live import DEFAULT_RECONNECT_SECONDS, DEFAULT_STALL_SECONDS, Patience, State
from edgeleather.sources.watched import WatchFrom
from edgeleather.station.loop import Summary, run_loop

_MOST_LINES = 200


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
    default=DEFAULT_STALL_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="When a camera or stream that is connected but silent counts as lost.",
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
    "--jsonl", type=click.Path(path_type=Path), default=None, help="Append a JSON object a frame to this file."
)
@click.option(
    "--save-defects",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for an overlay picture a defective frame.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    callback=absolute_path,
    default=None,
    help="Folder of the local store: a row a verdict, and pictures of defects. Read it with: edgeleather events",
)
@click.option("--article", default=None, help="What is inspected; the store keeps it with every row.")
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
    stall_after: float,
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
    if article and not store:
        raise click.UsageError("--article is what --store records.")
    settings = InspectorSettings(
        precision=precision,
        backend=backend or REFERENCE_BACKEND,
        trusted_engine=trust_engine,
        input_kind=input_kind,
        fit=fit_of(fit, input_kind),
        white_level=white_level,
        false_alarm_rate=false_alarm_rate,
        threads=threads,
    )
    inspector = open_inspector(bundle, settings, is_free=not (precision or backend or trust_engine))
    with (
        contextlib.closing(inspector),
        stop_on_signals() as stop,
        contextlib.closing(Says()) as say,
        opened_journal(store, article, stop, say) as journal,
    ):
        patience = Patience(reconnect_for, stall_after)
        frames = open_source(source, stop, patience, say.state, watch)
        sinks = local_sinks(quiet, as_json, jsonl, save_defects)
        run_and_report(frames, inspector, sinks, stop, say, journal, as_json, fail_on_defect)


def open_inspector(bundle: Path, settings: InspectorSettings, is_free: bool) -> Inspector:
    """The inspector of a bundle; `is_free` leaves precision and backend to what `build --precision auto` chose here."""
    choice = read_choice(read_bundle(bundle, lambda _: ())) if is_free else None
    if choice:
        settings = replace(settings, precision=choice.precision, backend=choice.backend)
    files = without_original if settings.trusted_engine else for_inspection(settings.precision, settings.backend)
    return Inspector(read_bundle(bundle, files), settings)


@contextlib.contextmanager
def opened_journal(store: Path | None, article: str | None, stop: Stop, say: Says) -> Iterator[Journal | None]:
    """The journal of `--store`, without sinks."""
    if store is None:
        yield None
        return
    with only_writer(store):
        settings = StoreSettings(folder=str(store))
        journal = Journal(store, settings, AlarmRules(), "inspect", article, tell=say)
        try:
            yield journal
        finally:
            journal.close(stop)


class Says:
    """Lines on standard error from any thread, written by one of its own: a terminal that is held up holds up nothing else."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
        self._thread = threading.Thread(target=self._work, name="standard error", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        with contextlib.suppress(queue.Full):  # nobody has read the ones before
            self._lines.put_nowait(line)

    def state(self, state: State, detail: str) -> None:
        """A live source's state."""
        self(f"{state}: {detail}")

    def close(self) -> None:
        """Write what waits, for a second at most."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(1.0)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):  # who read them is gone
                click.echo(line, err=True)


def local_sinks(quiet: bool, as_json: bool, jsonl: Path | None, save_defects: Path | None) -> list[QueuedSink]:
    """What a run writes on this machine."""
    stream = sys.stderr if as_json else sys.stdout
    chosen: list[Sink] = [] if quiet or stream is None else [TerminalSink(stream)]
    chosen += [JsonLinesSink(jsonl)] if jsonl else []
    chosen += [DefectPicturesSink(save_defects)] if save_defects else []
    return [QueuedSink(sink) for sink in chosen]


def run_and_report(
    frames: FrameSource,
    inspector: Inspector,
    sinks: list[QueuedSink],
    stop: Stop,
    say: Says,
    journal: Journal | None,
    as_json: bool,
    fail_on_defect: bool = False,
    hide: Callable[[str], str] = lambda text: text,
) -> None:
    """The loop, then its summary and exit code; `hide` takes secrets out of what is shown."""
    summary = run_loop(frames, inspector, sinks, stop, journal)
    say.close()
    summary.source_error = summary.source_error and hide(summary.source_error)
    if stop.is_set():
        # What held a sink may hold standard output or error too: two seconds for the summary, then out.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, 2)
    report(summary, sinks, inspector, journal, as_json)
    if any(sink.stuck for sink in sinks):
        os._exit(1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    unwritten = any(sink.first_error for sink in sinks) or summary.unrecorded
    if summary.source_error or unwritten or not (summary.inferred or summary.stopped_by_signal):
        raise SystemExit(1)
    if fail_on_defect and summary.defects:
        raise SystemExit(3)


def report(
    summary: Summary, sinks: list[QueuedSink], inspector: Inspector, journal: Journal | None, as_json: bool
) -> None:
    """The summary on standard output, what went wrong on standard error."""
    if summary.source_error:
        click.echo(f"Error: {summary.source_error}", err=True)
    elif not summary.inferred and not summary.stopped_by_signal:
        reason = f" The first failed with: {summary.first_failure}" if summary.first_failure else ""
        click.echo(f"Error: no frame of this source could be inspected.{reason}", err=True)
    for sink in sinks:
        if sink.first_error:
            click.echo(f"Error: {sink.lost} records were not kept by {sink.name}: {sink.first_error}", err=True)
    if summary.unrecorded:
        click.echo(f"Error: {summary.unrecorded} verdicts were not recorded in the store.", err=True)
    pictures = journal.pictures if journal else None
    if pictures and pictures.skipped:
        reason = pictures.first_error or "defects came faster than pictures are kept."
        click.echo(f"{pictures.skipped} pictures of defects were not kept: {reason}", err=True)
    if as_json:
        unwritten = {sink.name: sink.lost for sink in sinks if sink.lost}
        verdicts = [{"tiles_per_frame": tiles} | vars(verdict) for tiles, verdict in inspector.verdicts.items()]
        named: dict[str, Any] = {
            "precision": inspector.precision,
            "graph": inspector.graph,
            "backend": inspector.engine.signature.backend,
        }
        if pictures:
            named |= {"pictures_kept": pictures.kept, "pictures_skipped": pictures.skipped}
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
