"""Live sources: a camera or a stream, read on a thread that keeps the latest frame; opened again when it is lost or silent."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.sources.credentials import without_credentials
from edgeleather.sources.frame import DropPolicy, Frame

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its half-sentences; what went wrong is said here, once

State = Literal["streaming", "lost", "streaming again", "given up", "closed"]
StateListener = Callable[[State, str], None]

DEFAULT_RECONNECT_SECONDS = 30.0
DEFAULT_STALL_SECONDS = 5.0
# An attempt to open and the pause after it are together below 5 s, so that a camera that is back is seen within that.
_OPEN_TIMEOUT_MS = 3000
_OPEN_SECONDS = 20.0  # what a driver gets that has no time limit of its own
_MOST_HUNG_READERS = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 1.0
_CLOSE_SECONDS = 2.0
PIPELINE_PREFIX = "gstreamer:"
_DEVICES = "/dev/video"
_STREAMS = ("rtsp://", "rtsps://", "http://", "https://")


@dataclass(frozen=True)
class Patience:
    """How long a lost source is looked for, and how long one may be silent before it counts as lost, in seconds.

    `awaits_first` waits for a source that is not there at the start like for one that was lost.
    """

    reconnect_seconds: float = DEFAULT_RECONNECT_SECONDS
    stall_seconds: float = DEFAULT_STALL_SECONDS
    awaits_first: bool = False


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

    def __init__(self, address: Address, stop: threading.Event, patience: Patience, listener: StateListener) -> None:
        """Open the device or stream.

        Raises:
            EdgeLeatherError: it does not open, and `patience` does not await it.
        """
        self.dropped = 0
        self.total: int | None = None
        self._address, self._stop, self._patience, self._tell = address, stop, patience, listener
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._latest: Frame | None = None
        self._captured = 0
        self._over = False
        self._failure: str | None = None
        self._has_streamed = False
        self._hung: list[_Reader] = []
        self._reader: _Reader | None = None if patience.awaits_first else self._open()
        if self._reader is None and not patience.awaits_first:
            raise EdgeLeatherError(f"{address.name} does not open. {advice(address)}")

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
        """Watches over the reader of the device, and opens another one when it ends or falls silent."""
        try:
            self._watch_until_the_end()
        finally:
            if self._reader is not None:
                self._reader.leave(_CLOSE_SECONDS)
            with self._changed:
                self._over = True
                self._changed.notify()

    def _watch_until_the_end(self) -> None:
        lost_at: float | None = None
        if self._reader is None:
            self._open()
        while not self._closing.is_set():
            if self._reader is not None:
                reason = self._reader.watch(self._closing, self._patience.stall_seconds, self._say_streaming)
                reason = f"reading failed: {self._reader.error}" if self._reader.error else reason
                lost_at = None if self._reader.has_read else lost_at
                if self._closing.is_set() or self._ends_here(self._reader):
                    return
                self._let_go(self._reader)
            else:
                reason = "it is not there"
            if lost_at is None:
                lost_at = time.monotonic()
                long = self._patience.reconnect_seconds
                how_long = f" for {long:g} s" if math.isfinite(long) else ""
                self._listener(
                    "lost", f"{self._address.name}: {reason} after {self._captured} frames; trying again{how_long}"
                )
            if not self._open_again(lost_at + self._patience.reconnect_seconds):
                return

    def _ends_here(self, reader: _Reader) -> bool:
        """Whether the reader's end is the source's: a driver that threw (a station opens it again), or a film's end."""
        if reader.error and not self._patience.awaits_first:
            self._failure = f"{self._address.name}: reading failed: {reader.error}"
            return True
        if self.total is None:
            return False
        if self._captured < self.total - 1 - self.total // 100:
            self._failure = (
                f"{self._address.name}: the film ended after {self._captured} of {self.total} frames; it is damaged, or the "
                "connection broke."
            )
        return True

    def _let_go(self, reader: _Reader) -> None:
        """Leave a reader; one that hangs in its driver is remembered, since each holds a thread."""
        self._reader = None
        reader.leave(0.0)
        self._hung = [one for one in (*self._hung, reader) if one.is_reading]

    def _keep(self, reader: _Reader, image: AnyArray, capture_ms: float) -> bool:
        """Take a frame; False where its reader has been left."""
        with self._changed:
            if self._closing.is_set() or reader is not self._reader:
                return False
            self.dropped += self._latest is not None
            self._latest = Frame(self._captured, time.time(), self._address.name, image, capture_ms)
            self._captured += 1
            self._changed.notify()
        return True

    def _say_streaming(self) -> None:
        """Said, like `lost`, by the watching thread alone, so that the two cannot overtake each other."""
        self._listener("streaming again" if self._has_streamed else "streaming", self._address.name)
        self._has_streamed = True

    def _open_again(self, until: float) -> bool:
        """Open it again until the time (monotonic, in seconds) from which on it is given up."""
        pause = _FIRST_PAUSE_SECONDS
        while (left := until - time.monotonic()) > 0:
            if self._closing.wait(min(pause, left)):
                return False
            self._hung = [one for one in self._hung if one.is_reading]
            if len(self._hung) < _MOST_HUNG_READERS and self._open():
                return True
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._failure = (
            f"{self._address.name}: no frame came any more after {self._captured}, and it did not come back within "
            f"{self._patience.reconnect_seconds:g} s. {advice(self._address)}"
        )
        self._listener("given up", self._address.name)
        return False

    def _listener(self, state: State, detail: str) -> None:
        with contextlib.suppress(OSError):  # who listened is gone; the frames are not
            self._tell(state, detail)

    def _open(self) -> _Reader | None:
        """A reader whose device is open, as the present one; None where it does not open."""
        self._reader = reader = _Reader(self._address, self._patience.stall_seconds, self._keep)
        if reader.opens(self._closing):
            frames = reader.frame_count
            self.total = frames if frames > 0 else None
            reader.begin()
            return reader
        self._let_go(reader)
        return None


