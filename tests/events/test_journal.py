from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.outbox import Deliverer
from edgeleather.events.pictures import PICTURES_FOLDER, PictureRules
from edgeleather.events.stop import Stop
from edgeleather.events.store import STORE_FILE, VERDICT_TOPICS, Event, Filter, Store
from edgeleather.inspection import overlay
from edgeleather.inspection.decisions import Region
from edgeleather.inspection.inspector import Inspection, Inspector, InspectorSettings
from edgeleather.sources.memory import MemorySource
from edgeleather.station.loop import run_loop
from tests.events.receivers import wait_until


def inspection(frame, verdict="good", noise=None):
    score = None if verdict == "failed" else 2.0 if verdict == "defect" else 0.5
    error = "no picture" if verdict == "failed" else None
    image = np.zeros((64, 64, 3), np.uint8) if noise is None else noise
    return Inspection(
        frame, time.time(), "x.png", verdict, score, score and 1.0, score and 0.0, (), {"total": 1.0}, error, image,
        np.full((64, 64), score or 0, np.float32), (0, 0, 64, 64),
    )  # fmt: skip


def unfamiliar(frame, score=0.5):
    return replace(inspection(frame), verdict="unfamiliar", score=score, reason="too dark", distance=41.5)


def opened(folder, alarm=AlarmRules(), pictures=PictureRules(free_floor_mb=0), **settings):
    return Journal(folder, StoreSettings(pictures=pictures, **settings), alarm, "line-3", "calf")


def bodies(folder, *topics):
    with contextlib.closing(Store(folder)) as store:
        return [json.loads(one.event.body) for one in store.select(Filter(topics=topics))]


def test_every_verdict_is_a_row_and_an_alarm_is_raised_and_cleared_once(tmp_path):
    journal = opened(tmp_path, AlarmRules(raise_frames=2, of_frames=3))
    taken = [journal.take(inspection(n, verdict)) for n, verdict in enumerate(["good", "defect", "defect", "defect"])]
    taken += [journal.take(inspection(n)) for n in range(4, 8)]
    journal.close(Stop())
    assert [one.alarm for one in taken] == [None, None, "raised", None, None, None, "cleared", None]
    assert [row["frame"] for row in bodies(tmp_path, "good", "defect", "failed")] == list(range(8))
    raised, cleared = bodies(tmp_path, "alarm")
    assert (raised["state"], raised["frame"], cleared["state"], cleared["frame"]) == ("raised", 2, "cleared", 6)
    assert raised["station"] == "line-3" and raised["article"] == "calf" and raised["score"] == 2.0
    third = bodies(tmp_path, "defect")[1]
    assert raised["frame_event"] == third["id"] and third["alarm"] == "raised"
    assert not any(one.unrecorded for one in taken) and journal.unrecorded == 0
    ids = [row["id"] for row in bodies(tmp_path)]
    assert len(set(ids)) == len(ids) == 10 and ids == sorted(ids) and {len(one) for one in ids} == {32}


def test_rows_are_committed_within_100_ms(tmp_path):
    """Not later than by a thread that waits for 100 ms and commits then, on the same machine at the same time."""
    journal = opened(tmp_path / "journal")
    with contextlib.closing(Store(tmp_path / "late", create=True)):
        pass

    def commit_late(n):
        time.sleep(0.1)
        with contextlib.closing(Store(tmp_path / "late")) as store:
            store.append([Event(f"{n}", time.time(), "good", "calf", n, "{}")], [])

    def seconds_until_row(folder, n, begin):
        started = time.perf_counter()
        begin()
        with contextlib.closing(Store(folder)) as store:
            while len(list(store.select(Filter()))) <= n:
                time.sleep(0.002)
        return time.perf_counter() - started

    waits, late_waits = [], []
    for n in range(20):
        waits.append(seconds_until_row(tmp_path / "journal", n, lambda n=n: journal.take(inspection(n))))
        thread = threading.Thread(target=commit_late, args=(n,))
        late_waits.append(seconds_until_row(tmp_path / "late", n, thread.start))
        thread.join()
    journal.close(Stop())
    assert sorted(waits)[10] < sorted(late_waits)[10], (waits, late_waits)


