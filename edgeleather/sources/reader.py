"""One opening of a device, on a thread of its own that may hang in a driver."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.sources.devices.device import Device

_OPEN_SECONDS = 20.0  # what a driver gets that has no time limit of its own

_LOGGER = logging.getLogger(__name__)


class DeviceReader:
    """A thread that opens, reads and releases a device, and alone touches it."""

    def __init__(self, device: Device, keep: Callable[[DeviceReader, AnyArray, float], bool]) -> None:
        """`keep` takes a frame and what reading it took in ms; it gives False where no more is wanted."""
        self.has_read = False
        self.error: str | None = None
        self.open_error: EdgeLeatherError | None = None
        self.frame_count: int | None = None
        self.last_frame_at = -math.inf  # monotonic, in seconds
        self._begun_at = math.inf
        self._device, self._keep = device, keep
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

    def watch(self, closing: threading.Event, stall_seconds: float, while_it_reads: Callable[[], None]) -> str:
        """Wait until it ends or gives nothing for so long; why it is to be left.

        `while_it_reads` is called again and again from the first frame on.
        """
        while True:
            has_ended = self._ended.wait(min(0.1, stall_seconds / 4))
            if self.has_read:
                while_it_reads()
            if has_ended:
                return f"reading failed: {self.error}" if self.error else "no frame came any more"
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
        try:
            self.frame_count = self._device.open()
            self._is_open = True
            self._tried.set()
            self._begun.wait()
            while not self._left.is_set() and self._read():
                pass
        except EdgeLeatherError as error:
            self.open_error = error if not self._is_open else None
            self.error = str(error)
        except Exception as error:  # whatever a driver throws: a thread that dies silently would hang the loop
            self.error = printable(str(error)) or type(error).__name__
            _LOGGER.debug("reading failed", exc_info=True)  # it may be a bug of a device, which keeps its traceback
        finally:
            self._tried.set()
            with contextlib.suppress(Exception):  # a driver may throw here too, and nothing is lost by it
                self._device.release()
            self._ended.set()

    def _read(self) -> bool:
        started = time.perf_counter()
        image = self._device.read()
        if image is None:
            return False
        self.last_frame_at = time.monotonic()
        self.has_read = True
        return self._keep(self, image, 1e3 * (time.perf_counter() - started))
