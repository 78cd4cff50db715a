"""Delivery, against a real receiver and sinks that fail as real ones do."""

from __future__ import annotations

import contextlib
import json
import logging
import threading

import pytest

from edgeleather.events.outbox import Deliverer
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.events.sinks.webhook import WebhookSettings
from edgeleather.events.store import Event, Store
from edgeleather.sources.credentials import Credentials
from tests.events.receivers import WebhookReceiver, wait_until


class Records:
    """A sink that keeps what it is told, and fails while `error` is set."""

    def __init__(self, error=None):
        self.error, self.told, self.closed = error, [], False

    def deliver(self, event_id, body):
        if self.error:
            raise self.error
        self.told.append(event_id)

    def close(self):
        self.closed = True


def append(folder, numbers):
    with contextlib.closing(Store(folder, create=True)) as store:
        store.append([Event(f"e{n}", n, "alarm", None, n, json.dumps({"id": f"e{n}"})) for n in numbers])


def states(folder):
    with contextlib.closing(Store(folder)) as store:
        return {state.name: state for state in store.sinks()}


@contextlib.contextmanager
def delivering(folder, name, sink, hide=lambda text: text):
    deliverer = Deliverer(folder, name, ["alarm"], sink, hide)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.close_soon(3.0)
        deliverer.join()


def test_events_are_told_in_order_and_not_again_at_the_next_start(tmp_path):
    first, second = Records(), Records()
    with delivering(tmp_path, "one", first) as deliverer:
        append(tmp_path, range(100))
        deliverer.wake({"alarm"})
        wait_until(lambda: len(first.told) == 100, 5, first.told)
    assert first.told == [f"e{n}" for n in range(100)] and first.closed
    with delivering(tmp_path, "one", second):
        append(tmp_path, [100])
    assert second.told == ["e100"]


def test_what_waits_at_the_end_goes_out_at_the_next_start(tmp_path, caplog):
    with delivering(tmp_path, "one", Records(DeliveryError("no route."))) as deliverer:
        append(tmp_path, range(3))
        deliverer.wake({"alarm"})
        wait_until(lambda: caplog.messages, 5, "nothing is said")
    assert caplog.messages == ["sink one: no route. It is tried again, and nothing is lost."]
    assert states(tmp_path)["one"].waiting == 3 and states(tmp_path)["one"].last_error == "no route."
    after = Records()
    with delivering(tmp_path, "one", after):
        wait_until(lambda: len(after.told) == 3, 5, after.told)
    assert states(tmp_path)["one"].waiting == 0 and states(tmp_path)["one"].last_error is None


def test_one_sinks_failure_touches_no_other(tmp_path):
    broken, buggy, good = Records(DeliveryError("no.")), Records(ZeroDivisionError("a bug")), Records()
    with delivering(tmp_path, "a", broken), delivering(tmp_path, "b", buggy), delivering(tmp_path, "c", good) as last:
        append(tmp_path, range(10))
        last.wake({"alarm"})
        wait_until(lambda: len(good.told) == 10, 5, good.told)
    waiting = {name: state.waiting for name, state in states(tmp_path).items()}
    assert waiting == {"a": 10, "b": 10, "c": 0} and good.told == [f"e{n}" for n in range(10)]


def test_a_receiver_that_is_back_gets_all_in_order_and_who_watches_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "edgeleather")
    sink = Records(DeliveryError("away."))
    with delivering(tmp_path, "one", sink) as deliverer:
        append(tmp_path, range(5))
        deliverer.wake({"alarm"})
        wait_until(lambda: caplog.messages, 5, "nothing is said")
        sink.error = None
        wait_until(lambda: len(sink.told) == 5, 10, sink.told)
        wait_until(lambda: len(caplog.messages) == 2, 5, caplog.messages)
    assert sink.told == [f"e{n}" for n in range(5)] and caplog.messages[1] == "sink one: delivers again"


def test_an_event_that_is_refused_three_times_is_set_aside_and_can_be_put_back(tmp_path):
    receiver = WebhookReceiver()
    receiver.answers = [200, 422, 422, 422]
    sink = WebhookSettings("webhook", receiver.address).open(Credentials(tmp_path, {}), tmp_path, "x")
    with receiver.running(), delivering(tmp_path, "mes", sink) as deliverer:
        append(tmp_path, range(4))
        deliverer.wake({"alarm"})
        wait_until(lambda: len(receiver.events) == 3, 15, receiver.events)
        assert receiver.ids() == ["e0", "e2", "e3"]
        assert states(tmp_path)["mes"].set_aside == 1 and "answered 422" in states(tmp_path)["mes"].last_error
        with contextlib.closing(Store(tmp_path)) as store:
            assert store.retry("mes") == 1
        wait_until(lambda: "e1" in receiver.ids(), 5, receiver.events)  # nobody wakes it: it looks by itself
    assert states(tmp_path)["mes"].set_aside == 0 and states(tmp_path)["mes"].waiting == 0


def test_secrets_are_taken_out_of_what_is_kept_and_shown(tmp_path, caplog):
    sink = Records(DeliveryError("cannot log in as operator:hunter2."))
    hide = lambda text: text.replace("hunter2", "${PASSWORD}")  # noqa: E731
    with delivering(tmp_path, "one", sink, hide) as deliverer:
        append(tmp_path, [1])
        deliverer.wake({"alarm"})
        wait_until(lambda: caplog.messages, 5, "nothing is said")
        wait_until(lambda: states(tmp_path)["one"].last_error, 5, "nothing noted")
    assert "hunter2" not in caplog.text + states(tmp_path)["one"].last_error


def test_a_sink_that_hangs_holds_the_end_up_for_seconds_only(tmp_path):
    class Hangs(Records):
        def deliver(self, event_id, body):
            threading.Event().wait(60)

    with delivering(tmp_path, "one", Hangs()) as deliverer:
        append(tmp_path, [1])
        deliverer.wake({"alarm"})
    assert states(tmp_path)["one"].waiting == 1


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_any_number_is_told_once(tmp_path, count):
    sink = Records()
    with delivering(tmp_path, "one", sink) as deliverer:
        append(tmp_path, range(count))
        deliverer.wake({"alarm"})
        wait_until(lambda: len(sink.told) >= count, 5, sink.told)
    assert sink.told == [f"e{n}" for n in range(count)]