def test_an_alarm_that_was_left_raised_is_cleared_by_the_next_run(tmp_path):
    first = opened(tmp_path)
    first.take(inspection(0, "defect"))
    first.close(Stop())
    second = opened(tmp_path)
    assert second.take(inspection(0, "defect")).alarm is None, "it is not raised twice"
    assert second.take(inspection(1)).alarm == "cleared"
    second.close(Stop())
    assert [row["state"] for row in bodies(tmp_path, "alarm")] == ["raised", "cleared"]


def test_faults_of_source_and_frames(tmp_path):
    journal = opened(tmp_path)
    for state in ("streaming", "lost", "lost", "streaming again", "closed"):
        journal.source_changed(state, "rtsp://10.0.0.5/1")
    for n in range(12):
        journal.take(inspection(n, "failed"))
    journal.take(inspection(12))
    journal.close(Stop())
    faults = [(row["what"], row["state"]) for row in bodies(tmp_path, "fault")]
    assert faults == [("source", "raised"), ("source", "cleared"), ("frames", "raised"), ("frames", "cleared")]


def test_a_source_that_was_lost_when_the_station_was_killed_is_cleared_when_it_is_back(tmp_path):
    first = opened(tmp_path)
    first.source_changed("lost", "camera 0")
    first.close(Stop())
    second = opened(tmp_path)
    second.source_changed("streaming", "camera 0")
    second.close(Stop())
    assert [row["state"] for row in bodies(tmp_path, "fault")] == ["raised", "cleared"]


def test_pictures_of_defects_lie_beside_the_store_and_the_rows_name_them(tmp_path, noise_bgr):
    journal = opened(tmp_path)
    for n, verdict in enumerate(["good", "defect", "good", "defect"]):
        journal.take(inspection(n, verdict, noise_bgr))
    journal.close(Stop())
    names = [row["picture"] for row in bodies(tmp_path, "defect")]
    assert sorted(names) == sorted(path.name for path in (tmp_path / PICTURES_FOLDER).iterdir())
    assert len(set(names)) == 2 and journal.pictures.kept == 2


def test_rows_have_contours_and_pictures_the_article(tmp_path, noise_bgr, monkeypatch):
    drawn = []
    monkeypatch.setattr(overlay, "_band", lambda text, width, thick: drawn.append(text) or noise_bgr[:1].repeat(2, 1))
    journal = opened(tmp_path)
    region = Region((3, 4, 10, 11), 80, None, 2.0, ((3, 4), (12, 4), (12, 14)))
    journal.take(replace(inspection(0, "defect", noise_bgr), regions=(region,), article="kid"))  # that of this frame
    journal.close(Stop())
    (row,) = bodies(tmp_path, "defect")
    assert row["article"] == "kid"
    assert row["regions"][0]["contour_xy"] == [[3, 4], [12, 4], [12, 14]]
    assert len(drawn) == 1 and "   kid   x.png   frame 0   " in drawn[0]


def test_pictures_of_one_moment_overwrite_none(tmp_path, noise_bgr):
    seen = inspection(0, "defect", noise_bgr)
    for _ in range(2):  # two runs, each with a frame of the same number at the same second
        journal = opened(tmp_path)
        journal.take(seen)
        journal.close(Stop())
    assert len(list((tmp_path / PICTURES_FOLDER).iterdir())) == 2


def test_an_idle_journal_closes_at_once(tmp_path):
    seconds = []
    for number in range(3):
        journal = opened(tmp_path / str(number))
        time.sleep(0.2)
        started = time.perf_counter()
        journal.close(Stop())
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1.5  # not the 3 seconds that waiting pictures would be given, which would be so each time


def test_pictures_keep_to_their_limits_of_size_and_age(tmp_path, noise_bgr):
    folder = tmp_path / PICTURES_FOLDER
    folder.mkdir()
    (folder / "20010101-000000-000001-abcdefab.jpg").write_bytes(b"old")
    journal = opened(tmp_path, pictures=PictureRules(max_mb=0.1, free_floor_mb=0, most_per_second=1000))
    for n in range(40):
        journal.take(inspection(n, "defect", noise_bgr))
        time.sleep(0.03)
    journal.close(Stop())
    left = sorted(path.name for path in folder.iterdir())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 100_000
    assert 1 <= len(left) < journal.pictures.kept and not left[0].startswith("2001")
    assert left == sorted(row["picture"] for row in bodies(tmp_path, "defect") if row["picture"])[-len(left) :]


