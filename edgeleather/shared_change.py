"""A change of the whole process that several threads may want at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class SharedChange:
    """A context for many threads: the first one in makes the change, the last one out takes it back.

    Each on its own would put back what another one had set, where their ends do not nest.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        """`make` gives the context of the change, which is entered on one thread and may be left on another."""
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._change: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._change is None:
                change = self._make()
                change.__enter__()
                self._change = change
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._change is not None:
                change, self._change = self._change, None
                change.__exit__(None, None, None)
