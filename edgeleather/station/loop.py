"""The inspection loop."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.entry import Entry
from edgeleather.events.journal import Journal
from edgeleather.events.stop import Stop
from edgeleather.events.writers import LoopWriter
from edgeleather.inspection.inspector import Inspection
from edgeleather.shared_change import SharedChange
from edgeleather.sources.frame import Frame, FrameSource

# How long a thread may keep Python's lock when inference has come back and wants it. With the usual 5 ms a store cost 4.6 % of
# the frame rate here, with this 1.6 % (memory-bank INT8 at 256 x 256, 2 cores).
_SWITCH_SECONDS = 0.0002


@dataclass
class Counts:
    """What a loop came to: `captured` = `inferred` + `dropped` + `failed`.

    `defects` and `unfamiliar` are among the inferred ones, `unrecorded` among all.
    """

    captured: int = 0
    inferred: int = 0
    dropped: int = 0
    failed: int = 0
    defects: int = 0
    unfamiliar: int = 0
    unrecorded: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    stopped_by_signal: bool = False
    source_error: str | None = None
    first_failure: str | None = None


class FrameInspector(Protocol):
    """Gives the inspection of a frame; what is wrong with the frame makes it a failed one."""

    def inspect(self, frame: Frame, /) -> Inspection: ...


def run_loop(
    source: FrameSource,
    inspector: FrameInspector,
    writers: Sequence[LoopWriter],
    stop: Stop,
    journal: Journal | None = None,
) -> Counts:
    """Inspect every frame until the source ends or `stop` is set; every frame's record reaches the journal and every writer.

    Files lose no frame, so a full writer is waited for; what is live is not, so the record is lost and counted.
    """
    counts = Counts()
    waits = source.drop_policy == "every_frame"
    started = time.perf_counter()
    try:
        with _QUICK_SWITCHES if journal else contextlib.nullcontext(), contextlib.closing(iter(source)) as frames:
            for frame in frames:
                counts.captured += 1
                inspection = inspector.inspect(frame)
                entry = journal.take(inspection, frame.seen) if journal else Entry(inspection)
                for writer in writers:
                    writer.put(entry, stop, waits)
                counts.failed += inspection.verdict == "failed"
                counts.first_failure = counts.first_failure or inspection.error
                counts.inferred += inspection.verdict != "failed"
                counts.defects += inspection.verdict == "defect"
                counts.unfamiliar += inspection.verdict == "unfamiliar"
                if stop.is_set():
                    break
    except EdgeLeatherError as error:
        counts.source_error = str(error)
    finally:
        for writer in writers:
            writer.close(stop)
        if journal:
            journal.close(stop)
            counts.unrecorded = journal.unrecorded
    counts.dropped = source.dropped
    counts.captured += source.dropped
    counts.seconds = time.perf_counter() - started
    counts.fps = counts.inferred / counts.seconds if counts.seconds else 0.0
    counts.stopped_by_signal = stop.is_set()
    return counts


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    """Python's threads change more often inside the block."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


_QUICK_SWITCHES = SharedChange(_quick_switches)
