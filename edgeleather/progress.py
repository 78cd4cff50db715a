"""How far long work has come, on standard error: a bar on a terminal, elsewhere a plain line at most every ten seconds."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

Item = TypeVar("Item")

LINE_SECONDS = 10.0  # between two plain lines
_SHORT_SECONDS = 2.0  # work that is done by then says nothing
_TICK_SECONDS = 0.25


class Progress:
    """One piece of long work as a context: `advance` counts its steps, and a thread tells of it while it lasts.

    `total` may be None (how many steps there are is not known) and may change while the work goes on.
    """

    def __init__(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self._bar: Any = None
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        if _is_terminal():
            self._bar = _bar(self)
        _reporter.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        _reporter.leave(self)
        if self._bar is not None:
            self._bar.close()

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.done += steps
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.update(steps)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def describe(self) -> str:
        """The line's words: "training: 120 of 400, 30 %, 12 s"."""
        seconds = f"{self.elapsed_seconds:.0f} s"
        if self.total:
            return f"{self.label}: {self.done} of {self.total}, {100 * self.done // self.total} %, {seconds}"
        return f"{self.label}: {self.done}, {seconds}" if self.done else f"{self.label}: {seconds}"

    def refresh_bar(self) -> None:
        """Let the time on a terminal's bar go on although no step was done."""
        if self._bar is not None:
            self._bar.refresh()


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Pass items through while their progress is shown under this label; `total` is their number where they do not know it."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(label, total) as progress:
        for item in items:
            yield item
            progress.advance()


class _Reporter:
    """The works that go on now, the outermost first, and the thread that tells of them all in one line."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a work may be left while another is entered: when a generator is thrown away
        self._works: list[Progress] = []
        self._ended: threading.Event | None = None
        self._last_line = -math.inf
        self._left = -math.inf
        self._untold_since = 0.0  # when the first of the works began that no line has told of

    def enter(self, work: Progress) -> None:
        with self._lock:
            now = time.monotonic()
            if not self._works and now - self._left > _SHORT_SECONDS:
                self._untold_since = now
            self._works.append(work)
            if self._ended is None:
                self._ended = threading.Event()
                threading.Thread(target=self._run, args=(self._ended,), daemon=True, name="progress").start()

    def leave(self, work: Progress) -> None:
        with self._lock:
            self._works.remove(work)
            self._left = time.monotonic()
            if not self._works and self._ended is not None:
                self._ended.set()
                self._ended = None

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(_TICK_SECONDS):
            with self._lock:
                if ended.is_set():
                    return
                if _is_terminal():
                    self._works[-1].refresh_bar()
                elif self._is_due():
                    _write_line("; ".join(work.describe() for work in self._works))
                    self._last_line = self._untold_since = time.monotonic()

    def _is_due(self) -> bool:
        """At most every ten seconds; and once one work, or many short ones together, have lasted long enough."""
        now = time.monotonic()
        lasts = self._works[0].elapsed_seconds >= _SHORT_SECONDS or now - self._untold_since >= LINE_SECONDS
        return lasts and now - self._last_line >= LINE_SECONDS


_reporter = _Reporter()


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


def _bar(progress: Progress) -> Any:
    from tqdm import tqdm  # on use: 30 ms that a single inspected picture need not wait for

    return tqdm(
        desc=progress.label,
        total=progress.total,
        initial=progress.done,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
    )


def _write_line(text: str) -> None:
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; the work goes on
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
