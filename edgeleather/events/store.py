"""The local record of everything seen: an SQLite file in which every verdict, alarm and fault is a row, and the outbox.

The outbox is one cursor per sink: what it has been told of lies behind, what it is still to be told of ahead. An event that a
receiver refuses for good is set aside, so that it holds up no other.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.events.migrations import create_schema, migrate, require_known_version, schema_version, version_of
from edgeleather.events.picture_rows import read_pictures, write_pictures
from edgeleather.events.store_lock import only_writer
from edgeleather.files import cannot_write
from edgeleather.sources.picture_file import PictureFile

Method = TypeVar("Method", bound=Callable[..., Any])
Topic = Literal["good", "defect", "unfamiliar", "failed", "alarm", "fault"]
VERDICT_TOPICS: tuple[Topic, ...] = ("good", "defect", "unfamiliar", "failed")
TOPICS: tuple[Topic, ...] = (*VERDICT_TOPICS, "alarm", "fault")
STORE_FILE = "events.sqlite"
_BUSY_SECONDS = 10.0


class Event(NamedTuple):
    """What the store keeps and sinks receive: `body` is its JSON object, which repeats `id`, `at` (Unix seconds) and `topic`."""

    id: str
    at: float
    topic: Topic
    article: str | None
    frame: int | None
    body: str


@dataclass(frozen=True)
class StoredEvent:
    """An event and its place in the order of the store."""

    seq: int
    event: Event


@dataclass(frozen=True)
class SinkState:
    """How far a sink is: events still to be told, events set aside, failures in a row and the last reason."""

    name: str
    waiting: int
    set_aside: int
    failures: int
    last_error: str | None


@dataclass(frozen=True)
class Filter:
    """Which events: times in Unix seconds, `until` exclusive; None and empty mean all."""

    since: float | None = None
    until: float | None = None
    topics: tuple[Topic, ...] = ()
    article: str | None = None


class StoreError(EdgeLeatherError):
    """The store's file or disk does not do what was asked; nothing of it was recorded."""


