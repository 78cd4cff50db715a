from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.entry import Entry
from edgeleather.events.stop import Stop
from edgeleather.events.writers import DefectPicturesWriter, JsonLinesWriter, QueuedWriter, terminal_line
from edgeleather.imaging.images import read_image
from edgeleather.inspection.inspector import Inspection

RUNNING = Stop()


def entry(frame=0, verdict="good", error=None, source="x" * 200):
    score = None if verdict == "failed" else 1.0
    return Entry(
        Inspection(
            frame,
            0.0,
            source,
            verdict,
            score,
            score and 2.0,
            score and 0.0,
            (),
            {"total": 1.0},
            error,
            None,
            None,
            None,
        )
    )


@pytest.mark.tmpfs
def test_a_full_disk_leaves_whole_lines_and_counts_what_was_lost(small_disk):
    writer = QueuedWriter(JsonLinesWriter(small_disk / "out.jsonl"))
    for frame in range(400):
        writer.put(entry(frame), RUNNING)
    writer.close(RUNNING)
    lines = (small_disk / "out.jsonl").read_bytes().split(b"\n")
    assert lines[-1] == b"", "the file ends in the middle of a line"
    frames = [json.loads(line)["frame"] for line in lines[:-1]]
    assert frames == list(range(len(frames))) and writer.lost == 400 - len(frames) > 0
    assert "No space left on device" in writer.first_error


@pytest.mark.tmpfs
def test_a_full_disk_leaves_no_half_picture(small_disk, noise_bgr):
    (small_disk / "fill").write_bytes(b"x" * 50_000)
    defect = Inspection(
        0,
        0.0,
        "x",
        "defect",
        2.0,
        1.0,
        1.0,
        (),
        {"total": 1.0},
        None,
        noise_bgr,
        np.ones((64, 64), np.float32),
        (0, 0, 64, 64),
    )
    writer = DefectPicturesWriter(small_disk / "defects")
    with pytest.raises(EdgeLeatherError, match="No space left"):
        writer.write(Entry(defect))
    assert list((small_disk / "defects").iterdir()) == []


def test_json_lines_are_appended(tmp_path):
    for frame in range(2):
        writer = JsonLinesWriter(tmp_path / "out.jsonl")
        writer.write(entry(frame))
        writer.close()
    assert [json.loads(line)["frame"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [0, 1]


def test_half_a_line_of_an_earlier_run_does_not_spoil_the_next_one(tmp_path):
    (tmp_path / "out.jsonl").write_text('{"frame": 7, "sco')
    writer = JsonLinesWriter(tmp_path / "out.jsonl")
    writer.write(entry(0))
    writer.close()
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["frame"] == 0


def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path):
    with pytest.raises(EdgeLeatherError, match="cannot write"):
        JsonLinesWriter(tmp_path / "absent" / "out.jsonl")
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeLeatherError, match="cannot write"):
        DefectPicturesWriter(tmp_path / "file")


def test_a_bug_in_a_writer_keeps_its_traceback_and_holds_nothing_up(caplog):
    class Buggy:
        name = "buggy"

        def write(self, entry):
            raise ZeroDivisionError("a bug")

        def close(self):
            pass

    writer = QueuedWriter(Buggy())
    for frame in range(100):  # more than the queue holds: a dead thread would make this wait for ever
        writer.put(entry(frame), RUNNING)
    writer.close(RUNNING)
    assert writer.lost == 100 and writer.first_error == "ZeroDivisionError: a bug"
    assert caplog.text.count("Traceback") == 1


def test_a_writer_that_never_answers_holds_the_end_up_for_seconds_only():
    class Stuck:
        name = "stuck"

        def write(self, entry):
            time.sleep(60)

        def close(self):
            pass

    writer, stop = QueuedWriter(Stuck()), Stop()
    for frame in range(10):
        writer.put(entry(frame), stop)
    stop.set()
    started = time.monotonic()
    writer.close(stop)
    assert stop.is_overdue() and time.monotonic() - started < 30  # of the 60 that its first record would take
    assert writer.lost == 10 and writer.stuck and "did not take its records" in writer.first_error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EdgeLeatherError, match="No such device or address"):
        JsonLinesWriter(tmp_path / "pipe")


def test_the_terminal_line_of_each_verdict():
    assert "good    score 1.000 (threshold 2.000)" in terminal_line(entry(source="a.png"))
    assert terminal_line(entry(verdict="failed", error="no picture", source="a.png")).endswith("a.png: no picture")


def test_the_terminal_line_of_an_unfamiliar_frame_says_why():
    seen = entry(7, "unfamiliar", source="a.png")
    line = terminal_line(seen._replace(inspection=replace(seen.inspection, reason="too dark")))
    assert line == "     7  unfamiliar  too dark  score 1.000 (threshold 2.000)  1.0 ms  a.png"


def test_an_unfamiliar_frame_has_a_picture_with_or_without_a_map(tmp_path, noise_bgr):
    writer = DefectPicturesWriter(tmp_path)
    seen = replace(entry(0, "unfamiliar").inspection, image=noise_bgr, reason="the camera\u2019s lamp is out")
    with_map = replace(seen, frame=1, anomaly_map=np.ones((64, 64), np.float32), map_box_xywh=(0, 0, 64, 64))
    for one in (seen, with_map, replace(seen, frame=2, verdict="good")):
        writer.write(Entry(one))
    plain, heated = (read_image(path) for path in sorted(tmp_path.iterdir()))
    assert plain.shape == heated.shape == (plain.shape[0], 128, 3) and plain.shape[0] > 64
    assert np.array_equal(plain[-64:, :64], plain[-64:, 64:])
    assert not np.array_equal(heated[-64:, :64], heated[-64:, 64:])
