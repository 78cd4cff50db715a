from __future__ import annotations

import contextlib
import json

import pytest

from edgeleather.events.sinks.mqtt import MqttSettings
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.sources.credentials import Credentials
from tests.events.receivers import Broker, free_port, wait_until


def opened(tmp_path, address, environment=None, **settings):
    settings = {"topic": "leather/line-3", "timeout_seconds": 2.0} | settings
    return MqttSettings("mqtt", address, **settings).open(Credentials(tmp_path, environment or {}), tmp_path, "line-3")


@pytest.mark.mosquitto
def test_events_arrive_in_order_before_and_after_the_broker_was_away(tmp_path):
    with contextlib.closing(Broker(tmp_path / "broker", "leather/#")) as broker:
        broker.start()
        broker.subscribe()
        with contextlib.closing(opened(tmp_path, f"mqtt://127.0.0.1:{broker.port}")) as sink:
            for n in range(5):
                sink.deliver(f"e{n}", json.dumps({"id": f"e{n}"}))
            broker.stop()
            with pytest.raises(DeliveryError, match=r"mqtt://127\.0\.0\.1:\d+ (cannot be reached|did not acknowledge)"):
                sink.deliver("e5", '{"id": "e5"}')
            broker.start()
            sink.deliver("e5", '{"id": "e5"}')
            wait_until(lambda: {"id": "e5"} in broker.received, 10, broker.received)
    # The broker repeats to its subscriber what it was not told had arrived; the id says so.
    assert list(dict.fromkeys(event["id"] for event in broker.received)) == [f"e{n}" for n in range(6)]


@pytest.mark.mosquitto
def test_a_password_is_needed_where_the_broker_asks_for_one(tmp_path):
    with contextlib.closing(Broker(tmp_path / "broker", "leather/#", "s3/cret")) as broker:
        broker.start()
        broker.subscribe()
        address = f"mqtt://${{USER}}:${{PASSWORD}}@127.0.0.1:{broker.port}"
        wrong = opened(tmp_path, address, {"USER": "station", "PASSWORD": "wrong-one"})
        with pytest.raises(DeliveryError, match="refuses the connection") as caught:
            wrong.deliver("e0", "{}")
        assert "wrong-one" not in str(caught.value)
        with contextlib.closing(opened(tmp_path, address, {"USER": "station", "PASSWORD": "s3/cret"})) as right:
            right.deliver("e1", '{"id": "e1"}')
        wait_until(lambda: broker.received, 10, "nothing came")
    assert broker.received == [{"id": "e1"}]


@pytest.mark.mosquitto
def test_an_event_that_the_broker_refuses_is_not_delivered(tmp_path):
    with contextlib.closing(Broker(tmp_path / "broker", "leather/#", acl="topic read leather/#")) as broker:
        broker.start()
        broker.subscribe()
        with (
            contextlib.closing(opened(tmp_path, f"mqtt://127.0.0.1:{broker.port}")) as sink,
            pytest.raises(DeliveryError, match=r"refuses the event .Not authorized"),
        ):
            sink.deliver("e1", '{"id": "e1"}')
    assert broker.received == []


def test_what_is_no_broker_is_no_delivery_in_time(tmp_path):
    import socket

    with pytest.raises(DeliveryError, match="cannot be reached"):
        opened(tmp_path, f"mqtt://127.0.0.1:{free_port()}").deliver("e1", "{}")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DeliveryError, match="does not answer as an MQTT broker"),
    ):
        opened(tmp_path, f"mqtt://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5).deliver("e1", "{}")


@pytest.mark.parametrize(
    ("address", "topic"),
    [
        ("http://host", "a"), ("mqtt://", "a"), ("mqtt://me:secret@host", "a"), ("mqtt://host", "a/#"), ("mqtt://host", "a/+/b"),
        ("mqtt://host", ""), ("mqtt://host", "a\0"), ("mqtt://host:0", "a"),
    ],
)  # fmt: skip
def test_hostile_addresses_and_topics_are_refused(address, topic):
    with pytest.raises(ValueError, match="expected"):
        MqttSettings("mqtt", address, topic)
