"""What a station that watches a folder knows of it when it starts."""

from __future__ import annotations

import contextlib
import json
import os
import time

from edgeleather.events.store import Event, Store
from edgeleather.sources.picture_file import PictureFile, Stamp
from edgeleather.station.watching import known_pictures


def names(files):
    return sorted(file.name for file in files)


def test_what_lies_there_at_the_first_start_is_known_from_then_on(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"x")
    with contextlib.closing(Store(tmp_path / "store", create=True)) as store:
        assert names(known_pictures(store, tmp_path / "in")) == ["a.png"]
        (tmp_path / "in/b.png").write_bytes(b"x")
        assert names(known_pictures(store, tmp_path / "in")) == ["a.png"]
        (tmp_path / "other").mkdir()
        (tmp_path / "other/c.png").write_bytes(b"x")
        assert names(known_pictures(store, tmp_path / "other")) == ["c.png"]


def test_a_store_of_the_first_release_is_gone_on_with(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "before.png").write_bytes(b"x")
    time.sleep(0.05)
    since = time.time()
    time.sleep(0.05)
    for name in ("inspected.png", "again.png"):
        (folder / name).write_bytes(b"x")
    time.sleep(0.05)
    with contextlib.closing(Store(tmp_path / "store", create=True)) as store:
        store.mark(f"watching {folder}", since)
        for name in ("inspected.png", "again.png"):
            body = json.dumps({"source": str(folder / name)})
            store.append([Event(name, time.time(), "good", None, 0, body)])
        time.sleep(0.05)
        (folder / "again.png").write_bytes(b"y")
        (folder / "new.png").write_bytes(b"x")
        assert names(known_pictures(store, folder)) == ["before.png", "inspected.png"]
        assert names(known_pictures(store, folder)) == ["before.png", "inspected.png"]


def test_any_name_and_any_inode_comes_back(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/in\xff")
    files = [
        PictureFile(folder, "bad\udcff.png", Stamp(1, -5, 2**64 - 1, 3), b"digest"),
        PictureFile(folder, "new\nline.png", Stamp(2**40, 2**62, 2**63, 4), None),
    ]
    with contextlib.closing(Store(tmp_path / "store", create=True)) as store:
        assert store.seen_pictures(folder) is None
        store.begin_watching(folder, files, 1.0)
        assert sorted(store.seen_pictures(folder)) == sorted(files)
        gone = PictureFile(folder, "bad\udcff.png", None)
        store.append([], [gone])
        assert store.seen_pictures(folder) == files[1:]
