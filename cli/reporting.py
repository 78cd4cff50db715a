"""What `inspect` and `station run` share: signals, lines per frame, the summary and the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import click

from edgeleather.cli.endings import ending_signals
from edgeleather.cli.options import print_json
from edgeleather.events.stop import Stop
from edgeleather.events.writers import (
    DefectPicturesWriter,
    InspectionWriter,
    JsonLinesWriter,
    QueuedWriter,
    TerminalWriter,
)
from edgeleather.station.loop import Counts
from edgeleather.station.running import Summary

_REPORT_SECONDS = 2.0


class LocalWriters:
    """What a run writes on this machine; `opened` after the run, for what they lost."""

    def __init__(self, quiet: bool, as_json: bool, jsonl: Path | None = None, save_defects: Path | None = None) -> None:
        self.opened = list[QueuedWriter]()
        self._quiet, self._as_json, self._jsonl, self._save_defects = quiet, as_json, jsonl, save_defects

    def open(self) -> list[QueuedWriter]:
        """Open them.

        Raises:
            EdgeLeatherError: a file or folder cannot be written.
        """
        stream = sys.stderr if self._as_json else sys.stdout
        chosen: list[InspectionWriter] = [] if self._quiet or stream is None else [TerminalWriter(stream)]
        chosen += [JsonLinesWriter(self._jsonl)] if self._jsonl else []
        chosen += [DefectPicturesWriter(self._save_defects)] if self._save_defects else []
        self.opened = [QueuedWriter(writer) for writer in chosen]
        return self.opened


def report_and_exit(
    summary: Summary, writers: list[QueuedWriter], stop: Stop, as_json: bool, fail_on_defect: bool = False
) -> None:
    """Print the summary; then the exit code, where that is not 0."""
    with _leaving_soon(stop.is_set()):
        report(summary, writers, as_json)
        if any(writer.stuck for writer in writers):
            os._exit(1)
    unwritten = any(writer.first_error for writer in writers) or summary.unrecorded
    if summary.source_error or unwritten or not (summary.inferred or summary.stopped_by_signal):
        raise SystemExit(1)
    if fail_on_defect and (summary.defects or summary.unfamiliar):
        raise SystemExit(3)


def report(summary: Summary, writers: list[QueuedWriter], as_json: bool) -> None:
    """Print the summary on standard output, and what went wrong on standard error."""
    for line in _troubles(summary, writers):
        click.echo(line, err=True)
    if as_json:
        print_json(_as_json(summary, writers))
        return
    for article, tiles, verdict in summary.verdicts:
        what = f"{article}: " if article else ""
        click.echo(
            f"{what}{summary.precision} verdict for frames of {tiles} image{'s' * (tiles > 1)}: {verdict.describe()}"
        )
    click.echo(summary.describe())


def _troubles(summary: Summary, writers: list[QueuedWriter]) -> Iterator[str]:
    if summary.source_error:
        yield f"Error: {summary.source_error}"
    elif not summary.inferred and not summary.stopped_by_signal:
        reason = f" The first failed with: {summary.first_failure}" if summary.first_failure else ""
        yield f"Error: no frame of this source could be inspected.{reason}"
    for writer in writers:
        if writer.first_error:
            yield f"Error: {writer.lost} records were not kept by {writer.name}: {writer.first_error}"
    if summary.unrecorded:
        yield f"Error: {summary.unrecorded} verdicts were not recorded in the store."
    if summary.pictures_skipped:
        reason = summary.pictures_error or "defects came faster than pictures are kept."
        yield f"{summary.pictures_skipped} pictures of defects were not kept: {reason}"


def _as_json(summary: Summary, writers: list[QueuedWriter]) -> dict[str, Any]:
    counts = {name: getattr(summary, name) for name in Counts.__dataclass_fields__}
    named: dict[str, Any] = {"precision": summary.precision, "graph": summary.graph, "backend": summary.backend}
    if summary.pictures_kept is not None:
        named |= {"pictures_kept": summary.pictures_kept, "pictures_skipped": summary.pictures_skipped}
    unwritten = {writer.name: writer.lost for writer in writers if writer.lost}
    verdicts = [
        {"article": article, "tiles_per_frame": tiles} | vars(verdict) for article, tiles, verdict in summary.verdicts
    ]
    return counts | named | {"unwritten": unwritten, "verdicts": verdicts}


@contextlib.contextmanager
def _leaving_soon(is_stopping: bool) -> Iterator[None]:
    """Two seconds for the block, then out: what held a writer may hold standard output or error too."""
    if not is_stopping:
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.setitimer(signal.ITIMER_REAL, _REPORT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP set the event, so that the loop ends after the frame in hand and everything is written.

    A second one ends it at once: a disk or pipe that never answers must not hold the process.
    """
    handled = 0

    def on_signal(*_: object) -> None:
        nonlocal handled
        handled += 1
        if handled > 1:
            raise KeyboardInterrupt
        stop.set()

    def on_byte(count: int) -> None:
        stop.set()
        if count > 1:
            time.sleep(_REPORT_SECONDS)
            if handled < 2:  # Python's handlers wait for the main thread, which is inside a library
                os._exit(1)

    numbers = ending_signals()
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        with _heard_at_once(numbers, on_byte):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _heard_at_once(numbers: Collection[int], on_signal: Callable[[int], None]) -> Iterator[None]:
    """A thread that hears of these signals while the main thread is inside a library; it is told how many there were."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def listen() -> None:
        count = 0
        while number := os.read(reading, 1):
            if number[0] in numbers:
                count += 1
                on_signal(count)
        os.close(reading)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def end_process() -> None:
    """End a process whose engine does not come back, with exit code 1; what was to be written is written."""
    late = threading.Timer(_REPORT_SECONDS, os._exit, (1,))  # who reads standard error may not read
    late.daemon = True
    late.start()
    click.echo("Error: the engine did not come back from a frame, so the process ended without its verdict.", err=True)
    os._exit(1)
