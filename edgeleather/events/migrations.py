"""The store's schema, and how the store of an older version becomes one of this version."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sync_folder

_LOGGER = logging.getLogger(__name__)
FIRST_SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, topic TEXT NOT NULL,
  article TEXT, frame INTEGER, body TEXT NOT NULL
);
CREATE INDEX events_by_topic ON events (topic, seq);
CREATE INDEX events_by_time ON events (at);
CREATE TABLE sinks (
  name TEXT PRIMARY KEY, topics TEXT NOT NULL, told_seq INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
  last_error TEXT
);
CREATE TABLE marks (name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE set_aside (
  sink TEXT NOT NULL, seq INTEGER NOT NULL, error TEXT NOT NULL, again INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (sink, seq)
) WITHOUT ROWID;
"""
# The SQL that makes a store of version N + 1 out of one of version N, for N = 1, 2, ...: statements that end in ";" and a new
# line. A new store goes the same way. An entry that was released is never changed.
MIGRATIONS: list[str] = [
    """
CREATE TABLE pictures (
  folder BLOB NOT NULL, name BLOB NOT NULL, size_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
  changed_ns INTEGER NOT NULL, digest BLOB, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
""",
]


def schema_version() -> int:
    """The version that this edgeleather reads and writes."""
    return 1 + len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of an open store; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def create_schema(connection: sqlite3.Connection) -> None:
    """Make the tables of the present version in an empty file, in the caller's transaction."""
    for statements in (FIRST_SCHEMA, *MIGRATIONS):
        _execute(connection, statements)
    connection.execute(f"PRAGMA user_version = {schema_version()}")


def require_known_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a store that this edgeleather cannot read.

    Raises:
        EdgeLeatherError: it is newer, or no store at all.
    """
    version = version_of(connection)
    if not 1 <= version <= schema_version():
        mend = (
            "use the newer edgeleather that made it"
            if version > schema_version()
            else "use the edgeleather that made it"
        )
        raise EdgeLeatherError(
            f"{path}: expected a store of version {schema_version()}, got {version}. Move it away, or {mend}."
        )


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an older store to the present version in one transaction, with a copy of it kept beside it.

    Raises:
        EdgeLeatherError: the copy cannot be written.
        sqlite3.Error: a migration failed; the store is as it was.
    """
    version = version_of(connection)
    copy = keep_copy(connection, path, version)
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)  # another process may have been first
        for statements in MIGRATIONS[version - 1 :]:
            _execute(connection, statements)
        connection.execute(f"PRAGMA user_version = {schema_version()}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    _LOGGER.info("store: %s is of version %s now; a copy of version %s is at %s", path, schema_version(), version, copy)


def keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy an open store to `<name>.v<version>-backup`, whole or not at all; a copy that is there already is replaced.

    Raises:
        EdgeLeatherError: it cannot be written.
    """
    copy = path.with_name(f"{path.name}.v{version}-backup")
    partial = path.with_name(f".{copy.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(partial)) as target:
            connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        partial.replace(copy)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise EdgeLeatherError(
            f"{copy}: cannot keep a copy of the store before it is brought to version {schema_version()}: {error}. Make room."
        ) from error
    return copy


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