def test_no_picture_is_kept_below_the_floor_of_free_space(tmp_path, noise_bgr):
    journal = opened(tmp_path, pictures=PictureRules(free_floor_mb=1e9))
    journal.take(inspection(0, "defect", noise_bgr))
    journal.close(Stop())
    assert list((tmp_path / PICTURES_FOLDER).iterdir()) == [] and journal.pictures.skipped == 1
    assert "MB are free" in journal.pictures.first_error and len(bodies(tmp_path, "defect")) == 1


def test_defects_that_come_fast_have_pictures_up_to_the_rate(tmp_path, noise_bgr):
    journal = opened(tmp_path, pictures=PictureRules(free_floor_mb=0, most_per_second=2))
    for n in range(50):
        journal.take(inspection(n, "defect", noise_bgr))
    journal.close(Stop())
    assert 1 <= journal.pictures.kept <= 3 and journal.pictures.kept + journal.pictures.skipped == 50
    assert len(bodies(tmp_path, "defect")) == 50


def test_old_rows_are_forgotten_while_it_runs(tmp_path):
    journal = opened(tmp_path, keep_days=1.0)
    journal.take(replace(inspection(0), captured_at=time.time() - 2 * 86_400))
    journal.close(Stop())
    journal = opened(tmp_path, keep_days=1.0)
    journal.take(inspection(1))
    wait_until(lambda: [row["frame"] for row in bodies(tmp_path)] == [1], 5, bodies(tmp_path))
    journal.close(Stop())
    assert [row["frame"] for row in bodies(tmp_path)] == [1] and journal.unrecorded == 0


def test_a_fault_of_frames_that_an_earlier_run_left_is_not_raised_again(tmp_path):
    for _ in range(2):
        journal = opened(tmp_path)
        for n in range(12):
            journal.take(inspection(n, "failed"))
        journal.close(Stop())
    assert [row["state"] for row in bodies(tmp_path, "fault")] == ["raised"]


def test_a_record_that_cannot_be_written_is_not_the_end_of_the_others(tmp_path):
    journal = opened(tmp_path)
    journal.take(replace(inspection(0), defect_area_percent=float("inf")))
    journal.take(replace(inspection(1), source="caf\udce9.png"))
    journal.take(inspection(2))
    journal.close(Stop())
    assert journal.unrecorded == 0
    first, second, third = bodies(tmp_path)
    assert "could not be written" in first["error"] and second["source"] == "caf\udce9.png" and third["frame"] == 2


def test_a_store_that_is_moved_away_is_begun_anew_and_sinks_go_on(tmp_path, caplog):
    told = []

    class Records:
        def deliver(self, event_id, body):
            told.append(json.loads(body)["frame"])

        def close(self):
            pass

    folder = tmp_path / "store"
    deliverer = Deliverer(folder, "one", ["good"], Records())
    journal = Journal(folder, StoreSettings(), AlarmRules(), "x", None, [deliverer])
    journal.take(inspection(0))
    wait_until(lambda: told == [0], 5, told)
    away = tmp_path / "away"
    away.mkdir()
    for path in folder.glob("events.sqlite*"):
        path.rename(away / path.name)
    for n in (1, 2):
        journal.take(inspection(n))
    wait_until(lambda: told == [0, 1, 2], 10, caplog.messages)
    journal.close(Stop())
    assert [row["frame"] for row in bodies(folder, "good")] == [1, 2]
    assert any("moved away; a new one is begun" in line for line in caplog.messages)


