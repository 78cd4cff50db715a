"""Work inside a library that an interruption must not cut: it runs on a thread of its own and is asked to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_STEP_SECONDS = 0.1


def run_interruptibly(work: Callable[[threading.Event], Result]) -> Result:
    """What `work` returns or raises; it is given an event that asks it to end soon.

    Python raises a signal's exception on the main thread alone. There it would end inside one of the library's callbacks, which
    the library does not pass on, so that the interruption would be lost. On another thread the callbacks never see it: this
    thread waits, sets the event, waits until the library has come to its end, and raises the exception again. So no handler of
    a signal has to be changed, and whoever called decides what a signal means.
    """
    asked_to_end, ended = threading.Event(), threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(asked_to_end))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    try:
        threading.Thread(target=run, name="engine build").start()
        while not ended.wait(
            _STEP_SECONDS
        ):  # in steps: a signal that the system gives to another thread is seen between them
            pass
    except BaseException:
        asked_to_end.set()
        ended.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]
