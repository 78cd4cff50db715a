from __future__ import annotations

import signal
import threading
import time

import pytest

from edgeleather.engines.tensorrt.interruption import run_interruptibly


def test_the_result_and_the_errors_are_the_works_own():
    assert run_interruptibly(lambda end: not end.is_set())
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda end: 1 / 0)


def test_an_interruption_asks_the_work_to_end_and_comes_when_it_has():
    steps = []

    def work(end: threading.Event) -> None:
        signal.raise_signal(signal.SIGINT)
        while not end.is_set():
            time.sleep(0.001)
        steps.append("ended")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work)
    assert steps == ["ended"] and signal.getsignal(signal.SIGINT) is before
