"""How many frames of an MP4 or MOV film are shown: one that was cut without coding it again holds more.

The boxes are those of ISO/IEC 14496-12: `elst` names the parts of the film that are shown, `stts` and `ctts` when each frame is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from edgeleather.files import open_plain_file

_SUFFIXES = (".mp4", ".mov", ".m4v")
_MOST_BYTES = 64_000_000  # of `moov`, which holds some bytes per frame
_MOST_FRAMES = 10_000_000
_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


def is_all_that_is_shown(path: Path, frames: int) -> bool:
    """Whether so many frames are all that a film's edit list shows; False where it has none, or cannot be read."""
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        shown = _frames_shown(_moov(path))
    except (OSError, ValueError, LookupError, struct.error):
        return False
    # A decoder may show the frame in which a part begins or ends, or not.
    return shown is not None and frames >= shown - 1


def _moov(path: Path) -> bytes:
    """The box that describes the film."""
    with open_plain_file(path) as stream:
        while head := stream.read(8):
            size, kind = struct.unpack(">I4s", head)
            taken = 8
            if size == 1:
                size, taken = struct.unpack(">Q", stream.read(8))[0], 16
            if kind == b"moov" and size <= _MOST_BYTES:
                return stream.read(size - taken)
            if size < taken:
                break
            stream.seek(size - taken, 1)
    raise ValueError("no description of the film")


def _boxes(content: bytes, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box, and of those inside containers."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < 8:
            return
        body = content[at + 8 : at + size]
        yield kind, body
        if kind in _CONTAINERS and depth < len(_CONTAINERS):
            yield from _boxes(body, depth + 1)
        at += size


def _frames_shown(moov: bytes) -> int | None:
    """How many frames the edit list of the film's picture track shows; None without an edit list."""
    film_scale = 0
    for kind, body in _boxes(moov):
        if kind == b"mvhd":
            (film_scale,) = struct.unpack_from(">I", body, 20 if body[0] else 12)
        if kind == b"trak":
            parts = dict(reversed(list(_boxes(body))))  # the first of a kind counts: QuickTime has a second `hdlr`
            if parts.get(b"hdlr", b"")[8:12] == b"vide":
                if b"elst" not in parts or not film_scale:
                    return None
                edits = list(_edits(parts[b"elst"]))
                (scale,) = struct.unpack_from(">I", parts[b"mdhd"], 20 if parts[b"mdhd"][0] else 12)
                times = _times(parts[b"stts"], parts.get(b"ctts"))
                # An edit's length is in the film's unit of time, its start in the track's.
                return sum(
                    sum(start <= time < start + length * scale / film_scale for time in times)
                    for length, start in edits
                )
    return None


def _edits(elst: bytes) -> Iterator[tuple[int, int]]:
    """Length and start of each part that is shown; one without a start is a pause."""
    (count,) = struct.unpack_from(">I", elst, 4)
    layout, size = (">Qq", 20) if elst[0] else (">Ii", 12)
    for index in range(min(count, 1000)):
        length, start = struct.unpack_from(layout, elst, 8 + index * size)
        if start >= 0:
            yield length, start


def _times(stts: bytes, ctts: bytes | None) -> list[int]:
    """When each frame is shown, in the track's unit of time."""
    times, now = list[int](), 0
    for count, step in _runs(stts):
        for _ in range(count):
            times.append(now)
            now += step
    shifts = [shift for count, shift in _runs(ctts, "i") for _ in range(count)] if ctts else []
    return [time + shift for time, shift in zip(times, shifts, strict=True)] if shifts else times


def _runs(table: bytes, kind: str = "I") -> list[tuple[int, int]]:
    (count,) = struct.unpack_from(">I", table, 4)
    runs = [struct.unpack_from(">I" + kind, table, 8 + 8 * index) for index in range(count)]
    if sum(repeats for repeats, _ in runs) > _MOST_FRAMES:
        raise ValueError("more frames than a film has")
    return [(repeats, value) for repeats, value in runs]
