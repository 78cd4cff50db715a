"""The store's rows of picture files that need no further look, so that a station that starts again passes them over."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable

from edgeleather.sources.picture_file import PictureFile, Stamp

_HALF, _WHOLE = 2**63, 2**64  # SQLite's integers have a sign, some file systems' inodes use all 64 bits


def write_pictures(connection: sqlite3.Connection, files: Iterable[PictureFile]) -> None:
    """Write a row per picture in place of an earlier one of its name, and delete those of pictures that are gone."""
    for folder, name, stamp, digest in files:
        key = (_folder_key(folder), os.fsencode(name))
        if stamp is None:
            connection.execute("DELETE FROM pictures WHERE folder = ? AND name = ?", key)
        else:
            inode = stamp.inode - _WHOLE if stamp.inode >= _HALF else stamp.inode
            values = (*key, stamp.size_bytes, stamp.modified_ns, inode, stamp.changed_ns, digest)
            connection.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def read_pictures(connection: sqlite3.Connection, folder: str) -> list[PictureFile]:
    """The pictures of a folder that need no further look."""
    rows = connection.execute(
        "SELECT name, size_bytes, modified_ns, inode, changed_ns, digest FROM pictures WHERE folder = ?",
        (_folder_key(folder),),
    )
    return [
        PictureFile(folder, os.fsdecode(name), Stamp(size_bytes, modified_ns, inode % _WHOLE, changed_ns), digest)
        for name, size_bytes, modified_ns, inode, changed_ns, digest in rows
    ]


def _folder_key(folder: str) -> bytes:
    return os.fsencode(folder)  # a name need not be UTF-8, which SQLite's text has to be
