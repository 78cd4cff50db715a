"""An inspection with what recording it came to, and the JSON object that is made of both."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeleather.events.alarms import AlarmChange
from edgeleather.inspection.inspector import Inspection


class Entry(NamedTuple):
    """An inspection, what it changed of the alarm, and whether the store could not take its record."""

    inspection: Inspection
    alarm: AlarmChange | None = None
    unrecorded: bool = False


def to_record(entry: Entry) -> dict[str, Any]:
    """An entry as the JSON object that `--jsonl` and the store write."""
    inspection = entry.inspection
    return {
        "frame": inspection.frame,
        "captured_at": inspection.captured_at,
        "source": inspection.source,
        "article": inspection.article,
        "verdict": inspection.verdict,
        "score": inspection.score,
        "threshold": inspection.threshold,
        "defect_area_percent": inspection.defect_area_percent,
        "regions": [vars(region) for region in inspection.regions],
        "timings_ms": inspection.timings_ms,
        "error": inspection.error,
        "small_regions": inspection.small_regions,
        "alarm": entry.alarm,
        "unrecorded": entry.unrecorded,
        "reason": inspection.reason,
        "distance": inspection.distance,
    }