def _speaking(method: Method) -> Method:
    """SQLite's errors as a StoreError."""

    @functools.wraps(method)
    def speaking(self: Store, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except sqlite3.Error as error:
            raise StoreError(self._unusable(error)) from error

    return cast("Method", speaking)


class Store:
    """One connection to the store of a folder; each thread and process has its own."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        """Open it, and bring an older one to this version; with `create`, for its only writer, make it where there is none.

        Raises:
            EdgeLeatherError: there is none, it is damaged or of a newer version, or the disk refuses.
        """
        self.path = folder / STORE_FILE
        if not create and not self.path.is_file():
            raise EdgeLeatherError(f"expected a store at {folder} ({STORE_FILE}), found none.")
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        except OSError as error:
            raise EdgeLeatherError(cannot_write(folder, error)) from error
        except sqlite3.Error as error:
            raise StoreError(self._unusable(error)) from error
        try:
            self._prepare(create)
            self._inode = self.path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            self._connection.close()
            raise StoreError(self._unusable(error)) from error
        except BaseException:
            self._connection.close()
            raise

    def _unusable(self, error: Exception) -> str:
        return (
            f"{self.path}: the store cannot be used ({error}). If it is damaged, move it away (a new one is made); else check "
            "the disk and your rights."
        )

    def _prepare(self, create: bool) -> None:
        # FULL syncs the log at each commit: what was committed outlives a power cut, and kill -9 all the more.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 2000"):
            self._connection.execute(f"PRAGMA {pragma}")
        if create and not version_of(self._connection):
            with self._transaction():
                if not version_of(self._connection):  # another process may have been first
                    create_schema(self._connection)
        require_known_version(self._connection, self.path)
        if version_of(self._connection) < schema_version():
            # Who creates is the store's only writer. A reader must not change what a station of an older edgeleather writes.
            with contextlib.nullcontext() if create else only_writer(self.path.parent):
                migrate(self._connection, self.path)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @_speaking
    def append(self, events: Sequence[Event], seen: Iterable[PictureFile] = ()) -> None:
        """Commit events and the picture files that were seen, all or none; events of an id that is there are passed over.

        Raises:
            StoreError: the disk is full or broken; none of them is recorded.
        """
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO events (id, at, topic, article, frame, body) VALUES (?, ?, ?, ?, ?, ?)", events
            )
            write_pictures(self._connection, seen)

    def is_in_place(self) -> bool:
        """Whether its file still is where it was opened; one that was moved away takes writes that nobody will find."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    @_speaking
    def retire_all_but(self, names: Sequence[str]) -> list[SinkState]:
        """Let go of sinks that a station no longer has, so that they hold no rows back; those that were still waiting."""
        gone = [state for state in self.sinks() if state.name not in names]
        with self._transaction():
            for state in gone:
                self._connection.execute("DELETE FROM sinks WHERE name = ?", (state.name,))
                self._connection.execute("DELETE FROM set_aside WHERE sink = ?", (state.name,))
        return [state for state in gone if state.waiting or state.set_aside]

    @_speaking
    def register(self, sink: str, topics: Sequence[Topic]) -> None:
        """Make a sink known; a new one, and one of other topics that waits for nothing, is told of what comes from now on."""
        known = next((state for state in self.sinks() if state.name == sink), None)
        with self._transaction():
            if known is None or not known.waiting:
                self._connection.execute(
                    "INSERT INTO sinks (name, topics, told_seq) VALUES (?, ?, (SELECT coalesce(max(seq), 0) FROM events)) "
                    "ON CONFLICT (name) DO UPDATE SET told_seq = excluded.told_seq",
                    (sink, "[]"),
                )
            self._connection.execute("UPDATE sinks SET topics = ? WHERE name = ?", (json.dumps(list(topics)), sink))

    @_speaking
    def waiting(self, sink: str, most: int) -> list[StoredEvent]:
        """What a sink is to be told next, in order; first what `retry` put back."""
        again = self._rows(
            "JOIN set_aside USING (seq) WHERE set_aside.sink = ? AND set_aside.again ORDER BY seq LIMIT ?",
            (sink, most),
        )
        if again:
            return again
        topics, told_seq = self._sink(sink)
        marks = ", ".join("?" * len(topics))
        return self._rows(
            f"WHERE topic IN ({marks}) AND events.seq > ? ORDER BY events.seq LIMIT ?", (*topics, told_seq, most)
        )

    @_speaking
    def told(self, sink: str, seqs: Sequence[int]) -> None:
        """Note that a sink was told of these events, the order of `waiting` kept."""
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM set_aside WHERE sink = ? AND seq = ?", [(sink, seq) for seq in seqs]
            )
            self._connection.execute(
                "UPDATE sinks SET told_seq = max(told_seq, ?), failures = 0, last_error = NULL WHERE name = ?",
                (max(seqs), sink),
            )

    @_speaking
    def failed(self, sink: str, error: str) -> None:
        """Note that telling a sink failed; the event stays the next one."""
        with self._transaction():
            self._connection.execute(
                "UPDATE sinks SET failures = failures + 1, last_error = ? WHERE name = ?", (error, sink)
            )

    @_speaking
    def put_aside(self, sink: str, seq: int, error: str) -> None:
        """Note that a sink will not take an event; the next one's turn comes."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO set_aside (sink, seq, error) VALUES (?, ?, ?) "
                "ON CONFLICT (sink, seq) DO UPDATE SET error = excluded.error, again = 0",
                (sink, seq, error),
            )
            self._connection.execute(
                "UPDATE sinks SET told_seq = max(told_seq, ?), failures = 0, last_error = ? WHERE name = ?",
                (seq, error, sink),
            )

    @_speaking
    def retry(self, sink: str | None = None) -> int:
        """Put back what was set aside, of one sink or all; how many that were.

        Raises:
            EdgeLeatherError: no such sink.
        """
        if sink is not None:
            self._sink(sink)
        with self._transaction():
            return self._connection.execute(
                "UPDATE set_aside SET again = 1 WHERE sink = coalesce(?, sink)", (sink,)
            ).rowcount

    @_speaking
    def sinks(self) -> list[SinkState]:
        """Every sink that was ever registered."""
        states = []
        for name, topics_json, told_seq, failures, last_error in self._connection.execute(
            "SELECT name, topics, told_seq, failures, coalesce(last_error, (SELECT error FROM set_aside WHERE sink = name "
            "ORDER BY seq DESC LIMIT 1)) FROM sinks ORDER BY name"
        ).fetchall():
            topics = json.loads(topics_json)
            marks = ", ".join("?" * len(topics))
            waiting = self._one(
                f"SELECT count(*) FROM events WHERE topic IN ({marks}) AND seq > ?", (*topics, told_seq)
            )
            aside = self._one("SELECT count(*) FROM set_aside WHERE sink = ?", (name,))
            states.append(SinkState(name, waiting, aside, failures, last_error))
        return states

    def select(self, chosen: Filter, most: int | None = None) -> Iterator[StoredEvent]:
        """Events in their order; with `most`, the latest so many."""
        clauses, values = _where(chosen)
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        query = f"SELECT events.seq, id, at, topic, article, frame, body FROM events {where}"
        if most is not None:
            query = f"SELECT * FROM ({query} ORDER BY seq DESC LIMIT {int(most)})"
        try:
            for seq, *fields in self._connection.execute(f"{query} ORDER BY seq", values):
                yield StoredEvent(seq, Event(*fields))
        except sqlite3.Error as error:
            raise StoreError(self._unusable(error)) from error

    @_speaking
    def seen_pictures(self, folder: str) -> list[PictureFile] | None:
        """The pictures of a folder that need no further look; None where it has not been watched before."""
        with self._transaction():
            is_known = self._one("SELECT count(*) FROM marks WHERE name = ?", (_seen_mark(folder),))
            return read_pictures(self._connection, folder) if is_known else None

    @_speaking
    def begin_watching(self, folder: str, passed_over: Iterable[PictureFile], at: float) -> None:
        """Note that a folder is watched from now on (Unix seconds), but for the pictures that are there."""
        with self._transaction():
            write_pictures(self._connection, passed_over)
            self._connection.execute("INSERT OR IGNORE INTO marks (name, at) VALUES (?, ?)", (_seen_mark(folder), at))

    @_speaking
    def marked(self, name: str) -> float | None:
        """The time (Unix seconds) that was given under a name, None where none was."""
        row = self._connection.execute("SELECT at FROM marks WHERE name = ?", (name,)).fetchone()
        return None if row is None else float(row[0])

    @_speaking
    def mark(self, name: str, at: float) -> float:
        """The time (Unix seconds) that was first given under a name."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO marks (name, at) VALUES (?, ?)", (name, at))
        return float(self._connection.execute("SELECT at FROM marks WHERE name = ?", (name,)).fetchone()[0])

    @_speaking
    def mark_names(self, beginning: str) -> list[str]:
        """The names of the marks that begin so, by age."""
        rows = self._connection.execute(
            "SELECT name FROM marks WHERE substr(name, 1, ?) = ? ORDER BY at", (len(beginning), beginning)
        )
        return [name for (name,) in rows.fetchall()]

    @_speaking
    def is_raised(self, topic: Topic, what: str) -> bool:
        """Whether the latest alarm or fault of this `what` was left raised."""
        row = self._connection.execute(
            "SELECT json_extract(body, '$.state') FROM events WHERE topic = ? AND json_extract(body, '$.what') = ? "
            "ORDER BY seq DESC LIMIT 1",
            (topic, what),
        ).fetchone()
        return row is not None and row[0] == "raised"

    @_speaking
    def forget(self, before: float, most: int) -> int:
        """Delete the oldest rows from before a time (Unix seconds), but none that a sink is still to be told of."""
        waits = (
            "EXISTS (SELECT 1 FROM sinks WHERE events.seq > told_seq AND instr(topics, '\"' || events.topic || '\"'))"
        )
        what = "json_extract({}.body, '$.what')"
        is_last = (  # of its alarm or fault: a restart has to know whether that was left raised
            "(topic IN ('alarm', 'fault') AND seq = (SELECT max(later.seq) FROM events AS later WHERE later.topic = events.topic "
            f"AND {what.format('later')} = {what.format('events')}))"
        )
        kept = f"seq IN (SELECT seq FROM set_aside) OR {waits} OR {is_last}"
        with self._transaction():
            return self._connection.execute(
                f"DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE at < ? AND NOT ({kept}) ORDER BY at LIMIT ?)",
                (before, most),
            ).rowcount

    def close(self) -> None:
        self._connection.close()

    def _rows(self, rest: str, values: Sequence[object]) -> list[StoredEvent]:
        found = self._connection.execute(
            f"SELECT events.seq, id, at, topic, article, frame, body FROM events {rest}", values
        ).fetchall()
        return [StoredEvent(seq, Event(*fields)) for seq, *fields in found]

    def _one(self, query: str, values: Sequence[object]) -> int:
        return int(self._connection.execute(query, values).fetchone()[0])

    def _sink(self, name: str) -> tuple[list[str], int]:
        row = self._connection.execute("SELECT topics, told_seq FROM sinks WHERE name = ?", (name,)).fetchone()
        if row is None:
            known = ", ".join(state.name for state in self.sinks()) or "none"
            raise EdgeLeatherError(f"expected a sink of this store ({known}), got {name}.")
        return json.loads(row[0]), int(row[1])


def _seen_mark(folder: str) -> str:
    return f"seen {printable(folder)}"


def _where(chosen: Filter) -> tuple[list[str], list[object]]:
    clauses, values = [], list[object]()
    if chosen.since is not None:
        clauses.append("at >= ?")
        values.append(chosen.since)
    if chosen.until is not None:
        clauses.append("at < ?")
        values.append(chosen.until)
    if chosen.topics:
        clauses.append(f"topic IN ({', '.join('?' * len(chosen.topics))})")
        values.extend(chosen.topics)
    if chosen.article is not None:
        clauses.append("article = ?")
        values.append(chosen.article)
    return clauses, values
