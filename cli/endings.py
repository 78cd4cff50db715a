"""Which signals end a command, and how one that is not in the middle of a loop ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import click

INTERRUPTED = "interrupted. Nothing half-written is left; the same command goes on with a training or starts again."


def ending_signals() -> list[signal.Signals]:
    """SIGINT and SIGTERM, and SIGHUP unless the process was started to outlive its terminal (`nohup`)."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP as an exception inside the block, so that nothing half-made stays behind; afterwards as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in ending_signals() if number != signal.SIGINT]  # which Python raises by itself
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ending_behind(error: BaseException) -> BaseException | None:
    """The ending that a library turned into an error of its own, as a module in C does whose import a signal interrupts."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, SystemExit | KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind


def _end(number: int, frame: object) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        click.echo(f"Error: {INTERRUPTED}", err=True)
    raise SystemExit(128 + number)
