"""Snapshot addresses, and streams that name their end."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time

import cv2
import numpy as np
import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.address import Address
from edgeleather.sources.devices.table import DEVICES
from edgeleather.sources.opening import open_source
from edgeleather.sources.patience import Patience
from tests.events.receivers import free_port, leather_like, serving, wait_until


class SnapshotCamera:
    """Gives one picture per request; `answer` may give something else."""

    def __init__(self, kind="image/jpeg", answer=None):
        self.port, self.kind, self.requests = free_port(), kind, []
        self.answer = answer or (lambda handler: False)

    def address(self, user="", **more):
        text = f"http://{user}127.0.0.1:{self.port}/snapshot?q=1"
        return Address(text, "http://camera/snapshot", "http://", **more)

    def running(self):
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                camera.requests.append((time.monotonic(), self.headers))
                if camera.answer(self):
                    return
                picture = cv2.imencode(".jpg", leather_like(len(camera.requests)))[1].tobytes()
                self.give(200, picture, camera.kind)

            def give(self, code, content, kind, **headers):
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if kind:
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        return serving(Handler, self.port)


class Reading:
    """Reads a source on a thread, as the loop of a station does."""

    def __init__(self, address, patience=None):
        self.frames, self.states, self.error, self.stop = [], [], None, threading.Event()
        patience = patience or Patience(60.0, awaits_first=True)
        self._source = open_source(address, self.stop, patience, lambda s, detail: self.states.append((s, detail)))
        self._thread = threading.Thread(target=self._work)

    def _work(self):
        try:
            for frame in self._source:
                self.frames.append(frame)
        except EdgeLeatherError as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()

    def state_names(self):
        return [state for state, _ in self.states]


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", ""])
def test_a_snapshot_address_is_asked_again_and_again(kind):
    camera = SnapshotCamera(kind)
    with camera.running(), Reading(camera.address(snapshot_seconds=0.2)) as reading:
        wait_until(lambda: len(reading.frames) >= 6, 20, reading.states)
    at = [time for time, _ in camera.requests[1:]]  # the first one finds out what it is
    assert at[5] - at[0] >= 0.9 and reading.state_names() == ["streaming", "closed"]
    assert all(frame.image.shape == (64, 64, 3) and not frame.is_frozen for frame in reading.frames)
    assert len({frame.image.tobytes() for frame in reading.frames}) == len(reading.frames)


def test_a_snapshot_that_fails_for_a_moment_is_asked_for_again():
    bad = {3: b"\xff\xd8\xff\xe0 broken", 4: b"", 5: None}

    def answer(handler):
        number = len(camera.requests)
        if number not in bad and not camera.is_down:
            return False
        content = bad.get(number)
        handler.give(503 if content is None else 200, content or b"", "image/jpeg")
        return True

    camera = SnapshotCamera(answer=answer)
    camera.is_down = False
    patience = Patience(60.0, stall_seconds=3.0, awaits_first=True)
    with camera.running(), Reading(camera.address(snapshot_seconds=0.05), patience) as reading:
        wait_until(lambda: len(reading.frames) >= 6, 20, reading.states)
        assert reading.state_names() == ["streaming"]
        camera.is_down = True
        wait_until(lambda: "lost" in reading.state_names(), 20, reading.states)
        assert "it answers 503 Service Unavailable" in reading.states[-1][1]
        camera.is_down = False
        wait_until(lambda: "streaming again" in reading.state_names(), 20, reading.states)


def test_a_snapshot_that_never_ends_is_cut_off():
    def answer(handler):
        if len(camera.requests) < 3:
            return False
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"\xff\xd8\xff" + b"a" * 1000)
                time.sleep(0.01)
        except OSError:
            return True

    camera = SnapshotCamera(answer=answer)
    patience = Patience(0.5, stall_seconds=1.0)
    with camera.running(), Reading(camera.address(snapshot_seconds=0.05), patience) as reading:
        wait_until(lambda: reading.error, 20, reading.states)


def test_basic_and_digest_passwords_reach_the_camera_and_nobody_else():
    def basic(handler):
        given = "Basic " + base64.b64encode(b"me:pa/ss").decode()
        if handler.headers.get("Authorization") == given:
            return False
        handler.give(401, b"", "", WWW_Authenticate='Basic realm="x"')
        return True

    def digest(handler):
        authorization = handler.headers.get("Authorization", "")
        if authorization.startswith("Digest "):
            fields = urllib_fields(authorization)
            secret = hashlib.md5(b"me:x:pa/ss").hexdigest()
            request = hashlib.md5(f"GET:{fields['uri']}".encode()).hexdigest()
            if fields["response"] == hashlib.md5(f"{secret}:n:{request}".encode()).hexdigest():
                return False
        handler.give(401, b"", "", WWW_Authenticate='Digest realm="x", nonce="n"')
        return True

    for answer in (basic, digest):
        camera = SnapshotCamera(answer=answer)
        with camera.running(), Reading(camera.address("me:pa%2Fss@", snapshot_seconds=0.05)) as reading:
            wait_until(lambda: len(reading.frames) >= 3, 20, reading.states)
        assert "pa/ss" not in str(reading.states) and {frame.source for frame in reading.frames} == {
            "http://camera/snapshot"
        }


def urllib_fields(authorization):
    pairs = (part.strip().partition("=") for part in authorization.removeprefix("Digest ").split(","))
    return {name: value.strip('"') for name, _, value in pairs}


@pytest.mark.parametrize(("code", "message"), [(401, "401 Unauthorized"), (404, "404 Not Found")])
def test_a_server_that_refuses_says_so(code, message):
    def refuse(handler):
        handler.give(code, b"", "text/html")
        return True

    camera = SnapshotCamera(answer=refuse)
    with camera.running(), pytest.raises(EdgeLeatherError, match=f"does not open. It answers {message}"):
        open_source(camera.address("me:secret@"))


def test_a_redirection_to_a_file_is_not_followed(tmp_path):
    cv2.imwrite(str(tmp_path / "secret.jpg"), leather_like(0))

    def redirect(handler):
        handler.give(302, b"", "", Location=f"file://{tmp_path}/secret.jpg")
        return True

    camera = SnapshotCamera(answer=redirect)
    with camera.running(), pytest.raises(EdgeLeatherError, match="does not open"):
        open_source(camera.address())


class EndsAfterTen:
    """A stream whose server names a range: it says how many frames it has, and ends."""

    def __init__(self, address, stall_seconds):
        self._left = 10

    def open(self):
        return 900

    def read(self):
        time.sleep(0.02)
        self._left -= 1
        return np.random.default_rng().integers(0, 256, (8, 8, 3), np.uint8) if self._left >= 0 else None

    def release(self):
        pass


def test_a_station_opens_a_stream_again_that_names_its_end(monkeypatch):
    monkeypatch.setitem(DEVICES, "rtsp://", "tests.faults.test_web_sources:EndsAfterTen")
    with Reading("rtsp://camera/1") as reading:
        wait_until(lambda: len(reading.frames) and reading.frames[-1].index > 25, 20, reading.states)
    assert reading.error is None and reading.state_names()[:3] == ["streaming", "lost", "streaming again"]
    # A single inspection ends with the stream, and says that it was cut.
    with pytest.raises(EdgeLeatherError, match="of 900 frames"):
        list(open_source("rtsp://camera/1"))
