"""What a picture file says about itself, read from its header alone: format, size in pixels, number of pictures."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from edgeleather.imaging import tiff

_MOST_PARTS = 10_000  # chunks or segments; those of a real picture are a few dozen


@dataclass(frozen=True)
class PictureHeader:
    """`pictures` counts pages or frames, and stops at 2. `coded_from` is the offset in bytes behind the header's parts."""

    format: str
    width: int
    height: int
    pictures: int = 1
    coded_from: int = 0
    page: tiff.TiffPage | None = None


def read_header(stream: BinaryIO) -> PictureHeader | None:
    """The header of a PNG, JPEG, BMP, TIFF or WebP file; None for all other content.

    Raises:
        EOFError: the file ends within it.
        ValueError: it differs from what the format asks for.
    """
    start = stream.read(16)
    for signatures, parse in _FORMATS:
        if start.startswith(signatures):
            header = parse(stream)
            if header.width < 1 or header.height < 1:
                raise ValueError(f"it says {header.width} x {header.height} pixels")
            return header
    return None


def _png(stream: BinaryIO) -> PictureHeader:
    """The size from IHDR; an animated PNG has acTL with the number of frames before its first IDAT."""
    stream.seek(8)
    width = height = 0
    pictures = 1
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack(">I4s", _take(stream, 8))
        if kind in (b"IDAT", b"IEND"):
            return PictureHeader("png", width, height, pictures, stream.tell())
        if (kind == b"IHDR") != (width == 0) or length > 0x7FFFFFFF:
            raise ValueError("its chunks are not those of a PNG")
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", _take(stream, length) if length == 13 else b"\0" * 8)
        elif kind == b"acTL":
            pictures = min(2, struct.unpack_from(">I", _take(stream, min(length, 8)))[0])
            stream.seek(length - 8, os.SEEK_CUR)
        else:
            stream.seek(length, os.SEEK_CUR)
        stream.seek(4, os.SEEK_CUR)  # the checksum, which the decoder compares
    raise ValueError(f"it has more than {_MOST_PARTS} chunks before its pixels")


def _jpeg(stream: BinaryIO) -> PictureHeader:
    """The size from the frame header (SOF), and where the first scan (SOS) begins."""
    stream.seek(2)
    width = height = 0
    for _ in range(_MOST_PARTS):
        start, code = _take(stream, 2)
        if start != 0xFF:
            raise ValueError("its segments are not those of a JPEG")
        if code in (0x01, 0xFF, *range(0xD0, 0xD8)):  # these stand alone; 0xFF fills up
            stream.seek(-1 if code == 0xFF else 0, os.SEEK_CUR)
            continue
        (length,) = struct.unpack(">H", _take(stream, 2))
        if code == 0xDA:
            return PictureHeader("jpeg", width, height, coded_from=stream.tell())
        if code == 0xD9 or length < 2:
            raise ValueError("it has no scan")
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", _take(stream, 5), 1)
            length -= 5
        stream.seek(length - 2, os.SEEK_CUR)
    raise ValueError(f"it has more than {_MOST_PARTS} segments before its pixels")


def _bmp(stream: BinaryIO) -> PictureHeader:
    """The size from the info header, of which the oldest kind has 16 bits a number; a negative height means top down."""
    stream.seek(14)
    (length,) = struct.unpack("<I", _take(stream, 4))
    width, height = struct.unpack("<HH", _take(stream, 4)) if length == 12 else struct.unpack("<ii", _take(stream, 8))
    return PictureHeader("bmp", width, abs(height))


def _tiff(stream: BinaryIO) -> PictureHeader:
    """The size of the first page; thumbnails and masks of it do not count as pictures."""
    first = None
    pictures = 0
    for page in tiff.read_pages(stream):
        first = first or page
        pictures += page is first or not page.is_reduced
        if pictures == 2:
            break
    if first is None:
        raise ValueError("it has no page")
    return PictureHeader("tiff", first.width, first.height, pictures, page=first)


def _webp(stream: BinaryIO) -> PictureHeader:
    """The size from the first chunk: of the canvas (VP8X), lossy (VP8) or lossless (VP8L); each frame of several is an ANMF."""
    stream.seek(8)
    if _take(stream, 4) != b"WEBP":
        raise ValueError("it is another RIFF file")
    kind, length = struct.unpack("<4sI", _take(stream, 8))
    body = _take(stream, 10 if kind != b"VP8L" else 5)
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", body, 6))
        return PictureHeader("webp", width, height)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return PictureHeader("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise ValueError("its chunks are not those of a WebP")
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    return PictureHeader("webp", width, height, _webp_frames(stream, 20 + length) if body[0] & 2 else 1)


def _webp_frames(stream: BinaryIO, offset: int) -> int:
    """How many frames follow, at most 2."""
    frames = 0
    end = stream.seek(0, os.SEEK_END)
    for _ in range(_MOST_PARTS):
        if offset + 8 > end or frames == 2:
            break
        stream.seek(offset)
        kind, length = struct.unpack("<4sI", _take(stream, 8))
        frames += kind == b"ANMF"
        offset += 8 + length + length % 2
    return frames


def _take(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


_FORMATS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[BinaryIO], PictureHeader]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"BM", _bmp),
    (tiff.SIGNATURES, _tiff),
    (b"RIFF", _webp),
)
