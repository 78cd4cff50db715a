"""From inspections to recorded events: the store's writer, the alarm, faults, and the sinks that are woken after a commit."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from edgeleather.errors import EdgeLeatherError, is_one_line, printable
from edgeleather.events.alarms import Alarm, AlarmChange, AlarmRules
from edgeleather.events.entry import Entry, to_record
from edgeleather.events.faults import FAULTS, FaultName, Faults
from edgeleather.events.outbox import Deliverer
from edgeleather.events.pictures import PICTURES_FOLDER, DefectPictures, PictureRules
from edgeleather.events.stop import Stop
from edgeleather.events.store import Event, Store, StoreError, Topic
from edgeleather.inspection.inspector import Inspection
from edgeleather.sources.picture_file import PictureFile
from edgeleather.sources.states import State

_LOGGER = logging.getLogger(__name__)
_PERIOD_SECONDS = 0.085  # between commits; with the commit itself, a power cut takes at most 100 ms of records
_MOST_WAITING = 4096
_RETRY_SECONDS = 0.5
_MOST_A_COMMIT = 512
_FORGET_EVERY_SECONDS, _FORGET_ROWS = 10.0, 500
_CLOSE_SECONDS = 3.0


@dataclass(frozen=True)
class StoreSettings:
    """Where the store lies, and for how many days its rows are kept; rows that a sink still waits for are kept longer."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    folder: str = "store"
    keep_days: float = 90.0
    pictures: PictureRules = PictureRules()

    def __post_init__(self) -> None:
        if not self.folder.strip() or not is_one_line(self.folder):
            raise ValueError(f"folder: expected a folder's name, got {self.folder!r}")
        if self.keep_days <= 0:
            raise ValueError(f"keep_days: expected more than 0, got {self.keep_days}")


class PendingEvent(NamedTuple):
    """An event that waits to be committed; `record` is a frame's, and empty for a fault; `seen` is committed with it."""

    topic: Topic
    event_id: str
    record: dict[str, Any]
    details: dict[str, Any]
    seen: tuple[PictureFile, ...] = ()


