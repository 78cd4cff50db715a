from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.store import Store
from edgeleather.sources.files import frame_of_picture
from edgeleather.station.attempts import ATTEMPTS_FILE, Attempts

DIES = """
import os, sys
from pathlib import Path
from tests.station.test_attempts import opened
attempts = opened(Path(sys.argv[1]))
attempts.__enter__()
picture = Path(sys.argv[2])
attempts.begin(picture)
if sys.argv[3] != "decoding":
    from edgeleather.sources.frame import Frame
    attempts.end(picture)
    attempts.begin_inspection(Frame(0, 0.0, str(picture), None))
if sys.argv[3] == "engine":
    attempts.give_up_inspection()
if sys.argv[3] == "inspected":
    attempts.end_inspection()
os._exit(9)
"""


def opened(folder, max_megapixels=100.0):
    with contextlib.closing(Store(folder, create=True)) as store:
        return Attempts(store, max_megapixels)


def dies(folder, picture, where):
    """A process that ends while it decodes or inspects a picture."""
    result = subprocess.run(
        [sys.executable, "-c", DIES, str(folder), str(picture), where], capture_output=True, text=True
    )
    assert result.returncode == 9, result.stderr


@pytest.fixture
def heavy_picture(tmp_path):
    path = tmp_path / "heavy.png"
    cv2.imwrite(str(path), np.zeros((4100, 4100), np.uint8))
    return path


@pytest.mark.parametrize("where", ["decoding", "inspecting"])
def test_a_picture_that_ended_the_process_twice_is_left_alone_until_it_is_touched(tmp_path, good_picture, where):
    picture = tmp_path / "a.png"
    picture.write_bytes(good_picture.read_bytes())
    for ended in range(2):
        dies(tmp_path / "store", picture, where)
        with opened(tmp_path / "store") as attempts:
            frame = frame_of_picture(0, picture, attempts)
            assert (frame.image is None) == (ended == 1)
            assert frame_of_picture(0, good_picture, attempts).image is not None
    assert "ended while it decoded or inspected this picture in 2 attempts" in frame.error
    os.utime(picture, (1, 1))
    with opened(tmp_path / "store") as attempts:
        assert frame_of_picture(0, picture, attempts).error is None


def test_a_heavy_picture_is_not_tried_a_second_time(tmp_path, heavy_picture):
    dies(tmp_path / "store", heavy_picture, "decoding")
    for _ in range(2):
        with opened(tmp_path / "store") as attempts:
            frame = frame_of_picture(0, heavy_picture, attempts)
            assert frame.image is None and "so it is not tried again" in frame.error


def test_a_picture_from_which_the_engine_does_not_come_back_is_not_tried_a_second_time(tmp_path, good_picture):
    dies(tmp_path / "store", good_picture, "engine")
    with opened(tmp_path / "store") as attempts:
        assert "not tried again" in attempts.refusal(good_picture)


def test_a_picture_that_was_inspected_when_the_process_ended_is_not_suspected(tmp_path, heavy_picture):
    dies(tmp_path / "store", heavy_picture, "inspected")
    with opened(tmp_path / "store") as attempts:
        assert attempts.refusal(heavy_picture) is None


@pytest.mark.parametrize("error", [None, EdgeLeatherError("lost"), KeyboardInterrupt(), ZeroDivisionError()])
def test_an_end_that_the_picture_has_no_part_in_leaves_no_note(tmp_path, heavy_picture, error):
    with contextlib.suppress(BaseException), opened(tmp_path) as attempts:
        attempts.begin(heavy_picture)
        if error:
            raise error
    with opened(tmp_path) as attempts:
        assert (attempts.refusal(heavy_picture) is None) == (not isinstance(error, ZeroDivisionError))


def test_larger_pictures_than_allowed_fail_before_they_are_decoded(tmp_path, heavy_picture):
    with opened(tmp_path, max_megapixels=16.0) as attempts:
        frame = frame_of_picture(0, heavy_picture, attempts)
    assert frame.image is None and "at most 16 megapixels, got 4100 x 4100" in frame.error


@pytest.mark.parametrize("content", [b"", b"x" * 40_000, b"\xff" * 8, b"\x05\0\0\0hello"])
def test_a_damaged_file_of_notes_is_as_good_as_none(tmp_path, good_picture, content):
    opened(tmp_path).__exit__(None, None, None)
    (tmp_path / ATTEMPTS_FILE).write_bytes(content)
    with opened(tmp_path) as attempts:
        assert attempts.refusal(good_picture) is None


def test_notes_cost_a_hundredth_of_what_decoding_the_smallest_picture_costs(tmp_path, good_picture):
    decoding, noting = [], []
    with opened(tmp_path) as attempts:
        for _ in range(30):
            started = time.perf_counter()
            frame = frame_of_picture(0, good_picture)
            decoded = time.perf_counter()
            attempts.begin(good_picture)
            attempts.end(good_picture)
            attempts.begin_inspection(frame)
            attempts.end_inspection()
            decoding.append(decoded - started)
            noting.append(time.perf_counter() - decoded)
    print(statistics.median(decoding), statistics.median(noting))
    assert statistics.median(noting) < statistics.median(decoding)
