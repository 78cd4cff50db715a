"""The inspection loop."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.journal import Journal
from edgeleather.events.local_sinks import LocalSink, Stop
from edgeleather.inspection.inspector import Inspector
from edgeleather.sources.frame import FrameSource

# How long a thread may keep Python's lock when inference has come back and wants it. With the usual 5 ms a store cost 4.6 % of
# the frame rate here, with this 1.6 % (memory-bank INT8 at 256 x 256, 2 cores).
_SWITCH_SECONDS = 0.0002


@dataclass
class Summary:
    """What a run came to: `captured` = `inferred` + `dropped` + `failed`; `defects` and `unrecorded` are among these."""

    captured: int = 0
    inferred: int = 0
    dropped: int = 0
    failed: int = 0
    defects: int = 0
    unrecorded: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    stopped_by_signal: bool = False
    source_error: str | None = None
    first_failure: str | None = None


def run_loop(
    source: FrameSource,
    inspector: Inspector,
    sinks: Sequence[LocalSink],
    stop: Stop,
    journal: Journal | None = None,
) -> Summary:
    """Inspect every frame until the source ends or `stop` is set; every frame's record reaches the journal and every sink.

    Files lose no frame, so a full sink is waited for; what is live is not, so the record is lost and counted.
    """
    if journal:
        sys.setswitchinterval(_SWITCH_SECONDS)
    summary = Summary()
    waits = source.drop_policy == "every_frame"
    started = time.perf_counter()
    try:
        with contextlib.closing(iter(source)) as frames:
            for frame in frames:
                summary.captured += 1
                inspection = inspector.inspect(frame)
                if journal:
                    inspection = journal.take(inspection)
                for sink in sinks:
                    sink.put(inspection, stop, waits)
                summary.failed += inspection.verdict == "failed"
                summary.first_failure = summary.first_failure or inspection.error
                summary.inferred += inspection.verdict != "failed"
                summary.defects += inspection.verdict == "defect"
                if stop.is_set():
                    break
    except EdgeLeatherError as error:
        summary.source_error = str(error)
    finally:
        for sink in sinks:
            sink.close(stop)
        if journal:
            journal.close(stop)
            summary.unrecorded = journal.unrecorded
    summary.dropped = source.dropped
    summary.captured += source.dropped
    summary.seconds = time.perf_counter() - started
    summary.fps = summary.inferred / summary.seconds if summary.seconds else 0.0
    summary.stopped_by_signal = stop.is_set()
    return summary
