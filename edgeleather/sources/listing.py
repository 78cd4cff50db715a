"""The pictures of a folder, and what else lies there: it is passed over, and said so once per kind."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.imaging.images import is_image
from edgeleather.sources.picture_file import PictureFile, Stamp, stamp_of

_LOGGER = logging.getLogger(__name__)
_MOST_KINDS = 20


class PassedOver:
    """What of a folder is not looked at: counted by kind, and logged when the first of a kind is met."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self.counts: Counter[str] = Counter()

    def take(self, entry: os.DirEntry[str]) -> None:
        """Note an entry that is no picture; hidden ones are meant not to be seen."""
        if entry.name.startswith(".") or entry.name in self._names or len(self._names) > 100_000:
            return
        self._names.add(entry.name)
        kind = _kind(entry)
        self.counts[kind] += 1
        if self.counts[kind] == 1 and len(self.counts) <= _MOST_KINDS:
            _LOGGER.warning("%s: passed over: %s, such as %s", self._folder, kind, printable(entry.name))

    def say_counts(self) -> None:
        """Log the counts, if anything was passed over."""
        if self.counts:
            counts = ", ".join(f"{kind}: {count}" for kind, count in self.counts.most_common(_MOST_KINDS))
            _LOGGER.warning("%s: passed over in all: %s", self._folder, counts)


def _kind(entry: os.DirEntry[str]) -> str:
    with contextlib.suppress(OSError):  # of a link that leads to itself
        if entry.is_dir():
            return "folders"
    if is_image(Path(entry.name)):
        return "links that lead nowhere" if entry.is_symlink() else "pipes and devices"
    return f"files of kind {printable(Path(entry.name).suffix.lower()) or '(none)'}"


def pictures_in(folder: Path, passed_over: PassedOver) -> Iterator[tuple[str, Stamp]]:
    """Name and stamp of each picture in a folder.

    Raises:
        OSError: the folder or one of its files cannot be looked at: its drive is away.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(Path(entry.name)):
                try:
                    status = entry.stat()
                except OSError:
                    if entry.is_symlink():
                        passed_over.take(entry)
                    elif is_there(folder / entry.name):
                        raise
                    continue  # else it was moved away in this moment
                if stat.S_ISREG(status.st_mode):
                    yield entry.name, stamp_of(status)
                    continue
            passed_over.take(entry)


def list_pictures(folder: Path) -> list[PictureFile]:
    """The pictures of a folder as files that need no look.

    Raises:
        EdgeLeatherError: no such folder.
    """
    try:
        return [PictureFile(str(folder), name, stamp) for name, stamp in pictures_in(folder, PassedOver(folder))]
    except OSError as error:
        raise EdgeLeatherError(f"{folder}: expected a folder to watch, got: {error.strerror}.") from error


def is_there(path: Path) -> bool:
    """Whether a name is there, whatever it is."""
    try:
        path.lstat()
    except OSError:
        return False
    return True
