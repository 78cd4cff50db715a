"""Pictures that a process does not survive."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from edgeleather.events.store import VERDICT_TOPICS
from edgeleather.station.attempts import ATTEMPTS_FILE
from tests.events.receivers import wait_until
from tests.station.test_station import end, rows, started, write_station


def watching(folder, bundle, *more):
    (folder / "in").mkdir()
    sink = f'[sinks.log]\nkind = "jsonl"\npath = "events.jsonl"\nreceives = {json.dumps(VERDICT_TOPICS)}'
    return write_station(folder, bundle, 'address = "in"\nwatch = "all"', *more, sink)


def verdicts(folder):
    return {row["source"].rpartition("/")[2]: row for row in rows(folder, *VERDICT_TOPICS)}


def huge_png(path, side):
    """A PNG whose header says so many pixels, and which has one row of them."""
    cv2.imwrite(str(path), np.zeros((1, 1, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = _crc(bytes(content[12:29]))
    path.write_bytes(content)


def _crc(content):
    import zlib

    return zlib.crc32(content).to_bytes(4, "big")


def test_pictures_beyond_the_limits_fail_and_hold_nothing_up(bundle, good_picture, tmp_path):
    file = watching(tmp_path, bundle, "[input]\nmax_megapixels = 0.5")
    huge_png(tmp_path / "in/a-bomb.png", 32_000)
    with (tmp_path / "in/b-sparse.png").open("wb") as stream:
        stream.write(good_picture.read_bytes())
        stream.truncate(100 << 30)
    cv2.imwrite(str(tmp_path / "in/c-large.png"), np.zeros((800, 800, 3), np.uint8))
    (tmp_path / "in/d-good.png").write_bytes(good_picture.read_bytes())
    with started(file) as process:
        wait_until(lambda: len(verdicts(tmp_path)) == 4, 30, verdicts(tmp_path))
        end(process)
    found = verdicts(tmp_path)
    assert [found[name]["verdict"] == "failed" for name in sorted(found)] == [True, True, True, False]
    assert "at most 0.5 megapixels, got 32000 x 32000" in found["a-bomb.png"]["error"]
    assert "at most 0.5 megapixels, got 800 x 800" in found["c-large.png"]["error"]
    assert "MB for a picture of 64 x 64 pixels" in found["b-sparse.png"]["error"]


@pytest.mark.slow
def test_a_heavy_picture_in_which_the_station_ended_is_failed_at_the_next_start(bundle, good_picture, tmp_path):
    file = watching(tmp_path, bundle)
    noise = np.random.default_rng(0).integers(0, 256, (5000, 5000), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "in/a-heavy.png"), noise, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    (tmp_path / "in/b-good.png").write_bytes(good_picture.read_bytes())
    notes = tmp_path / "store" / ATTEMPTS_FILE
    with started(file) as process:
        wait_until(lambda: notes.exists() and b"a-heavy.png" in notes.read_bytes(), 30, "it is not tried")
        process.kill()  # as the kernel does when memory is short
        process.communicate()
    assert verdicts(tmp_path) == {}
    for _ in range(2):
        with started(file) as process:
            wait_until(lambda: len(verdicts(tmp_path)) == 2, 30, verdicts(tmp_path))
            end(process)
    found = verdicts(tmp_path)
    assert found["b-good.png"]["verdict"] != "failed"
    assert found["a-heavy.png"]["verdict"] == "failed" and "so it is not tried again" in found["a-heavy.png"]["error"]
