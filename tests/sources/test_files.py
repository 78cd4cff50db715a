from __future__ import annotations

import os
import shutil
import statistics
import threading
import time

import pytest

from edgeleather.dataset.film import write_film
from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.files import PictureSource
from edgeleather.sources.memory import MemorySource
from edgeleather.sources.opening import open_source
from edgeleather.sources.read_ahead import ReadAhead
from tests.tiny import SETTINGS, write_cut_film


def test_a_picture_a_folder_and_a_pattern(dataset_folder, good_picture):
    assert [frame.source for frame in open_source(str(good_picture))] == [str(good_picture)]
    folder = open_source(str(dataset_folder / "train/good"))
    frames = list(folder)
    assert folder.total == len(frames) == SETTINGS.train_good and folder.drop_policy == "every_frame"
    assert [frame.index for frame in frames] == list(range(len(frames)))
    pattern = open_source(str(dataset_folder / "test/*/00?.png"))
    assert len(list(pattern)) == 8 + 7 * 3


def test_a_damaged_picture_is_a_failed_frame_and_not_the_end(dataset_folder, tmp_path):
    shutil.copy(dataset_folder / "test/good/000.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"damaged")
    shutil.copy(dataset_folder / "test/good/001.png", tmp_path / "c.png")
    frames = list(open_source(str(tmp_path)))
    assert [frame.image is None for frame in frames] == [False, True, False]
    assert "does not decode" in frames[1].error


def test_every_frame_of_a_video(tmp_path):
    write_film(tmp_path / "film.mkv", 12, SETTINGS)
    frames = list(open_source(str(tmp_path / "film.mkv")))
    assert len(frames) == 12 and frames[0].image.shape == (64, 64, 3)


def test_a_cut_video_ends_with_an_error_after_its_frames(tmp_path):
    path = tmp_path / "film.avi"
    write_cut_film(path, kept=1 / 3)
    frames = []
    with pytest.raises(EdgeLeatherError, match=r"of 60 frames; it is damaged|does not open"):
        for frame in open_source(str(path)):
            frames.append(frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", None, "expected pictures in this folder"),
        ("notes.txt", b"text", "expected a picture or a video"),
        ("film.mp4", b"no video", "expected a video"),
    ],
)
def test_what_is_no_source_is_named(tmp_path, name, content, message):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgeLeatherError, match=message):
        open_source(str(tmp_path / name))


def test_nothing_there(tmp_path):
    with pytest.raises(EdgeLeatherError, match="found nothing there"):
        open_source(str(tmp_path / "absent.png"))
    with pytest.raises(EdgeLeatherError, match="match this pattern"):
        open_source(str(tmp_path / "*.png"))


def test_a_folder_of_folders_says_how_to_reach_them(dataset_folder):
    with pytest.raises(EdgeLeatherError, match=r"quote a pattern"):
        open_source(str(dataset_folder / "test"))


def test_files_are_read_while_the_frame_before_is_inspected(good_picture):
    class Slow(PictureSource):
        def __iter__(self):
            for frame in super().__iter__():
                time.sleep(0.03)
                yield frame

    def seconds_of(source):
        started = time.perf_counter()
        for number, frame in enumerate(source):
            time.sleep(0.03)
            assert frame.index == number
        return time.perf_counter() - started

    ratios = []
    for _ in range(3):
        ahead = seconds_of(ReadAhead(Slow([good_picture] * 20), threading.Event()))
        ratios.append(ahead / seconds_of(Slow([good_picture] * 20)))
    assert statistics.median(ratios) < 0.85


def test_reading_ahead_ends_with_who_iterates_and_passes_errors_on(good_picture):
    class Breaks(PictureSource):
        ended = False

        def __iter__(self):
            try:
                yield from super().__iter__()
                raise EdgeLeatherError("the drive is gone")
            finally:
                self.ended = True

    source = Breaks([good_picture] * 3)
    with pytest.raises(EdgeLeatherError, match="the drive is gone"):
        list(ReadAhead(source, threading.Event()))
    left = Breaks([good_picture] * 100)
    frames = iter(ReadAhead(left, threading.Event()))
    next(frames)
    frames.close()
    assert source.ended and left.ended


def test_frames_from_memory(noise_bgr):
    (frame,) = MemorySource([noise_bgr])
    assert frame.image is noise_bgr and frame.source == "memory[0]"


def test_a_name_that_is_no_utf8_or_breaks_the_line_is_shown_escaped(dataset_folder, tmp_path):
    shutil.copy(dataset_folder / "test/good/000.png", os.fsencode(tmp_path) + b"/bad\xff.png")
    shutil.copy(dataset_folder / "test/good/000.png", tmp_path / "new\nline.png")
    sources = [frame.source for frame in open_source(str(tmp_path))]
    assert [source.rpartition("/")[2] for source in sources] == ["bad\\udcff.png", "new\\nline.png"]
    for source in sources:
        source.encode("utf-8")
