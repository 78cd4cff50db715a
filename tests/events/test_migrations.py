"""Stores of older and newer versions, as real SQLite files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events import migrations
from edgeleather.events.alarms import AlarmRules
from edgeleather.events.export import export_events
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.stop import Stop
from edgeleather.events.store import STORE_FILE, Filter, Store, StoreError
from edgeleather.events.store_lock import only_writer

VERSION_1 = Path(__file__).parent.parent / "data" / "store-v1"
COPY = f"{STORE_FILE}.v1-backup"


@pytest.fixture
def old(tmp_path):
    """A copy of the store that the first release wrote: 200 verdicts, their alarms and a fault."""
    return Path(shutil.copytree(VERSION_1, tmp_path / "store"))


@pytest.fixture
def next_version(monkeypatch):
    """As if the next version kept a grade with each event."""
    toy = "ALTER TABLE events ADD COLUMN grade TEXT;\nUPDATE events SET grade = 'A' WHERE topic = 'good'"
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, toy])


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_store_of_the_first_release_is_read_and_gone_on_with(old):
    with contextlib.closing(Store(old)) as store:
        rows = [json.loads(one.event.body) for one in store.select(Filter())]
        (sink,) = store.sinks()
        assert store.is_raised("fault", "source") and store.mark("watching in", 0.0) == 1764270000.0
    frames = [row["frame"] for row in rows if row["topic"] in ("good", "defect", "failed")]
    assert frames == list(range(200)) and [row["topic"] for row in rows].count("failed") == 4
    assert (sink.name, sink.set_aside) == ("mes", 1) and sink.waiting > 0
    defects = [row for row in rows if row["topic"] == "defect"]
    assert all("contour_xy" not in region for row in defects for region in row["regions"])  # 0.1.0 had none
    assert export_events(old, Filter(topics=("defect",)), old / "out.csv") == len(defects) > 0
    journal = Journal(old, StoreSettings(keep_days=36_500), AlarmRules(), "line-3", "calf")
    journal.source_changed("streaming", "rtsp://10.0.0.5/1")
    journal.close(Stop())
    with contextlib.closing(Store(old)) as store:
        assert not store.is_raised("fault", "source")


def test_an_older_store_is_brought_to_this_version_and_a_copy_is_kept(old, next_version):
    before = (old / STORE_FILE).read_bytes()
    with contextlib.closing(Store(old)) as store:
        assert len(list(store.select(Filter(topics=("good", "defect", "failed"))))) == 200
        grades = store._connection.execute("SELECT grade, count(*) FROM events WHERE topic = 'good' GROUP BY grade")
        assert grades.fetchall() == [("A", 176)]
    assert version(old / STORE_FILE) == migrations.schema_version() == 3 and version(old / COPY) == 1
    assert sorted(path.name for path in old.iterdir() if "partial" in path.name) == []
    with contextlib.closing(sqlite3.connect(old / COPY)) as copy:
        assert copy.execute("SELECT count(*), sum(length(body)) FROM events").fetchone() == counted(before, old)
    (old / COPY).unlink()
    Store(old).close()
    assert not (old / COPY).exists(), "it is done once"


def counted(content, folder):
    (folder / "before.sqlite").write_bytes(content)
    with contextlib.closing(sqlite3.connect(folder / "before.sqlite")) as connection:
        return connection.execute("SELECT count(*), sum(length(body)) FROM events").fetchone()


def test_a_new_store_is_of_the_newest_version_and_has_no_copy(tmp_path, next_version):
    with contextlib.closing(Store(tmp_path, create=True)) as store:
        columns = [row[1] for row in store._connection.execute("PRAGMA table_info(events)")]
    assert "grade" in columns and version(tmp_path / STORE_FILE) == 3 and not (tmp_path / COPY).exists()


def test_a_migration_that_fails_leaves_the_store_as_it_was(old, monkeypatch):
    broken = "ALTER TABLE events ADD COLUMN grade TEXT;\nUPDATE no_such_table SET grade = 'A'"
    monkeypatch.setattr(migrations, "MIGRATIONS", [broken])
    with pytest.raises(StoreError, match="no such table"):
        Store(old)
    monkeypatch.undo()
    with contextlib.closing(Store(old)) as store:
        columns = [row[1] for row in store._connection.execute("PRAGMA table_info(events)")]
        assert "grade" not in columns and len(list(store.select(Filter()))) > 200


def test_a_reader_does_not_change_the_store_of_a_running_station(old, next_version):
    with only_writer(old), pytest.raises(EdgeLeatherError, match="another station writes to this store"):
        Store(old)
    assert version(old / STORE_FILE) == 1 and not (old / COPY).exists()
    with only_writer(old):  # the station itself
        Store(old, create=True).close()
    assert version(old / STORE_FILE) == 3


@pytest.mark.tmpfs
def test_without_room_for_the_copy_nothing_is_changed(small_disk_2mb, next_version):
    store = small_disk_2mb / STORE_FILE
    shutil.copy(VERSION_1 / STORE_FILE, store)
    status = os.statvfs(small_disk_2mb)
    (small_disk_2mb / "fill").write_bytes(b"x" * (status.f_bavail * status.f_frsize - 100_000))
    with pytest.raises(EdgeLeatherError, match="cannot keep a copy of the store"):
        Store(small_disk_2mb)
    assert [path.name for path in small_disk_2mb.iterdir() if "backup" in path.name] == [] and version(store) == 1


def test_a_newer_store_is_refused_by_name(tmp_path):
    Store(tmp_path, create=True).close()
    with contextlib.closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(
        EdgeLeatherError, match=r"expected a store of version 2, got 7.*the newer edgeleather that made it"
    ):
        Store(tmp_path)
    assert version(tmp_path / STORE_FILE) == 7
