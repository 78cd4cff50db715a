"""The picture files that a pattern names, each once, however many links lead to it or back."""

from __future__ import annotations

import fnmatch
import glob
import heapq
import os
import re
import stat
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import is_image

_MOST_PICTURES = 1_000_000


def matching_pictures(pattern: str, stop: threading.Event) -> list[Path]:
    """The pictures that match a pattern as the shell's, with ** for folders at any depth, sorted; none once `stop` is set.

    A file is told by device and inode, and given once, under the path with the fewest links.

    Raises:
        EdgeLeatherError: more pictures than a list can hold.
    """
    found: dict[tuple[int, int] | str, Path] = {}
    for place in _matching_files(pattern, stop):
        found.setdefault(place.identity, place.path)
        if len(found) > _MOST_PICTURES:
            raise EdgeLeatherError(
                f"{pattern}: expected at most {_MOST_PICTURES} pictures, got more. Narrow the pattern."
            )
    return [] if stop.is_set() else sorted(found.values())


class _Place(NamedTuple):
    """A file or folder on the way; those with fewer links come first. `part_index` is the part of the pattern that comes next."""

    links: int
    path: Path
    part_index: int
    identity: tuple[int, int] | str
    is_folder: bool


def _matching_files(pattern: str, stop: threading.Event) -> Iterator[_Place]:
    """The pictures that match, perhaps again under another path; each folder is entered once for each part of the pattern."""
    parts = Path(pattern).parts
    waiting, entered = list[_Place](), set[tuple[tuple[int, int] | str, int]]()
    _push(waiting, Path(parts[0]) if Path(pattern).is_absolute() else Path(), Path(pattern).is_absolute(), 0)
    while waiting and not stop.is_set():
        place = heapq.heappop(waiting)
        if place.part_index == len(parts):
            if not place.is_folder and is_image(place.path):
                yield place
        elif place.is_folder and (place.identity, place.part_index) not in entered:
            entered.add((place.identity, place.part_index))
            _enter(place, parts, waiting, stop)


def _enter(place: _Place, parts: tuple[str, ...], waiting: list[_Place], stop: threading.Event) -> None:
    """Add what a folder holds that matches the next part of the pattern."""
    part, following = parts[place.part_index], place.part_index + 1
    if part == "**":
        _push(waiting, place.path, following, place.links)
    elif not glob.has_magic(part):
        path = place.path / part
        _push(waiting, path, following, place.links + path.is_symlink())
        return
    for name, is_link in _names(place.path):
        if stop.is_set():
            return
        if part == "**" and not name.startswith("."):
            is_last = following == len(parts)
            _push(waiting, place.path / name, place.part_index, place.links + is_link)
            if is_last:
                _push(waiting, place.path / name, following, place.links + is_link)
        elif part != "**" and _matches(name, part):
            _push(waiting, place.path / name, following, place.links + is_link)


def _push(waiting: list[_Place], path: Path, index: int, links: int) -> None:
    try:
        status = path.stat()
    except OSError:  # it is not there, or a link that leads nowhere
        return
    identity = (status.st_dev, status.st_ino) if status.st_ino else str(path.resolve())
    heapq.heappush(waiting, _Place(links, path, index, identity, stat.S_ISDIR(status.st_mode)))


def _names(folder: Path) -> list[tuple[str, bool]]:
    """The names in a folder, and which are links; a folder that may not be read has none, as for the shell."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_symlink()) for entry in entries]
    except OSError:
        return []


def _matches(name: str, part: str) -> bool:
    return (part.startswith(".") or not name.startswith(".")) and bool(_expression(part).match(os.path.normcase(name)))


@cache
def _expression(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(os.path.normcase(part)))
