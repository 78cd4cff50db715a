"""The inspection loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgeleather.errors import EdgeLeatherError
from edgeleather.runtime.frame import FrameSource
from edgeleather.runtime.inspector import Inspector
from edgeleather.runtime.sinks import QueuedSink, Stop


@dataclass
class Summary:
    """What a run came to: `captured` = `inferred` + `dropped` + `failed`, and `defects` of the inferred."""

    captured: int = 0
    inferred: int = 0
    dropped: int = 0
    failed: int = 0
    defects: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    stopped_by_signal: bool = False
    source_error: str | None = None
    first_failure: str | None = None


def run_loop(source: FrameSource, inspector: Inspector, sinks: Sequence[QueuedSink], stop: Stop) -> Summary:
    """Inspect every frame until the source ends or `stop` is set; every frame's record reaches every sink."""
    summary = Summary()
    started = time.perf_counter()
    try:
        with contextlib.closing(iter(source)) as frames:
            for frame in frames:
                summary.captured += 1
                inspection = inspector.inspect(frame)
                for sink in sinks:
                    sink.put(inspection, stop)
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
    summary.dropped = source.dropped
    summary.captured += source.dropped
    summary.seconds = time.perf_counter() - started
    summary.fps = summary.inferred / summary.seconds if summary.seconds else 0.0
    summary.stopped_by_signal = stop.is_set()
    return summary
