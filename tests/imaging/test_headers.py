from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.imaging.headers import read_header
from tests.imaging.pictures import by_pillow, leather_bgr, png_header, sound_files, tiff_header

FILES = sound_files(leather_bgr()[:96])


@pytest.mark.parametrize("encoding", FILES)
def test_the_header_says_format_size_and_number(encoding):
    header = read_header(io.BytesIO(FILES[encoding]))
    assert header is not None
    assert (header.width, header.height, header.pictures) == (128, 96, 1)
    assert encoding.startswith(header.format)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_several_pictures_are_counted_up_to_two(kind):
    pictures = [leather_bgr(16, seed) for seed in range(4)]
    header = read_header(io.BytesIO(by_pillow(pictures, kind)))
    assert header is not None and header.pictures == 2
    alone = read_header(io.BytesIO(by_pillow(pictures[:1], kind)))
    assert alone is not None and alone.pictures == 1


def test_only_the_header_is_read():
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size=-1):
            found = super().read(size)
            self.taken += len(found)
            return found

    for encoding, content in FILES.items():
        stream = Counting(content)
        read_header(stream)
        assert stream.taken < 2000, encoding


@pytest.mark.parametrize(
    "content",
    [
        tiff_header(10, 10, link=8),
        tiff_header(0, 10),
        png_header(32, 0),
        png_header(32, 32)[:-4] + b"IHDR",
        b"\xff\xd8" + b"\xff" * 50_000,
        b"\xff\xd8\xff\xd9\0\0\0",
        b"\xff\xd8\xff\xe0\0\0\0",
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sI", 0, b"abCd", 0) * 20_000,
        png_header(3, 3)[:-8] + struct.pack(">I4sI", 0, b"abCd", 0) * 20_000,
        b"RIFF\0\0\0\0WAVEfmt \0\0\0\0" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
    ],
)
def test_a_header_that_lies_is_a_value_error(content):
    with pytest.raises(ValueError, match=r"."):
        read_header(io.BytesIO(content))


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=40), st.integers(0, 300), st.integers(0, 2000))
def test_any_header_is_read_or_named(encoding, noise, at, kept):
    content = bytearray(FILES[encoding])
    content[at : at + len(noise)] = noise
    try:
        header = read_header(io.BytesIO(content[:kept]))
    except (EOFError, ValueError):
        return
    assert header is None or (header.width > 0 and header.height > 0)
