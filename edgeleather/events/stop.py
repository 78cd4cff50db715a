"""The request to end a run, and when it has waited long enough."""

from __future__ import annotations

import threading
import time

_STOP_SECONDS = 3.0


class Stop(threading.Event):
    """Set when the loop is to end; overdue three seconds later, when nothing may hold the process any longer."""

    _set_at = 0.0

    def set(self) -> None:
        self._set_at = self._set_at or time.monotonic()
        super().set()

    def is_overdue(self) -> bool:
        return self.is_set() and time.monotonic() - self._set_at > _STOP_SECONDS