def test_while_the_store_takes_nothing_memory_is_bounded_and_the_last_state_is_told_at_last(tmp_path, monkeypatch):
    from edgeleather.events import journal as module

    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    journal = opened(tmp_path, pictures=PictureRules(keep=False))
    with contextlib.closing(sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # holds the store as long as a slow disk would
        for n in range(1001):
            journal.take(inspection(n, "good" if n % 2 else "defect"))
        assert len(journal._queue) <= 100 and journal.unrecorded > 900
        other.execute("ROLLBACK")
    journal.close(Stop())
    assert bodies(tmp_path, "alarm")[-1]["state"] == "raised" and bodies(tmp_path, "alarm")[-1]["frame"] == 1000


def test_a_sink_that_the_station_no_longer_has_holds_no_rows(tmp_path):
    with contextlib.closing(Store(tmp_path, create=True)) as store:
        for name in ("kept", "gone"):
            store.register(name, ["good"])
        journal = opened(tmp_path)
        journal.take(inspection(0))
        journal.close(Stop())
        (gone,) = store.retire_all_but(["kept"])
        assert (gone.name, gone.waiting) == ("gone", 1) and [state.name for state in store.sinks()] == ["kept"]
        store.told("kept", [store.waiting("kept", 1)[0].seq])
        assert store.forget(time.time() + 1, 10) == 1


@pytest.mark.tmpfs
def test_on_a_full_disk_verdicts_go_on_unrecorded_until_there_is_room_again(
    bundle, small_disk_2mb, noise_bgr, tmp_path, caplog
):
    """a small tmpfs fills up and verdicts go on."""
    seen = []
    caplog.set_level(logging.INFO, "edgeleather")

    def lines():
        return [line for line in caplog.messages if line.startswith("store:")]

    class Screen:
        def put(self, entry, stop, waits):
            seen.append(entry)
            if len(seen) == 100:
                wait_until(lambda: bodies(small_disk_2mb), 5, "nothing is recorded")
                fill.write_bytes(b"x" * free_bytes(small_disk_2mb))
            if len(seen) == 200:
                wait_until(lambda: any("cannot record" in line for line in lines()), 5, lines())
            if len(seen) == 300:
                fill.unlink()
                wait_until(lambda: any("records again" in line for line in lines()), 5, lines())

        def close(self, stop):
            pass

    fill = small_disk_2mb / "fill"
    inspector = Inspector(bundle, InspectorSettings())
    journal = opened(small_disk_2mb)
    with contextlib.closing(inspector):
        summary = run_loop(MemorySource([noise_bgr] * 400), inspector, [Screen()], Stop(), journal)
    assert summary.inferred == 400 == len(seen)
    flagged = [one.inspection.frame for one in seen if one.unrecorded]
    assert flagged and flagged == list(range(flagged[0], flagged[-1] + 1)) and flagged[-1] <= 300
    rows = [row["frame"] for row in bodies(small_disk_2mb, *VERDICT_TOPICS)]
    assert rows == [n for n in range(400) if n not in flagged]
    assert summary.unrecorded == len(flagged) and len(lines()) == 2
    assert "database or disk is full" in lines()[0] and f"{len(flagged)} verdicts were not recorded" in lines()[1]


def free_bytes(folder):
    import os

    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_an_unfamiliar_frame_is_a_row_with_its_reason_and_counts_for_the_alarm_above_the_threshold(tmp_path):
    journal = opened(tmp_path)
    taken = [journal.take(one) for one in (unfamiliar(0), unfamiliar(1, 2.0), unfamiliar(2), inspection(3))]
    journal.close(Stop())
    assert [one.alarm for one in taken] == [None, "raised", None, "cleared"]
    first, *_ = found = bodies(tmp_path, "unfamiliar")
    assert [row["frame"] for row in found] == [0, 1, 2] and first["verdict"] == first["topic"] == "unfamiliar"
    assert (first["reason"], first["distance"]) == ("too dark", 41.5)
    good = bodies(tmp_path, "good")[0]
    assert good["reason"] is None and good["distance"] is None


def test_a_few_unfamiliar_frames_have_pictures_and_none_once_the_view_is_a_fault(tmp_path):
    journal = opened(tmp_path)
    for n in range(30):
        journal.take(unfamiliar(n))
        time.sleep(0.02)
    journal.take(inspection(30, "defect"))
    journal.close(Stop())
    names = [row["picture"] for row in bodies(tmp_path, "unfamiliar")]
    assert sum(map(bool, names)) == 5 and names[5:] == [None] * 25
    assert journal.pictures.kept == 6 and journal.pictures.skipped == 0, "defects are not pushed out"
    (fault,) = bodies(tmp_path, "fault")
    assert (fault["what"], fault["state"]) == ("view", "raised") and fault["detail"].endswith("the last: too dark")


def test_while_the_view_is_a_fault_no_unfamiliar_frame_has_a_picture(tmp_path):
    first = opened(tmp_path)
    first.faults.change("raised", "view", "the lamp is out")
    first.close(Stop())
    second = opened(tmp_path)
    second.take(unfamiliar(0))
    second.close(Stop())
    assert bodies(tmp_path, "unfamiliar")[0]["picture"] is None and len(bodies(tmp_path, "fault")) == 1