class Journal:
    """Takes inspections from the loop without ever waiting; a thread commits them in groups, and sinks are told after that.

    While the store cannot be written, verdicts are flagged `unrecorded` and counted; alarms and faults wait for it.
    """

    def __init__(
        self,
        folder: Path,
        settings: StoreSettings,
        alarm: AlarmRules,
        station: str,
        article: str | None,
        deliverers: Sequence[Deliverer] = (),
    ) -> None:
        """Open the store in `folder`, and go on with alarm and faults as an earlier run left them.

        Raises:
            EdgeLeatherError: the store cannot be opened.
        """
        self.unrecorded = 0
        self._settings, self._station = settings, station
        self._article = None if article is None else printable(article)
        with contextlib.closing(Store(folder, create=True)) as store:
            self._alarm = Alarm(alarm, store.is_raised("alarm", "defects"))
            left_raised = [what for what in FAULTS if store.is_raised("fault", what)]
        self.faults = Faults(left_raised, self._fault)
        self._folder = folder
        self._queue: deque[PendingEvent] = deque()
        self._latest: dict[tuple[Topic, str], PendingEvent] = {}
        self._failing = False
        self._closing = threading.Event()
        try:
            self.pictures = (
                DefectPictures(folder / PICTURES_FOLDER, settings.pictures) if settings.pictures.keep else None
            )
        except OSError as error:
            raise EdgeLeatherError(
                f"{folder}: cannot keep pictures there: {error.strerror}. Choose another folder."
            ) from error
        self.deliverers = list(deliverers)
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()
        for deliverer in self.deliverers:
            deliverer.start()

    def take(self, inspection: Inspection, seen: tuple[PictureFile, ...] = ()) -> Entry:
        """Queue an inspection for the store; its entry says what it did to the alarm, and whether it cannot be recorded.

        `seen` are the picture files that need no further look once it is recorded.
        """
        event_id = _new_id()
        picture = None
        is_unfamiliar = inspection.verdict == "unfamiliar"
        if self.pictures and (inspection.verdict == "defect" or (is_unfamiliar and not self.faults.is_raised("view"))):
            picture = self.pictures.take(inspection, event_id)
        is_recorded = not self._failing and len(self._queue) < _MOST_WAITING
        change = self._alarm.take(inspection.verdict, is_unfamiliar and _is_above_threshold(inspection))
        entry = Entry(inspection, change, not is_recorded)
        record = to_record(entry) if is_recorded or change else {}
        if is_recorded:
            self._queue.append(PendingEvent(inspection.verdict, event_id, record, {"picture": picture}, seen))
        else:
            self.unrecorded += 1
        if change:
            details = {"picture": picture, "frame_event": event_id if is_recorded else None}
            self._change("alarm", change, "defects", record, details)
        self.faults.take(inspection)
        return entry

    def source_changed(self, state: State, detail: str) -> bool:
        """Take a state of a source, from any thread; whether it raised or cleared the fault, which is then logged."""
        return self.faults.source_changed(state, detail)

    def _fault(self, state: AlarmChange, what: FaultName, detail: str) -> None:
        self._change("fault", state, what, {}, {"detail": detail})

    def _change(
        self, topic: Topic, state: AlarmChange, what: str, record: dict[str, Any], details: dict[str, Any]
    ) -> None:
        """Queue a change of an alarm or fault. While the store takes none, the latest of each has to be enough at last."""
        level = logging.WARNING if topic == "fault" and state == "raised" else logging.INFO
        where = details.get("detail") or f"frame {record['frame']} of {record['source']}"
        _LOGGER.log(level, "%s %s: %s, %s", topic, state, what, where)
        pending = PendingEvent(topic, _new_id(), record, {"state": state, "what": what, "at": time.time(), **details})
        if len(self._queue) < 2 * _MOST_WAITING:
            self._queue.append(pending)
        else:
            self._latest[topic, what] = pending

    def close(self, stop: Stop) -> None:
        """Commit what waits, write waiting pictures, let sinks go on for a moment; the rest goes out at the next start."""
        if self._closing.is_set():
            return
        self._closing.set()
        while self._thread.is_alive() and not stop.is_overdue():
            self._thread.join(_PERIOD_SECONDS)
        self.unrecorded += len(self._queue)
        if self.pictures:
            self.pictures.close(_CLOSE_SECONDS)
        for deliverer in self.deliverers:
            deliverer.close_soon(_CLOSE_SECONDS)
        for deliverer in self.deliverers:
            deliverer.join()

    def _work(self) -> None:
        try:
            self._commit_until_the_end()
        except Exception:  # a bug, so it keeps its traceback; verdicts go on, and say so
            self._failing = True
            _LOGGER.exception("store: stopped. Verdicts go on, unrecorded.")

    def _commit_until_the_end(self) -> None:
        store: Store | None = None
        forget_at = 0.0
        while True:
            is_last = self._closing.is_set()
            store = self._commit_all(store)
            if store and time.monotonic() >= forget_at:
                forget_at = time.monotonic() + (0.0 if self._forgets(store) else _FORGET_EVERY_SECONDS)
            if is_last:
                break
            self._closing.wait(_RETRY_SECONDS if self._failing else _PERIOD_SECONDS)
        if store:
            store.close()

    def _forgets(self, store: Store) -> bool:
        """Delete a portion of the rows that are too old; whether there may be more."""
        with contextlib.suppress(StoreError):
            return store.forget(time.time() - 86_400 * self._settings.keep_days, _FORGET_ROWS) == _FORGET_ROWS
        return False

    def _commit_all(self, store: Store | None) -> Store | None:
        """Write all that waits; what could not be written waits on, for a new connection."""
        if store and not store.is_in_place():
            _LOGGER.warning("store: %s was moved away; a new one is begun", store.path)
            store.close()
            store = None
        while waiting := list(itertools.islice(self._queue, _MOST_A_COMMIT)):
            try:
                store = store or self._opened()
                store.append([self._event(one) for one in waiting], [file for one in waiting for file in one.seen])
            except EdgeLeatherError as error:
                if not self._failing:
                    _LOGGER.error("store: cannot record: %s Verdicts go on, unrecorded.", error)
                self._failing = True
                if store:
                    store.close()
                return None
            for _ in waiting:
                self._queue.popleft()
            while self._latest:
                self._queue.append(self._latest.popitem()[1])
            topics = {one.topic for one in waiting}
            for deliverer in self.deliverers:
                deliverer.wake(topics)
        if self._failing:
            self._failing = False
            _LOGGER.info("store: records again; %s verdicts were not recorded", self.unrecorded)
        return store

    def _opened(self) -> Store:
        """The store, with its sinks known to it: it may have been begun anew."""
        store = Store(self._folder, create=True)
        for deliverer in self.deliverers:
            deliverer.register(store)
        return store

    def _event(self, pending: PendingEvent) -> Event:
        topic, event_id, record, details, _ = pending
        at = details["at"] if "at" in details else record["captured_at"]
        article = record.get("article") or self._article
        named = {"id": event_id, "at": at, "topic": topic, "station": self._station, "article": article}
        try:
            text = _as_json(record | named | details)
        except (ValueError, TypeError) as error:  # one record that has no JSON must not be the end of all others
            source = {key: record[key] for key in ("frame", "source") if key in record}
            text = json.dumps(named | source | {"error": f"this record could not be written: {error}"})
        text = text.encode("utf-8", "backslashreplace").decode()
        return Event(event_id, at, topic, article, record.get("frame"), text)


def _is_above_threshold(inspection: Inspection) -> bool:
    score, threshold = inspection.score, inspection.threshold
    return score is not None and threshold is not None and score > threshold


_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _new_id() -> str:
    """32 hexadecimal digits, time before chance: in their order, a commit touches one page of the store's index of ids."""
    return f"{time.time_ns() // 1000:014x}{random.getrandbits(72):018x}"
