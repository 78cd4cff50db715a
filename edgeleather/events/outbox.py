"""Delivery: one thread per sink tells its receiver what the store has committed, in order, at least once, with back-off."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.sinks.sink import DeliveryError, RefusedError, Sink
from edgeleather.events.store import Store, StoredEvent, StoreError, Topic

_LOGGER = logging.getLogger(__name__)

_BATCH_EVENTS = 64
_ACKNOWLEDGE_SECONDS = 0.1  # what is told again, under the same id, when the station is killed in between
_LOOK_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_REFUSALS = 3


class Deliverer:
    """A sink's thread. What fails here is noted in the store and shown once; it touches no other sink and never the loop."""

    def __init__(
        self,
        folder: Path,
        name: str,
        topics: Sequence[Topic],
        sink: Sink,
        hide: Callable[[str], str] = lambda text: text,
    ) -> None:
        """`hide` takes secrets out of what is logged and stored."""
        self.name = name
        self.first_error: str | None = None
        self._folder, self._topics, self._sink, self._hide = folder, frozenset(topics), sink, hide
        self._woken, self._closing = threading.Event(), threading.Event()
        self._until = float("inf")
        self._refused = (0, 0)  # the event, and how often
        with closing(Store(folder, create=True)) as store:
            self.register(store)
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)

    def register(self, store: Store) -> None:
        """Make this sink known to a store."""
        store.register(self.name, sorted(self._topics))

    def start(self) -> None:
        self._thread.start()

    def wake(self, topics: Collection[Topic]) -> None:
        """Say that events of these topics were committed; one that it does not receive is no reason to wake up."""
        if not self._topics.isdisjoint(topics):
            self._woken.set()

    def close_soon(self, seconds: float) -> None:
        """Tell what waits for so long at most, or until the first failure."""
        self._until = time.monotonic() + seconds
        self._closing.set()
        self._woken.set()

    def join(self) -> None:
        """Wait for that; a delivery that holds on longer is broken off."""
        self._thread.join(max(0.0, self._until - time.monotonic()) + 0.5)
        if self._thread.is_alive():
            self._sink.close()
            self._thread.join(1.0)

    def _work(self) -> None:
        store: Store | None = None
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._woken.clear()
            is_last = self._closing.is_set()
            try:
                if store and not store.is_in_place():
                    store.close()
                    store = None
                store = store or Store(self._folder)
                is_empty = self._deliver_batch(store)
                is_done, pause = True, _FIRST_PAUSE_SECONDS
            except Exception as error:
                is_done = is_empty = False
                if not isinstance(error, EdgeLeatherError) and self.first_error is None:
                    # A bug, so it keeps its traceback, without secrets; but what waits must not wait for ever.
                    _LOGGER.error("sink %s: %s", self.name, self._hide(traceback.format_exc()))
                self._note_failure(store, str(error) or type(error).__name__)
                if store and isinstance(error, StoreError):
                    store.close()
                    store = None
            if (is_last and (is_empty or not is_done)) or time.monotonic() > self._until:
                break
            if not is_done:
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            elif is_empty:
                self._woken.wait(_LOOK_SECONDS)  # and now and then, for what `events retry` put back
        if store:
            store.close()
        self._sink.close()

    def _deliver_batch(self, store: Store) -> bool:
        """Tell the next events; whether none was left."""
        told: list[int] = []
        since = time.monotonic()
        batch = store.waiting(self.name, _BATCH_EVENTS)
        try:
            for stored in batch:
                if time.monotonic() > self._until:
                    break
                self._deliver(store, stored, told)
                if time.monotonic() - since > _ACKNOWLEDGE_SECONDS and told:
                    store.told(self.name, told)
                    told, since = [], time.monotonic()
        finally:
            if told:
                store.told(self.name, told)
        if batch and self.first_error:
            self.first_error = None
            _LOGGER.info("sink %s: delivers again", self.name)
        return len(batch) < _BATCH_EVENTS

    def _deliver(self, store: Store, stored: StoredEvent, told: list[int]) -> None:
        try:
            self._sink.deliver(stored.event.id, stored.event.body)
        except RefusedError as error:
            refused, times = self._refused
            self._refused = (stored.seq, times + 1 if refused == stored.seq else 1)
            if self._refused[1] < _REFUSALS:
                raise DeliveryError(str(error)) from error
            if told:  # before this one, or the cursor would pass over them
                store.told(self.name, told)
                told.clear()
            store.put_aside(self.name, stored.seq, self._hide(str(error)))
            _LOGGER.warning("sink %s: event %s is set aside: %s", self.name, stored.event.id, self._hide(str(error)))
        else:
            told.append(stored.seq)

    def _note_failure(self, store: Store | None, reason: str) -> None:
        self._trouble(reason)
        if store:
            try:
                store.failed(self.name, self._hide(reason))
            except StoreError:  # the store itself is in trouble; its writer says so
                return

    def _trouble(self, reason: str) -> None:
        if self.first_error is None:
            self.first_error = self._hide(reason)
            _LOGGER.warning("sink %s: %s It is tried again, and nothing is lost.", self.name, self.first_error)
