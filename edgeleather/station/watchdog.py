"""A thread that notices when the engine does not come back from a frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import Engine, Maps, Signature
from edgeleather.events.stop import Stop

DEFAULT_HUNG_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_HELD_SECONDS = 10.0  # a call that lasts so long is not waited for when the run is to end


class WatchedEngine:
    """An engine, and since when a call has been inside it (monotonic, in seconds; None between calls)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.entered_at: float | None = None

    @property
    def signature(self) -> Signature:
        return self._engine.signature

    def infer(self, images: UInt8Array) -> Maps:
        self.entered_at = time.monotonic()
        try:
            return self._engine.infer(images)
        finally:
            self.entered_at = None

    def close(self) -> None:
        self._engine.close()


class Watchdog:
    """Tells of a call that has been inside the engine for `hung_seconds`, and gives the run up when it is to end meanwhile."""

    def __init__(
        self,
        engines: Sequence[WatchedEngine],
        hung_seconds: float,
        stop: Stop,
        on_hung: Callable[[str], None],
        give_up: Callable[[], None] | None,
    ) -> None:
        """Watch engines, of which one at a time is called.

        `on_hung` gets one sentence per call that hangs. `give_up`, where there is one, is called once from this thread.

        That happens when `stop` is overdue and the call has lasted for `hung_seconds`, or for ten seconds where those are fewer.
        """
        self._engines, self._hung_seconds, self._stop = engines, hung_seconds, stop
        self._on_hung, self._give_up = on_hung, give_up
        self._closing = threading.Event()
        self._told_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _entered_at(self) -> float | None:
        """Since when a call has been inside one of the engines; None between calls."""
        return next((one.entered_at for one in self._engines if one.entered_at is not None), None)

    def _work(self) -> None:
        while not self._closing.wait(min(_LOOK_SECONDS, self._hung_seconds / 4)):
            entered_at = self._entered_at()
            if entered_at is None:
                continue
            inside = time.monotonic() - entered_at
            is_given_up = self._give_up is not None and self._stop.is_overdue()
            is_given_up &= inside >= min(self._hung_seconds, _HELD_SECONDS)
            if (inside >= self._hung_seconds or is_given_up) and self._told_at != entered_at:
                self._told_at = entered_at
                self._on_hung(f"a frame has been inside the engine for {inside:.0f} s")
            if is_given_up and self._give_up:
                self._closing.wait(_LOOK_SECONDS)  # the fault is recorded meanwhile
                if self._entered_at() == entered_at:
                    self._give_up()
                    return
