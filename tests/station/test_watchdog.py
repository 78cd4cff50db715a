from __future__ import annotations

import threading
import time

import pytest

from edgeleather.engines.engine import Maps
from edgeleather.events.stop import Stop
from edgeleather.station.watchdog import Watchdog, WatchedEngine
from tests.events.receivers import wait_until


class HangingEngine:
    """Comes back when it is let go."""

    def __init__(self):
        self.let_go = threading.Event()
        self.closed = False

    def infer(self, images):
        self.let_go.wait()
        return Maps(images, images)

    def close(self):
        self.closed = True


@pytest.fixture
def engine():
    made = HangingEngine()
    yield made
    made.let_go.set()


def call(engine):
    thread = threading.Thread(target=engine.infer, args=(None,), daemon=True)
    thread.start()
    return thread


def test_a_call_that_hangs_is_told_once_and_the_next_one_again(engine):
    told = []
    watched = WatchedEngine(engine)
    watchdog = Watchdog([watched], 0.2, Stop(), told.append, None)
    for count in (1, 2):
        engine.let_go.clear()
        thread = call(watched)
        wait_until(lambda count=count: len(told) == count, 5, told)
        time.sleep(0.5)
        assert len(told) == count and "inside the engine for" in told[0]
        engine.let_go.set()
        thread.join()
        assert watched.entered_at is None
    watchdog.close()
    watched.close()
    assert engine.closed


def test_calls_that_come_back_are_never_told(engine):
    told = []
    engine.let_go.set()
    watched = WatchedEngine(engine)
    watchdog = Watchdog([watched], 0.2, Stop(), told.append, lambda: told.append("given up"))
    until = time.monotonic() + 1
    while time.monotonic() < until:
        watched.infer(None)
    watchdog.close()
    assert told == []


def test_a_run_that_is_to_end_is_given_up_when_the_engine_hangs(engine):
    told, stop = [], Stop()
    watched = WatchedEngine(engine)
    watchdog = Watchdog([watched], 0.2, stop, told.append, lambda: told.append("given up"))
    call(watched)
    wait_until(lambda: len(told) == 1, 5, told)
    time.sleep(1)
    assert len(told) == 1, "it waits as long as nobody asks it to end"
    stop.set()
    wait_until(lambda: told[1:] == ["given up"], 8, told)
    watchdog.close()


def test_an_engine_that_comes_back_in_time_is_not_given_up(engine):
    told, stop = [], Stop()
    watched = WatchedEngine(engine)
    watchdog = Watchdog([watched], 60, stop, told.append, lambda: told.append("given up"))
    call(watched)
    stop.set()
    time.sleep(4)
    assert told == [], "the call lasts for less than ten seconds"
    engine.let_go.set()
    watchdog.close()
    assert told == []


def test_without_anybody_who_ends_the_process_a_hung_run_waits_on(engine):
    told, stop = [], Stop()
    watched = WatchedEngine(engine)
    watchdog = Watchdog([watched], 0.2, stop, told.append, None)
    call(watched)
    stop.set()
    time.sleep(4)
    watchdog.close()
    assert len(told) == 1