class _Reader:
    """One opening of the device: a thread that opens, reads and releases it, and alone touches it."""

    def __init__(
        self, address: Address, stall_seconds: float, keep: Callable[[_Reader, AnyArray, float], bool]
    ) -> None:
        self.has_read = False
        self.error: str | None = None
        self.frame_count = 0
        self.last_frame_at = -math.inf  # monotonic, in seconds
        self._begun_at = math.inf
        self._address, self._stall_seconds, self._keep = address, stall_seconds, keep
        self._is_open = False
        self._tried, self._begun, self._left, self._ended = (threading.Event() for _ in range(4))
        threading.Thread(target=self._work, name="camera", daemon=True).start()

    @property
    def is_reading(self) -> bool:
        """Whether its thread is still in the device."""
        return not self._ended.is_set()

    def opens(self, closing: threading.Event) -> bool:
        """Whether it opened; one that takes too long has not."""
        until = time.monotonic() + _OPEN_SECONDS
        while not self._tried.wait(0.1) and time.monotonic() < until and not closing.is_set():
            pass
        return self._is_open

    def begin(self) -> None:
        """Start to read."""
        self._begun_at = time.monotonic()
        self._begun.set()

    def watch(self, closing: threading.Event, stall_seconds: float, on_first_frame: Callable[[], None]) -> str:
        """Wait until it ends or gives nothing for so long; why it is to be left."""
        is_told = False
        while True:
            has_ended = self._ended.wait(min(0.1, stall_seconds / 4))
            if self.has_read and not is_told:
                is_told = True
                on_first_frame()
            if has_ended:
                return "no frame came any more"
            if closing.is_set():
                return ""
            if time.monotonic() - max(self.last_frame_at, self._begun_at) > stall_seconds:
                return f"it is connected, but silent for {stall_seconds:g} s"

    def leave(self, seconds: float) -> None:
        """Take no frame from it any more, and wait so long for it to end."""
        self._left.set()
        self._begun.set()
        self._ended.wait(seconds)

    def _work(self) -> None:
        capture = None
        try:
            capture = open_capture(self._address, self._stall_seconds)
            if capture is not None:
                self.frame_count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
                self._is_open = True
            self._tried.set()
            self._begun.wait()
            while capture is not None and not self._left.is_set() and self._read(capture):
                pass
        except Exception as error:  # whatever a driver throws: a thread that dies silently would hang the loop
            self.error = printable(str(error)) or type(error).__name__
        finally:
            self._tried.set()
            if capture is not None:
                capture.release()
            self._ended.set()

    def _read(self, capture: cv2.VideoCapture) -> bool:
        started = time.perf_counter()
        read, image = capture.read()
        if not read:
            return False
        self.last_frame_at = time.monotonic()
        self.has_read = True
        return self._keep(self, image, 1e3 * (time.perf_counter() - started))


