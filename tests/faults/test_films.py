"""Films that are whole, though their containers count more frames than they show."""

from __future__ import annotations

import struct

import cv2
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.edit_list import is_all_that_is_shown
from edgeleather.sources.opening import open_source
from tests.events.receivers import leather_like


@pytest.fixture
def film(tmp_path):
    """60 frames at 25 a second."""
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 64))
    for seed in range(60):
        writer.write(leather_like(seed))
    writer.release()
    return path


def trimmed(film, first, frames):
    """The film with an edit list that shows so many frames from this one on."""
    content = bytearray(film.read_bytes())
    at = content.index(b"elst") + 12
    (scale,) = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)
    length, start = struct.unpack_from(">Ii", content, at)
    struct.pack_into(">Ii", content, at, length * frames // 60, start + first * scale // 25)
    path = film.with_name("trimmed.mp4")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("first", "frames"), [(0, 60), (0, 30), (20, 40), (10, 20)])
def test_a_film_that_was_cut_by_its_edit_list_is_whole(film, first, frames):
    seen = list(open_source(str(trimmed(film, first, frames))))
    assert abs(len(seen) - frames) <= 1


def test_fewer_frames_than_the_edit_list_shows_are_damage(film):
    path = trimmed(film, 20, 40)
    assert is_all_that_is_shown(path, 40) and not is_all_that_is_shown(path, 30)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 8
    length = content.index(b"moov") - start
    content[start + length // 2 : start + length - 8] = bytes(length - 8 - length // 2)  # the second half is lost
    path.write_bytes(content)
    with pytest.raises(EdgeLeatherError, match="it is damaged"):
        list(open_source(str(path)))


@pytest.mark.parametrize("cut", [0, 4, 20, 100, 400])
def test_what_is_no_film_is_no_whole_one(film, tmp_path, cut):
    content = film.read_bytes()
    (tmp_path / "part.mp4").write_bytes(content[content.index(b"moov") - 4 :][:cut])
    assert not is_all_that_is_shown(tmp_path / "part.mp4", 60)
    assert not is_all_that_is_shown(tmp_path / "absent.mp4", 60)
    assert not is_all_that_is_shown(film.rename(tmp_path / "film.avi"), 60)
