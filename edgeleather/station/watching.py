"""What a station that watches a folder has seen of it in earlier runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

from edgeleather.errors import printable
from edgeleather.events.store import Filter, Store
from edgeleather.sources.listing import list_pictures
from edgeleather.sources.picture_file import PictureFile


def known_pictures(store: Store, folder: Path) -> list[PictureFile]:
    """The pictures of a watched folder that need no look: seen before, or there when it was watched for the first time.

    They are told by what they are and not by when they came, so that no clock, of this machine or of a network drive, matters.

    Raises:
        EdgeLeatherError: no such folder, or the store cannot be read or written.
    """
    there = list_pictures(folder)
    known = store.seen_pictures(str(folder))
    if known is None:
        known = _seen_by_the_first_release(store, folder, there)
        store.begin_watching(str(folder), known, time.time())
    return known


def _seen_by_the_first_release(store: Store, folder: Path, there: list[PictureFile]) -> list[PictureFile]:
    """What of a folder was there or inspected when an older edgeleather, which went by the clock, watched it; else all of it.

    Raises:
        EdgeLeatherError: no such folder.
    """
    since = store.marked(f"watching {printable(str(folder))}")
    if since is None:
        return there
    inspected_at = dict[str, float]()
    for one in store.select(Filter(since=since, topics=("good", "defect", "failed"))):
        inspected_at[Path(json.loads(one.event.body).get("source") or "").name] = one.event.at
    return [
        file
        for file in there
        if file.stamp and file.stamp.changed_ns / 1e9 <= max(since, inspected_at.get(printable(file.name), since))
    ]
