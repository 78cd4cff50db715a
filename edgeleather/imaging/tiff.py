"""What a TIFF file says about its pages, read without decoding them, and the proof of its compressed strips.

The layout is that of TIFF 6.0 (Adobe 1992), sections 2 and 8, and of BigTIFF, which has 8 bytes where TIFF has 4.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
UNCOMPRESSED, PACKBITS = 1, 32773
_LZW, _DEFLATE = 5, (8, 32946)
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # unsigned integers; all that is needed here is of these types
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PAGE_KIND = 256, 257, 258, 259, 254
_OFFSETS, _SIZES = (273, 324), (279, 325)  # of strips, of tiles
_MOST_PAGES = 1000
_INFLATED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class TiffPage:
    """One page: its size in pixels, and where its strips or tiles are in the file as (offset, bytes)."""

    width: int
    height: int
    bits: int
    compression: int
    is_reduced: bool  # a thumbnail or a mask of another page
    blocks: tuple[tuple[int, int], ...]


def read_pages(stream: BinaryIO) -> Iterator[TiffPage]:
    """The pages of a TIFF file, in their order.

    Raises:
        EOFError: the file ends before they do.
        ValueError: they differ from what TIFF asks for.
    """
    head = _read(stream, 0, 16, shorter=8)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    (offset,) = struct.unpack_from(order + "Q", head, 8) if is_big else struct.unpack_from(order + "I", head, 4)
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) == _MOST_PAGES:
            raise ValueError("its list of pages has no end")
        seen.add(offset)
        count_bytes, entry_bytes, link = (8, 20, "Q") if is_big else (2, 12, "I")
        (count,) = struct.unpack(order + ("Q" if is_big else "H"), _read(stream, offset, count_bytes))
        if not 0 < count < 4096:
            raise ValueError(f"a page has {count} entries")
        entries = _read(stream, offset + count_bytes, count * entry_bytes)
        yield _page(stream, [entries[i : i + entry_bytes] for i in range(0, len(entries), entry_bytes)], order)
        (offset,) = struct.unpack(
            order + link, _read(stream, offset + count_bytes + count * entry_bytes, struct.calcsize(link))
        )


def damage_in(content: bytes, page: TiffPage) -> str:
    """What is wrong with the compressed pixels of a page of 8 bits a channel; empty where nothing is found.

    Deflate carries a checksum. Of LZW and others the decoder notices what cannot be decoded; OpenCV hides that for 8 bits.
    Uncompressed pixels carry nothing by which damage could be told.
    """
    if page.compression in _DEFLATE:
        try:
            for offset, size in page.blocks:
                _inflate(content[offset : offset + size])
        except zlib.error as error:
            return str(error)
        return ""
    if page.compression == UNCOMPRESSED or page.bits > 8:
        return ""
    # Its import takes 30 ms, which other formats need not pay.
    from PIL import TiffImagePlugin

    try:
        picture = TiffImagePlugin.TiffImageFile(BytesIO(content))
    except (SyntaxError, OSError, ValueError, TypeError, KeyError, struct.error):
        return ""  # a layout that Pillow does not know; OpenCV decides
    try:
        picture.load()
    except (OSError, EOFError, ValueError, SyntaxError, struct.error) as error:
        return str(error) or type(error).__name__
    return ""


def _inflate(strip: bytes) -> None:
    """Inflate in pieces, which needs little memory; the end of the stream is compared with its checksum."""
    inflater = zlib.decompressobj()
    while not inflater.eof:
        piece = inflater.decompress(strip, _INFLATED_AT_ONCE)
        strip = inflater.unconsumed_tail
        if not piece and not strip and not inflater.eof:
            raise zlib.error("a strip ends too early")


def _page(stream: BinaryIO, entries: Sequence[bytes], order: str) -> TiffPage:
    values = {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}

    def numbers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        return _numbers(stream, values[tag], order) if tag in values else default

    width, height = numbers(_WIDTH), numbers(_HEIGHT)
    if not width or not height:
        raise ValueError("a page has no size")
    blocks = [
        pair
        for offsets, sizes in zip(_OFFSETS, _SIZES, strict=True)
        for pair in zip(numbers(offsets), numbers(sizes), strict=False)
    ]
    kind = numbers(_PAGE_KIND, (0,))[0]
    bits = max(numbers(_BITS, (1,)))
    compression = numbers(_COMPRESSION, (UNCOMPRESSED,))[0]
    return TiffPage(width[0], height[0], bits, compression, bool(kind & 0b101), tuple(blocks))


def _numbers(stream: BinaryIO, entry: bytes, order: str) -> tuple[int, ...]:
    """The values of one entry, which holds them itself or the offset where they are."""
    is_big = len(entry) == 20
    kind, count = struct.unpack_from(order + ("HQ" if is_big else "HI"), entry, 2)
    if kind not in _TYPE_FORMATS or not count:
        raise ValueError("an entry of a page has another type than expected")
    value = entry[12:] if is_big else entry[8:]
    size = count * struct.calcsize(_TYPE_FORMATS[kind])
    if size > len(value):
        (offset,) = struct.unpack(order + ("Q" if is_big else "I"), value)
        value = _read(stream, offset, size)
    return struct.unpack_from(f"{order}{count}{_TYPE_FORMATS[kind]}", value)


def _read(stream: BinaryIO, offset: int, size: int, shorter: int | None = None) -> bytes:
    """So many bytes at an offset; the size of the file is looked at first, so that a false number costs no memory."""
    end = stream.seek(0, os.SEEK_END)
    if offset > end or (size > end - offset and shorter is None):
        raise EOFError
    stream.seek(offset)
    found = stream.read(size)
    if len(found) < (size if shorter is None else shorter):
        raise EOFError
    return found
