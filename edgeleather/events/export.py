"""Events of a store as rows with named columns, and as files for a spreadsheet or another program."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.pictures import PICTURES_FOLDER
from edgeleather.events.store import Filter, Store, StoredEvent
from edgeleather.files import write_stream_atomically
from edgeleather.progress import track

COLUMNS = (
    *("seq", "id", "at", "topic", "state", "what", "station", "article", "source", "frame", "score", "threshold"),
    *("defect_area_percent", "regions", "picture", "error", "detail", "reason", "distance"),
)


def export_events(store: Path, chosen: Filter, out: Path) -> int:
    """Write events of a store's folder to a .csv file, or to a .jsonl file with all that is known of each; how many.

    Raises:
        EdgeLeatherError: another suffix, no store there, or the file cannot be written (nothing half-written stays behind).
    """
    if out.suffix not in (".csv", ".jsonl"):
        raise EdgeLeatherError(f"expected a file that ends in .csv or .jsonl, got {out.name}.")
    count = 0

    def counted(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    with contextlib.closing(Store(store)) as opened:
        found = track(opened.select(chosen), "events")
        if out.suffix == ".csv":
            lines = _csv_lines(counted(event_row(store, stored) for stored in found))
        else:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in counted(_body(stored) for stored in found))
        write_stream_atomically(out, (line.encode() for line in lines))
    return count


def _body(stored: StoredEvent) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(stored.event.body)
    return {"seq": stored.seq} | body


def event_row(store: Path, stored: StoredEvent) -> dict[str, Any]:
    """An event's columns; its picture only where that is still there, and the largest of its regions is enough here."""
    body = _body(stored)
    row = {name: body.get(name) for name in COLUMNS}
    row["at"] = datetime.fromtimestamp(stored.event.at).astimezone().isoformat(timespec="milliseconds")
    row["regions"] = len(body.get("regions") or ())
    if row["picture"] and not (store / PICTURES_FOLDER / row["picture"]).is_file():
        row["picture"] = None
    return row


def _csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
        yield stream.getvalue()
        stream.seek(0)
        stream.truncate()
    yield stream.getvalue()


def _cell(value: Any) -> Any:
    """A cell as a spreadsheet shows it: text that would be taken for a formula gets an apostrophe before it."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
