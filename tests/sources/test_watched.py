from __future__ import annotations

import shutil
import threading
import time

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.opening import open_source


class Watcher:
    """Runs a watched folder on a thread and keeps its frames."""

    def __init__(self, folder, watch="new"):
        self.frames, self.states, self.stop = [], [], threading.Event()
        self._source = open_source(str(folder), self.stop, listener=self._on_state, watch=watch)
        self._thread = threading.Thread(target=self._work)

    def _on_state(self, state, detail):
        self.states.append(state)

    def _work(self):
        for frame in self._source:
            self.frames.append(frame)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()

    def names(self):
        return [frame.source.rpartition("/")[2] for frame in self.frames]

    def wait_for(self, count, seconds=8):
        limit = time.monotonic() + seconds
        while len(self.frames) < count:
            assert time.monotonic() < limit, self.names()
            time.sleep(0.02)


@pytest.fixture
def folder(tmp_path, good_picture):
    (tmp_path / "in").mkdir()
    shutil.copy(good_picture, tmp_path / "in/before.png")
    return tmp_path / "in"


def test_new_pictures_are_inspected_once_and_those_there_before_are_not(folder, good_picture):
    with Watcher(folder) as watcher:
        for name in ("b.png", "a.png"):
            shutil.copy(good_picture, folder / name)
            time.sleep(0.05)
        (folder / "notes.txt").write_text("no picture")
        shutil.copy(good_picture, folder / ".hidden.png")
        watcher.wait_for(2)
        time.sleep(0.6)
        assert watcher.names() == ["b.png", "a.png"] and all(frame.image is not None for frame in watcher.frames)
    assert [frame.index for frame in watcher.frames] == [0, 1]


def test_all_begins_with_those_that_are_there(folder, good_picture):
    with Watcher(folder, "all") as watcher:
        watcher.wait_for(1)
        shutil.copy(good_picture, folder / "new.png")
        watcher.wait_for(2)
    assert watcher.names() == ["before.png", "new.png"]


def test_a_picture_that_is_written_slowly_is_inspected_when_it_is_whole(folder, hole_picture):
    content = hole_picture.read_bytes()
    with Watcher(folder) as watcher, (folder / "slow.png").open("wb") as stream:
        for start in range(0, len(content), 1 + len(content) // 4):
            stream.write(content[start : start + 1 + len(content) // 4])
            stream.flush()
            time.sleep(0.5)  # longer than it takes to be called quiet
            complete = start + 1 + len(content) // 4 >= len(content)
            assert complete or not watcher.frames
        watcher.wait_for(1)
    assert watcher.frames[0].image is not None and len(watcher.frames) == 1


def test_one_that_stays_damaged_is_a_failed_frame(folder):
    with Watcher(folder) as watcher:
        (folder / "damaged.png").write_bytes(b"damaged")
        watcher.wait_for(1)
    assert watcher.frames[0].image is None and "does not decode" in watcher.frames[0].error


def test_a_picture_that_is_written_again_is_a_new_one(folder, hole_picture):
    with Watcher(folder) as watcher:
        shutil.copy(hole_picture, folder / "before.png")
        watcher.wait_for(1)
    assert watcher.names() == ["before.png"]


def test_a_folder_that_goes_away_is_looked_for(folder, good_picture):
    with Watcher(folder) as watcher:
        shutil.rmtree(folder)
        limit = time.monotonic() + 5
        while "lost" not in watcher.states:
            assert time.monotonic() < limit
            time.sleep(0.02)
        folder.mkdir()
        shutil.copy(good_picture, folder / "new.png")
        watcher.wait_for(1)
    assert watcher.states == ["streaming", "lost", "streaming again"]


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("absent", "file"):
        with pytest.raises(EdgeLeatherError, match="expected a folder to watch"):
            open_source(str(tmp_path / name), watch="new")


def test_a_drive_that_is_away_as_an_empty_folder_brings_nothing_up_again(folder, good_picture):
    with Watcher(folder) as watcher:
        shutil.copy(good_picture, folder / "a.png")
        watcher.wait_for(1)
        folder.rename(folder.with_name("away"))
        folder.mkdir()
        time.sleep(0.5)
        folder.rmdir()
        folder.with_name("away").rename(folder)
        shutil.copy(good_picture, folder / "b.png")
        watcher.wait_for(2)
        time.sleep(0.5)
    assert watcher.names() == ["a.png", "b.png"]


def test_a_picture_that_is_renamed_is_not_inspected_again(folder, good_picture):
    with Watcher(folder) as watcher:
        shutil.copy(good_picture, folder / "a.png")
        watcher.wait_for(1)
        (folder / "a.png").rename(folder / "a-done.png")
        time.sleep(0.8)
    assert watcher.names() == ["a.png"]


def test_a_name_that_is_written_again_and_again_takes_no_memory(folder, good_picture):
    with Watcher(folder) as watcher:
        for n in range(4):
            shutil.copy(good_picture, folder / "latest.png")
            watcher.wait_for(n + 1)
        watched = watcher._source._source
        assert len(watched._seen._by_inode) == len(watched._seen._by_name) == 2
