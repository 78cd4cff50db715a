"""Live sources: the latest frame of a device, which is opened again when it is lost or silent."""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
import time
from collections.abc import Generator

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.address import Address
from edgeleather.sources.devices.device import Device, NotThereError
from edgeleather.sources.devices.table import DEVICES
from edgeleather.sources.frame import DropPolicy, Frame
from edgeleather.sources.patience import Patience
from edgeleather.sources.reader import DeviceReader
from edgeleather.sources.states import State, StateListener
from edgeleather.sources.stillness import Stillness

_MOST_HUNG_READERS = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 1.0
_CLOSE_SECONDS = 2.0
_ADVICE = "Check its power, its cables and the network."


def make_device(address: Address, stall_seconds: float) -> Device:
    """The device of an address, not opened yet.

    Raises:
        EdgeLeatherError: it can never open here.
    """
    module, _, attribute = DEVICES[address.kind].partition(":")
    device: Device = getattr(importlib.import_module(module), attribute)(address, stall_seconds)
    return device


class LiveSource:
    """The latest frame of a camera or stream each time one is asked for; those in between are counted as dropped.

    Frame numbers count what was captured, so that a gap in them is what was dropped.
    """

    drop_policy: DropPolicy = "keep_latest"

    def __init__(self, address: Address, stop: threading.Event, patience: Patience, listener: StateListener) -> None:
        """Open the device.

        Raises:
            EdgeLeatherError: it can never open here; or it does not open now, and `patience` does not await it.
        """
        self.dropped = 0
        self.total: int | None = None
        self._address, self._stop, self._patience, self._listener = address, stop, patience, listener
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._latest: Frame | None = None
        self._captured = 0
        self._over = False
        self._failure: str | None = None
        self._has_streamed = False
        self._stillness = Stillness(patience.still_seconds)
        self._frozen_seconds: float | None = None  # of the latest frame
        self._told: State | None = None  # the latest of those that tell how it streams
        self._advice = _ADVICE
        self._hung: list[DeviceReader] = []
        self._reader: DeviceReader | None = None
        if patience.awaits_first:
            make_device(address, patience.device_stall_seconds)  # one that can never open is said at once
        elif self._open() is None:
            raise EdgeLeatherError(f"{address.name} does not open. {self._advice}")

    def close(self) -> None:
        """Leave the device where nobody iterated; the end of an iteration does so itself."""
        if self._reader is not None and not self._closing.is_set():
            self._closing.set()
            self._reader.leave(_CLOSE_SECONDS)

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
            self._tell("closed", self._address.name)

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
                reason = self._reader.watch(self._closing, self._patience.device_stall_seconds, self._say_streaming)
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
                self._told = self._frozen_seconds = None
                self._tell(
                    "lost",
                    f"{self._address.name}: {self._shown(reason)} after {self._captured} frames; trying again{how_long}",
                )
            if not self._open_again(lost_at + self._patience.reconnect_seconds):
                return

    def _ends_here(self, reader: DeviceReader) -> bool:
        """Whether the reader's end is the source's: a driver that threw, or a film's end. A station opens it again."""
        if self._patience.awaits_first:
            return False
        if reader.error:
            self._failure = f"{self._address.name}: reading failed: {self._shown(reader.error)}"
            return True
        if self.total is None:
            return False
        if self._captured < self.total - 1 - self.total // 100:
            self._failure = (
                f"{self._address.name}: the film ended after {self._captured} of {self.total} frames; it is damaged, or the "
                "connection broke."
            )
        return True

    def _shown(self, text: str) -> str:
        """What a driver said, without the secrets of the address."""
        return text.replace(self._address.text, self._address.name)

    def _let_go(self, reader: DeviceReader) -> None:
        """Leave a reader; one that hangs in its driver is remembered, since each holds a thread."""
        self._reader = None
        reader.leave(0.0)
        self._hung = [one for one in (*self._hung, reader) if one.is_reading]

    def _keep(self, reader: DeviceReader, image: AnyArray, capture_ms: float) -> bool:
        """Take a frame; False where its reader has been left."""
        with self._changed:
            if self._closing.is_set() or reader is not self._reader:
                return False
            self.dropped += self._latest is not None
            self._frozen_seconds = self._stillness.take(image, reader.last_frame_at)
            self._latest = Frame(
                self._captured, time.time(), self._address.name, image, capture_ms, frozen_seconds=self._frozen_seconds
            )
            self._captured += 1
            self._changed.notify()
        return True

    def _say_streaming(self) -> None:
        """Tell that frames come and whether they move, like `lost` from the watching thread alone: none overtakes another."""
        if self._told is None:
            self._say("streaming again" if self._has_streamed else "streaming", self._address.name)
            self._has_streamed = True
        frozen_seconds = self._frozen_seconds
        if frozen_seconds is not None and self._told != "frozen":
            self._say("frozen", f"{self._address.name}: it has given the same frame for {frozen_seconds:.0f} s")
        elif frozen_seconds is None and self._told == "frozen":
            self._say("moving again", self._address.name)

    def _say(self, state: State, detail: str) -> None:
        self._told = state
        self._tell(state, detail)

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
            f"{self._patience.reconnect_seconds:g} s. {self._advice}"
        )
        self._tell("given up", self._address.name)
        return False

    def _tell(self, state: State, detail: str) -> None:
        with contextlib.suppress(OSError):  # who listened is gone; the frames are not
            self._listener(state, detail)

    def _open(self) -> DeviceReader | None:
        """A reader whose device is open, as the present one; None where it does not open."""
        device = make_device(self._address, self._patience.device_stall_seconds)
        self._reader = reader = DeviceReader(device, self._keep)
        if reader.opens(self._closing):
            self.total = reader.frame_count
            reader.begin()
            return reader
        if isinstance(reader.open_error, NotThereError):
            self._advice = reader.open_error.advice
        else:
            self._advice = self._shown(reader.error or _ADVICE)
        self._let_go(reader)
        return None
