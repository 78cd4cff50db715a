"""Live sources: a camera or a stream, read on a thread that keeps the latest frame and opens it again when it is lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import cv2

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.runtime.frame import DropPolicy, Frame

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its half-sentences; what went wrong is said here, once

State = Literal["streaming", "lost", "streaming again", "given up", "closed"]
StateListener = Callable[[State, str], None]

DEFAULT_RECONNECT_SECONDS = 30.0
# An attempt to open and the pause after it are together below 5 s, so that a camera that is back is seen within that.
_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 3000, 5000
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 1.0
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Address:
    """Where a live source is: what OpenCV opens, by which backend, with which settings, and its name without credentials."""

    target: int | str
    backend: int
    settings: tuple[int, ...]
    name: str


class LiveSource:
    """The latest frame of a camera or stream each time one is asked for; those in between are counted as dropped.

    Frame numbers count what was captured, so that a gap in them is what was dropped.
    """

    drop_policy: DropPolicy = "keep_latest"

    def __init__(
        self, address: Address, stop: threading.Event, reconnect_seconds: float, listener: StateListener
    ) -> None:
        """Open the device or stream.

        Raises:
            EdgeLeatherError: it does not open. Only one that has been there is waited for.
        """
        self.dropped = 0
        self._address = address
        self._stop = stop
        self._reconnect_seconds = reconnect_seconds
        self._listener = listener
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._latest: Frame | None = None
        self._captured = 0
        self._over = False
        self._failure: str | None = None
        self._capture = self._open()
        if self._capture is None:
            raise EdgeLeatherError(f"{address.name} does not open. {advice(address)}")
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = frames if frames > 0 else None

    def __iter__(self) -> Generator[Frame, None, None]:
        thread = threading.Thread(target=self._work, name="capture", daemon=True)
        thread.start()
        try:
            while (frame := self._next()) is not None:
                yield frame
            if self._failure:
                raise EdgeLeatherError(self._failure)
        finally:
            self._closing.set()
            thread.join(_CLOSE_SECONDS)  # it may hang in the driver; it is a daemon, and counts nothing any more
            with self._changed:
                self.dropped += self._latest is not None
                self._latest = None
            self._listener("closed", self._address.name)

    def _next(self) -> Frame | None:
        with self._changed:
            while self._latest is None and not self._over and not self._stop.is_set():
                self._changed.wait(0.1)
            frame, self._latest = self._latest, None
            if frame is not None and self._stop.is_set():
                self.dropped += 1
                return None
            return frame

    def _work(self) -> None:
        """Runs on the capture thread, which alone touches the device."""
        self._listener("streaming", self._address.name)
        while not self._closing.is_set() and self._capture is not None:
            started = time.perf_counter()
            read, image = self._capture.read()
            if read:
                self._keep(image, 1e3 * (time.perf_counter() - started))
                continue
            self._capture.release()
            is_at_its_end = (
                self.total is not None and self._captured >= self.total - 1
            )  # a film that a web server gives
            self._capture = None if self._closing.is_set() or is_at_its_end else self._open_again()
        if self._capture is not None:
            self._capture.release()
        with self._changed:
            self._over = True
            self._changed.notify()

    def _keep(self, image: AnyArray, capture_ms: float) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self.dropped += self._latest is not None
            self._latest = Frame(self._captured, time.time(), self._address.name, image, capture_ms)
            self._captured += 1
            self._changed.notify()

    def _open_again(self) -> cv2.VideoCapture | None:
        lost = time.monotonic()
        reason = f"{self._address.name}: no frame came any more after {self._captured}"
        self._listener("lost", f"{reason}; trying again for {self._reconnect_seconds:g} s")
        pause = _FIRST_PAUSE_SECONDS
        while (left := lost + self._reconnect_seconds - time.monotonic()) > 0:
            if self._closing.wait(min(pause, left)):
                return None
            if capture := self._open():
                self._listener("streaming again", f"{self._address.name}, after {time.monotonic() - lost:.1f} s")
                return capture
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._failure = (
            f"{reason}, and it did not come back within {self._reconnect_seconds:g} s. {advice(self._address)}"
        )
        self._listener("given up", self._address.name)
        return None

    def _open(self) -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture(self._address.target, self._address.backend, list(self._address.settings))
        if capture.isOpened():
            return capture
        capture.release()
        return None


def live_address(source: str) -> Address | None:
    """The live address that a `--source` is: a camera's index or device, or an RTSP or HTTP address; None for a file."""
    if source.isdecimal():
        return Address(int(source), cv2.CAP_ANY, (), f"camera {int(source)}")
    if source.startswith("/dev/video"):
        return Address(source, cv2.CAP_ANY, (), f"camera {source}")
    if source.lower().startswith(("rtsp://", "rtsps://", "http://", "https://")):
        timeouts = (
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS),
        )
        return Address(source, cv2.CAP_FFMPEG, timeouts, without_credentials(source))
    return None


def without_credentials(address: str) -> str:
    """An address as it may be shown and recorded: without user, password and query."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit(parts._replace(netloc=host, query="", fragment="")))


def advice(address: Address) -> str:
    """What to do about a live source that is not there."""
    if address.backend == cv2.CAP_FFMPEG:
        return "Check the address, its user and password, the camera's power and the network."
    here = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    return f"Cameras here: {here}. Check that it is plugged in, that no other program has it, and your right to use it."