def open_capture(address: Address, stall_seconds: float) -> cv2.VideoCapture | None:
    """OpenCV's capture of an address, or None where it does not open."""
    settings = list(address.settings)
    if address.backend == cv2.CAP_FFMPEG:
        # Later than the watchdog, which says what is wrong; it then brings the thread back.
        settings += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, min(round(1e3 * (stall_seconds + 1)), 2**31 - 1)]
    try:
        capture = cv2.VideoCapture(address.target, address.backend, settings)
    except cv2.error:
        return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


def live_address(source: str, shown: str | None = None) -> Address | None:
    """The live address that a `--source` is: a camera, an RTSP or HTTP address, a GStreamer pipeline; None for a file.

    `shown` is what may be shown of it, where secrets were filled in.

    Raises:
        EdgeLeatherError: a pipeline, and this OpenCV has no GStreamer.
    """
    if not is_live(source):
        return None
    if source.isdecimal():
        return Address(int(source), cv2.CAP_ANY, (), f"camera {int(source)}")
    if source.startswith(_DEVICES):
        return Address(source, cv2.CAP_ANY, (), f"camera {source}")
    if source.startswith(PIPELINE_PREFIX):
        if not has_gstreamer():
            raise EdgeLeatherError(
                f"{PIPELINE_PREFIX}: expected an OpenCV with GStreamer, got one without (as the wheel is). Use an RTSP or HTTP "
                "address, or an OpenCV built with it (JetPack's, or Debian's python3-opencv)."
            )
        return Address(source[len(PIPELINE_PREFIX) :], cv2.CAP_GSTREAMER, (), "GStreamer pipeline")
    timeout = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS)
    return Address(source, cv2.CAP_FFMPEG, timeout, without_credentials(shown or source))


def is_live(source: str) -> bool:
    """Whether it is a camera's number or device, a pipeline or a stream's address; told without opening it."""
    is_number = source.isdecimal() and len(source) < 5
    return is_number or source.startswith((_DEVICES, PIPELINE_PREFIX)) or source.lower().startswith(_STREAMS)


def has_gstreamer() -> bool:
    """Whether this OpenCV takes GStreamer pipelines."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def advice(address: Address) -> str:
    """What to do about a live source that is not there."""
    if address.backend == cv2.CAP_FFMPEG:
        return (
            "Check the address, its user and password (with / ? # @ written as %2F %3F %23 %40), the camera's power and the "
            "network."
        )
    if address.backend == cv2.CAP_GSTREAMER:
        return "Try the pipeline with gst-launch-1.0; it has to end with appsink."
    number = str(address.target)
    if Path(number).exists() and number.isdecimal():
        return f"If the file or folder {number} was meant, say ./{number}."
    here = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    return f"Cameras here: {here}. Check that it is plugged in, that no other program has it, and your right to use it."
