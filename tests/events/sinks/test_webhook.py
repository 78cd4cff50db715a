from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time

import pytest

from edgeleather.events.sinks.sink import DeliveryError, RefusedError
from edgeleather.events.sinks.webhook import WebhookSettings
from edgeleather.sources.credentials import Credentials
from tests.events.receivers import WebhookReceiver, free_port

BODY = json.dumps({"id": "e1", "article": "Kalb, größte Güte"}, ensure_ascii=False)


def opened(tmp_path, address, environment=None, **settings):
    return WebhookSettings("webhook", address, **settings).open(
        Credentials(tmp_path, environment or {}), tmp_path, "line-3"
    )


def test_an_event_arrives_whole_with_its_id(tmp_path):
    receiver = WebhookReceiver()
    with receiver.running():
        headers = {"Authorization": "Bearer ${TOKEN}"}
        opened(tmp_path, receiver.address, {"TOKEN": "t0ken"}, headers=headers).deliver("e1", BODY)
    assert receiver.events == [json.loads(BODY)]
    assert receiver.headers[0]["Idempotency-Key"] == "e1" and receiver.headers[0]["Authorization"] == "Bearer t0ken"


def test_user_and_password_become_a_header(tmp_path):
    receiver = WebhookReceiver()
    address = f"http://${{USER}}:${{PASSWORD}}@127.0.0.1:{receiver.port}/events"
    with receiver.running():
        opened(tmp_path, address, {"USER": "me", "PASSWORD": "a/b@c"}).deliver("e1", BODY)
    assert base64.b64decode(receiver.headers[0]["Authorization"].removeprefix("Basic ")) == b"me:a/b@c"


@pytest.mark.parametrize(
    ("code", "error"),
    [(500, DeliveryError), (401, DeliveryError), (429, DeliveryError), (302, DeliveryError), (422, RefusedError)],
)  # fmt: skip
def test_an_answer_that_is_no_yes_is_no_delivery(tmp_path, code, error):
    receiver = WebhookReceiver()
    receiver.answers = [code]
    with receiver.running(), pytest.raises(error, match=f"answered {code}"):
        opened(tmp_path, receiver.address).deliver("e1", BODY)
    assert receiver.events == []


def test_who_is_not_there_is_a_message_without_secrets(tmp_path):
    address = f"http://${{USER}}:${{PASSWORD}}@127.0.0.1:{free_port()}/x?key=${{KEY}}"
    secrets = {"USER": "operator", "PASSWORD": "hunter2", "KEY": "k3y"}
    with pytest.raises(DeliveryError, match=r"cannot be reached: .*refused") as caught:
        opened(tmp_path, address, secrets).deliver("e1", BODY)
    assert not any(secret in str(caught.value) for secret in secrets.values())


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd", "ftp://host/", "http://", "http:///x", "http://host:99999/", "http://ho st/",
        "http://host/\r\nX: 1", "", "host", "http://[bad/", "http://me:secret@host/",
    ],
)  # fmt: skip
def test_hostile_addresses_are_refused_before_anything_is_sent(address):
    with pytest.raises(ValueError, match="expected"):
        WebhookSettings("webhook", address)


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\r\nY": "a"}, {"": "a"}, {"Größe": "a"}])
def test_headers_that_would_break_out_are_refused(headers):
    with pytest.raises(ValueError, match="no header's name"):
        WebhookSettings("webhook", "http://host/", headers=headers)


def test_paths_beyond_ascii_and_hosts_of_ipv6_are_reached(tmp_path):
    receiver = WebhookReceiver()
    with receiver.running():
        opened(tmp_path, f"http://127.0.0.1:{receiver.port}/größe").deliver("e1", BODY)
    assert receiver.ids() == ["e1"]
    with pytest.raises(DeliveryError, match=r"refused|unreachable|assign"):
        opened(tmp_path, "http://[::1]/x").deliver("e1", BODY)  # port 80 of this machine, and not port 1 of ::


def test_a_receiver_that_was_restarted_between_two_events_is_connected_again(tmp_path):
    receiver = WebhookReceiver()
    sink = opened(tmp_path, receiver.address)
    for turn in range(3):
        with receiver.running():
            sink.deliver(f"e{turn}", json.dumps({"id": f"e{turn}"}))
    assert receiver.ids() == ["e0", "e1", "e2"]


def test_an_at_sign_in_the_path_is_no_password():
    assert WebhookSettings("webhook", "https://mes.example/hooks/team@site").address
    with pytest.raises(ValueError, match="written out"):
        WebhookSettings("webhook", "https://me:pa/ss@host/x")


@contextlib.contextmanager
def dripping():
    """A receiver that says 200 and then gives its long answer byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def answer():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                    while not over.wait(0.2):
                        connection.sendall(b"x")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            over.set()
            thread.join()


def test_an_answer_that_never_ends_is_left_once_it_said_yes(tmp_path):
    with dripping() as address, contextlib.closing(opened(tmp_path, address, timeout_seconds=0.5)) as sink:
        started = time.monotonic()
        sink.deliver("e1", BODY)
        assert time.monotonic() - started < 5


def test_a_delivery_in_hand_is_broken_off_from_another_thread(tmp_path):
    with dripping() as address, contextlib.closing(opened(tmp_path, address, timeout_seconds=30.0)) as sink:
        closing = threading.Timer(0.5, sink.close)
        closing.start()
        started = time.monotonic()
        sink.deliver("e1", BODY)
        closing.join()
        assert time.monotonic() - started < 5
