"""What stations talk to in the tests, all of it real: a webhook receiver, an MJPEG camera, an MQTT broker with a subscriber."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time

import cv2
import numpy as np


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds, what):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass  # a client that went away


@contextlib.contextmanager
def serving(handler, port):
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class WebhookReceiver:
    """Keeps the events of all POSTs; `answers` are the codes of the next ones, 200 when they are used up."""

    def __init__(self):
        self.port = free_port()
        self.events, self.headers, self.answers = [], [], []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/events"

    def ids(self):
        return [event["id"] for event in self.events]

    def running(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = receiver.answers.pop(0) if receiver.answers else 200
                if code == 200:
                    receiver.events.append(json.loads(body))
                    receiver.headers.append(dict(self.headers))
                self.send_response(code)
                if code in (301, 302):
                    self.send_header("Location", receiver.address)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        return serving(Handler, self.port)


class MjpegCamera:
    """A network camera that gives these pictures (BGR), again and again; while `is_silent` it is connected and says nothing."""

    def __init__(self, pictures, fps=25):
        self.port = free_port()
        self.is_silent = False
        self.connections = 0
        self._jpegs = [
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for picture in pictures
        ]
        self._fps = fps

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/video.mjpg"

    @contextlib.contextmanager
    def running(self):
        camera, over = self, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                camera.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                index = 0
                while not over.is_set():
                    if not camera.is_silent:
                        jpeg = camera._jpegs[index % len(camera._jpegs)]
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        index += 1
                    time.sleep(1 / camera._fps)

            def log_message(self, *arguments):
                pass

        with serving(Handler, self.port):
            try:
                yield
            finally:
                over.set()  # the connections end with the server


class Broker:
    """mosquitto, with a subscriber whose session outlives the broker's restarts."""

    def __init__(self, folder, topic, password=None, acl=None):
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.port = free_port()
        self.received = []
        folder.mkdir()
        lines = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/"]
        lines += ["max_queued_messages 0", "user root"]
        if password:
            subprocess.run(["mosquitto_passwd", "-b", "-c", folder / "passwords", "station", password], check=True)
            lines += ["allow_anonymous false", f"password_file {folder}/passwords"]
        else:
            lines += ["allow_anonymous true"]
        if acl:
            (folder / "acl").write_text(acl + "\n")
            lines += [f"acl_file {folder}/acl"]
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text("\n".join(lines) + "\n")
        self._process = None
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="receiver", clean_session=False)
        if password:
            self._client.username_pw_set("station", password)
        self._client.reconnect_delay_set(0.2, 0.5)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.received.append(json.loads(message.payload))

    def start(self):
        self._process = subprocess.Popen(
            [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", self._configuration],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, 10, "mosquitto does not start")

    def subscribe(self):
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def stop(self):
        self._process.terminate()
        self._process.wait(10)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
        if self._process.poll() is None:
            self.stop()

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
            return True
        return False


def leather_like(seed, size=64):
    """A picture that differs from another seed's in its noise alone."""
    rng = np.random.default_rng(seed)
    return np.full((size, size, 3), (40, 80, 150), np.uint8) + rng.integers(0, 12, (size, size, 3), dtype=np.uint8)
