"""Watched folders: what comes is inspected once, whoever writes, renames or takes away, and whatever clocks say."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time

import cv2
import numpy as np
import pytest

from edgeleather.events.store import Store
from edgeleather.sources import arrivals
from edgeleather.sources.opening import open_source
from edgeleather.sources.patience import Patience
from edgeleather.station.watching import known_pictures
from tests.events.receivers import leather_like, wait_until


class Watcher:
    """Runs a watched folder on a thread and keeps its frames."""

    def __init__(self, folder, patience=Patience(), known=None):
        self.frames, self.states, self.stop = [], [], threading.Event()
        self.source = open_source(
            str(folder), self.stop, patience, lambda state, detail: self.states.append(state), "new", known
        )
        self._thread = threading.Thread(target=lambda: self.frames.extend(self.source))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()

    @property
    def names(self):
        return [frame.source.rpartition("/")[2] for frame in self.frames]

    def wait_for(self, count, seconds=20):
        wait_until(lambda: len(self.frames) >= count, seconds, self.names)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def put(folder, name, seed=0, modified=None):
    """Write a picture elsewhere and rename it into place."""
    partial = folder.parent / f"partial-{name}"
    cv2.imwrite(str(partial), leather_like(seed))
    if modified is not None:
        os.utime(partial, (modified, modified))
    partial.rename(folder / name)


def test_a_silent_folder_is_a_fault_where_a_time_is_given(folder):
    with Watcher(folder) as plain, Watcher(folder, Patience(stall_seconds=0.5)) as watcher:
        wait_until(lambda: watcher.states == ["streaming", "silent"], 10, watcher.states)
        put(folder, "a.png")
        wait_until(lambda: watcher.states[-1] == "streaming again", 10, watcher.states)
        wait_until(lambda: watcher.states[-1] == "silent", 10, watcher.states)
    assert plain.states == ["streaming"]


def test_a_name_that_is_written_again_and_again_is_inspected(folder):
    with Watcher(folder) as watcher:
        until, written = time.monotonic() + 5, 0
        while time.monotonic() < until:
            put(folder, "latest.png", seed=written)
            written += 1
            time.sleep(0.03)
        during = len(watcher.frames)
        wait_until(lambda: len(watcher.frames) > during, 10, "the last one is not inspected")
        time.sleep(0.5)
    assert during >= 2 and all(frame.image is not None for frame in watcher.frames)
    assert watcher.source.dropped > 0  # those that were replaced before their turn
    assert np.array_equal(watcher.frames[-1].image, leather_like(written - 1))


def test_a_name_of_which_no_copy_is_ever_whole_has_failed(folder, monkeypatch):
    monkeypatch.setattr(arrivals, "NEVER_WHOLE_SECONDS", 2.5)
    with Watcher(folder) as watcher:
        until = time.monotonic() + 20
        while not watcher.frames and time.monotonic() < until:
            (folder / "latest.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(500))
            time.sleep(0.03)
    assert watcher.frames[0].image is None and "latest.png" in watcher.frames[0].error


def test_pictures_that_go_away_before_their_turn_count_as_dropped(folder):
    with Watcher(folder) as watcher:
        for number in range(60):
            put(folder, f"{number:03d}.png")
        wait_until(lambda: len(watcher.source._source._arrivals._waiting) or watcher.frames, 10, "nothing is seen")
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                path.rename(folder.parent / path.name)
        time.sleep(1.0)
        inspected = len(watcher.frames)
    assert 0 < watcher.source.dropped <= 60 - inspected


def test_a_picture_that_is_renamed_while_it_waits_is_inspected_and_not_dropped(folder):
    with Watcher(folder) as watcher:
        put(folder, "a.png")
        wait_until(lambda: watcher.source._source._arrivals._waiting, 10, "it is not seen")
        with contextlib.suppress(OSError):
            (folder / "a.png").rename(folder / "b.png")
        watcher.wait_for(1)
        time.sleep(0.7)
    assert len(watcher.frames) == 1 and watcher.source.dropped == 0


def test_another_picture_of_the_same_size_and_date_is_a_new_one(folder):
    with Watcher(folder) as watcher:
        for seed in range(4):  # of a camera without a clock
            put(folder, "live.bmp", seed, modified=315_532_800)
            watcher.wait_for(seed + 1)
    assert all(np.array_equal(frame.image, leather_like(seed)) for seed, frame in enumerate(watcher.frames))


def keep(store, frames):
    store.append([], [file for frame in frames for file in frame.seen])


def test_renamed_and_chmod_ed_files_are_not_inspected_again_by_the_next_run(folder, tmp_path):
    put(folder, "old.bmp", 99)
    with contextlib.closing(Store(tmp_path / "store", create=True)) as store:
        with Watcher(folder, known=known_pictures(store, folder)) as watcher:
            for seed in range(5):
                put(folder, f"{seed}.bmp", seed)
            watcher.wait_for(5)
            (folder / "4.bmp").rename(folder / "4-done.bmp")
            wait_until(lambda: watcher.source._source._seen.has_name("4-done.bmp"), 10, "it is not known again")
            put(folder, "4.bmp", 40)
            watcher.wait_for(6)
        keep(store, watcher.frames)
        (folder / "0.bmp").chmod(0o600)
        (folder / "1.bmp").rename(folder / "1-renamed.bmp")
        os.link(folder / "2.bmp", tmp_path / "2.bmp")
        (folder / "old.bmp").chmod(0o600)
        (folder / "old.bmp").rename(folder / "older.bmp")
        status = (folder / "3.bmp").stat()
        cv2.imwrite(str(folder / "3.bmp"), leather_like(33))  # another picture, of the same size and date
        os.utime(folder / "3.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
        put(folder, "new.bmp", 7)
        with Watcher(folder, known=known_pictures(store, folder)) as again:
            again.wait_for(2)
            time.sleep(1.0)
    assert sorted(again.names) == ["3.bmp", "new.bmp"]


def test_no_clock_decides_what_is_new(folder, tmp_path, monkeypatch):
    put(folder, "before.png", 1)
    with contextlib.closing(Store(tmp_path / "store", create=True)) as store:
        with monkeypatch.context() as ahead:
            now = time.time
            ahead.setattr(time, "time", lambda: now() + 400 * 86_400)
            with Watcher(folder, known=known_pictures(store, folder)) as watcher:
                put(folder, "a.png", 2)
                watcher.wait_for(1)
            keep(store, watcher.frames)
        put(folder, "a.png", 3)  # while it is down
        put(folder, "from-long-ago.png", 4, modified=0)
        put(folder, "from-tomorrow.png", 5, modified=now() + 86_400)
        with Watcher(folder, known=known_pictures(store, folder)) as again:
            again.wait_for(3)
            time.sleep(0.7)
    assert watcher.names == ["a.png"] and sorted(again.names) == ["a.png", "from-long-ago.png", "from-tomorrow.png"]


@pytest.mark.parametrize("suffix", ["bmp", "tif", "png", "jpg", "webp"])
def test_a_copy_whose_size_is_set_first_is_inspected_when_it_is_whole(folder, tmp_path, suffix):
    arguments = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == "tif" else []
    cv2.imwrite(str(tmp_path / f"whole.{suffix}"), leather_like(0, 256), arguments)
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    third = len(content) // 3
    with Watcher(folder) as watcher:
        with (folder / f"a.{suffix}").open("wb") as stream:
            stream.truncate(len(content))
            for start in (0, third, 2 * third):
                stream.seek(start)
                stream.write(content[start : start + third] if start < 2 * third else content[start:])
                stream.flush()
                time.sleep(0.8)
                assert start == 2 * third or not watcher.frames
        watcher.wait_for(1)
    assert len(watcher.frames) == 1 and watcher.frames[0].image is not None


def test_black_pixels_at_the_end_are_believed_in_the_end(folder):
    with Watcher(folder) as watcher:
        cv2.imwrite(str(folder / "black.bmp"), np.zeros((64, 64, 3), np.uint8))
        watcher.wait_for(1)
    assert watcher.frames[0].image is not None


def test_what_is_passed_over_is_said_once_per_kind(folder, caplog):
    (folder / "2026").mkdir()
    with caplog.at_level(logging.WARNING, "edgeleather.sources.listing"), Watcher(folder) as watcher:
        for name in ("a.jfif", "b.jfif", "c.heic", ".hidden.tmp"):
            (folder / name).write_bytes(b"x")
        (folder / "loop.png").symlink_to("loop.png")
        put(folder, "a.png")
        watcher.wait_for(1)
        time.sleep(0.5)
    said = [record.getMessage().partition("passed over")[2] for record in caplog.records]
    assert len([text for text in said if ".jfif, such as" in text]) == 1 and len(said) == 5
    assert said[-1].count("files of kind .jfif: 2") == 1 and "folders: 1" in said[-1] and "hidden" not in str(said)
    assert watcher.names == ["a.png"]


def test_a_folder_that_is_inspected_once_says_what_it_passes_over(folder, caplog):
    put(folder, "a.png")
    (folder / "more").mkdir()
    shutil.copy(folder / "a.png", folder / "a.jfif")
    with caplog.at_level(logging.WARNING, "edgeleather.sources.listing"):
        assert len(list(open_source(str(folder)))) == 1
    assert "passed over in all: folders: 1, files of kind .jfif: 1" in caplog.text
