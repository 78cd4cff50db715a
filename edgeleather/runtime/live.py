"""Live sources: a camera or a stream, read on a thread that keeps the latest frame and opens it again when it is lost."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
        self._tell = listener
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
        try:
            self._capture_until_the_end()
        except (
            Exception
        ) as error:  # whatever a driver or decoder throws: a thread that dies silently would hang the loop
            self._failure = f"{self._address.name}: reading failed: {printable(str(error)) or type(error).__name__}"
        finally:
            if self._capture is not None:
                self._capture.release()
            with self._changed:
                self._over = True
                self._changed.notify()

    def _capture_until_the_end(self) -> None:
        last_frame = time.monotonic()
        is_lost = False
        while not self._closing.is_set() and self._capture is not None:
            started = time.perf_counter()
            read, image = self._capture.read()
            if read:
                if is_lost or not self._captured:
                    self._listener("streaming again" if is_lost else "streaming", self._address.name)
                is_lost, last_frame = False, time.monotonic()
                self._keep(image, 1e3 * (time.perf_counter() - started))
                continue
            self._capture.release()
            self._capture = None
            if self._closing.is_set() or self._is_a_film_at_its_end():
                return
            if not is_lost:
                what = f"no frame came any more after {self._captured}; trying again for {self._reconnect_seconds:g} s"
                self._listener("lost", f"{self._address.name}: {what}")
            is_lost = True
            self._capture = self._open_again(last_frame + self._reconnect_seconds)

    def _is_a_film_at_its_end(self) -> bool:
        """What tells its length is a film that a web server gives; it is never begun again."""
        if self.total is None:
            return False
        if self._captured < self.total - 1 - self.total // 100:
            self._failure = (
                f"{self._address.name}: the film ended after {self._captured} of {self.total} frames; it is damaged, or the "
                "connection broke."
            )
        return True

    def _keep(self, image: AnyArray, capture_ms: float) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self.dropped += self._latest is not None
            self._latest = Frame(self._captured, time.time(), self._address.name, image, capture_ms)
            self._captured += 1
            self._changed.notify()

    def _open_again(self, until: float) -> cv2.VideoCapture | None:
        """Open it again until the time (monotonic, in seconds) from which on it is given up."""
        pause = _FIRST_PAUSE_SECONDS
        while (left := until - time.monotonic()) > 0:
            if self._closing.wait(min(pause, left)):
                return None
            if capture := self._open():
                return capture
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._failure = (
            f"{self._address.name}: no frame came any more after {self._captured}, and it did not come back within "
            f"{self._reconnect_seconds:g} s. {advice(self._address)}"
        )
        self._listener("given up", self._address.name)
        return None

    def _listener(self, state: State, detail: str) -> None:
        with contextlib.suppress(OSError):  # who listened is gone; the frames are not
            self._tell(state, detail)

    def _open(self) -> cv2.VideoCapture | None:
        try:
            capture = cv2.VideoCapture(self._address.target, self._address.backend, list(self._address.settings))
        except cv2.error:
            return None
        if capture.isOpened():
            return capture
        capture.release()
        return None


def live_address(source: str) -> Address | None:
    """The live address that a `--source` is: a camera's index or device, or an RTSP or HTTP address; None for a file."""
    if source.isdecimal() and len(source) < 5:
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
    """An address as it may be shown and recorded: without user, password and query.

    By hand: a password with `/`, `?` or `#` in it, which should have been percent-encoded, must not be shown either.
    """
    scheme, _, rest = address.partition("://")
    place = rest.rpartition("@")[2]
    return printable(f"{scheme}://{re.split('[?#]', place)[0]}")


def advice(address: Address) -> str:
    """What to do about a live source that is not there."""
    if address.backend == cv2.CAP_FFMPEG:
        return (
            "Check the address, its user and password (with / ? # @ written as %2F %3F %23 %40), the camera's power and the "
            "network."
        )
    number = str(address.target)
    if Path(number).exists() and number.isdecimal():
        return f"If the file or folder {number} was meant, say ./{number}."
    here = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    return f"Cameras here: {here}. Check that it is plugged in, that no other program has it, and your right to use it."
