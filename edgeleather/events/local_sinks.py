"""Where inspections go: the terminal, a JSON-lines file, a folder of overlay pictures. Each behind a queue of its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import threading
import time
import traceback
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sync_folder
from edgeleather.imaging.images import write_image
from edgeleather.inspection.inspector import Inspection
from edgeleather.inspection.overlay import draw_overlay

_QUEUE_FRAMES = 16
_PERIOD_SECONDS = 0.02
_STOP_SECONDS = 3.0


class Stop(threading.Event):
    """Set when the loop is to end; overdue three seconds later, when nothing may hold the process any longer."""

    _set_at = 0.0

    def set(self) -> None:
        self._set_at = self._set_at or time.monotonic()
        super().set()

    def is_overdue(self) -> bool:
        return self.is_set() and time.monotonic() - self._set_at > _STOP_SECONDS


class Sink(Protocol):
    """Receives inspections, one by one, on one thread."""

    name: str

    def write(self, inspection: Inspection) -> None:
        """Take one inspection.

        Raises:
            EdgeLeatherError: it could not be kept; nothing half-written stays behind.
        """

    def close(self) -> None: ...


class LocalSink(Protocol):
    """What the loop hands inspections to."""

    def put(self, inspection: Inspection, stop: Stop, waits: bool = True) -> None: ...

    def close(self, stop: Stop) -> None: ...


class QueuedSink:
    """A sink on a thread of its own. A full queue waits (files lose no frame); a failure is noted, never passed on.

    The thread looks every 20 ms instead of waking for each frame: where inference keeps every core busy, each wake-up
    holds up all of its threads (seen here: 5 % of the frame rate).
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.name = sink.name
        self.first_error: str | None = None
        self.stuck = False
        self._put = 0
        self._kept = 0
        self._queue: queue.Queue[Inspection | None] = queue.Queue(_QUEUE_FRAMES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """After `close`: how many inspections were put and not kept."""
        return self._put - self._kept

    def put(self, inspection: Inspection | None, stop: Stop, waits: bool = True) -> None:
        """Queue an inspection; one that finds the queue full is waited for, or lost where `waits` is false.

        Once `stop` is overdue nothing is waited for any longer.
        """
        self._put += inspection is not None
        while not self.stuck:
            try:
                return self._queue.put(inspection, waits, timeout=10 * _PERIOD_SECONDS)
            except queue.Full:
                if not waits:
                    self.first_error = self.first_error or "it is slower than the frames that come."
                    return None
                self._give_up_if(stop.is_overdue())
        return None

    def close(self, stop: Stop) -> None:
        """Wait until all that was put is written; once `stop` is overdue, what is left is lost."""
        self.put(None, stop)
        self._closing.set()
        while self._thread.is_alive() and not self.stuck:
            self._thread.join(10 * _PERIOD_SECONDS)
            self._give_up_if(self._thread.is_alive() and stop.is_overdue())
        if not self.stuck:
            self._note(self._sink.close)

    def _give_up_if(self, overdue: bool) -> None:
        if overdue:
            self.stuck = True
            self.first_error = self.first_error or "it did not take its records before the end."

    def _work(self) -> None:
        while (inspection := self._next()) is not None:
            self._kept += self._note(self._sink.write, inspection)

    def _next(self) -> Inspection | None:
        while True:
            try:
                return self._queue.get_nowait()
            except queue.Empty:
                self._closing.wait(_PERIOD_SECONDS)

    def _note(self, action: Any, *arguments: Any) -> bool:
        try:
            action(*arguments)
        except (EdgeLeatherError, OSError) as error:
            self.first_error = self.first_error or str(error)
            return False
        except Exception as error:
            # A bug, so it keeps its traceback; but a dead thread would leave the queue full and the loop waiting for ever.
            if not self.first_error:
                traceback.print_exc()
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"
            return False
        return True


class TerminalSink:
    """A line a frame."""

    name = "terminal"

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, inspection: Inspection) -> None:
        self._stream.write(terminal_line(inspection) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class LineFile:
    """A file that lines are appended to; one that does not fit on the disk is taken back whole."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending.

        Raises:
            EdgeLeatherError: it cannot be opened.
        """
        self._path = path
        try:
            is_new, ends_whole = not path.exists(), _ends_whole(path)
            # Not blocking, so that a pipe without a reader is an error instead of a wait.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
            self._descriptor = os.open(path, flags, 0o644)
            os.set_blocking(self._descriptor, True)
            if is_new:
                sync_folder(path.parent)
            if not ends_whole:  # a power cut in the middle of a line must not spoil the next one
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise EdgeLeatherError(cannot_write(path, error)) from error

    def append(self, text: str) -> None:
        """Write a line.

        Raises:
            EdgeLeatherError: it does not fit; nothing of it stays.
        """
        line = (text + "\n").encode()
        whole = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # a device has no length to take back
                os.ftruncate(self._descriptor, whole)
            raise EdgeLeatherError(cannot_write(self._path, error)) from error

    def close(self) -> None:
        """Bring it to the disk and close it.

        Raises:
            EdgeLeatherError: the disk refuses.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            # A pipe or a terminal cannot be synced, and needs not be.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise EdgeLeatherError(cannot_write(self._path, error)) from error
        finally:
            os.close(self._descriptor)


def _ends_whole(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


class JsonLinesSink:
    """A JSON object a frame, appended to a file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            EdgeLeatherError: it cannot be opened.
        """
        self.name = str(path)
        self._file = LineFile(path)

    def write(self, inspection: Inspection) -> None:
        self._file.append(json.dumps(to_record(inspection), ensure_ascii=False, allow_nan=False))

    def close(self) -> None:
        self._file.close()


class DefectPicturesSink:
    """An overlay picture of each defective frame, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            EdgeLeatherError: it cannot be made.
        """
        self.name = str(folder)
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeLeatherError(cannot_write(folder, error)) from error

    def write(self, inspection: Inspection) -> None:
        if inspection.verdict == "defect":
            # With the time, so that another run into the same folder overwrites no evidence.
            stem = Path(inspection.source).stem.encode()[:100].decode(errors="ignore")
            when = datetime.fromtimestamp(inspection.captured_at).strftime("%Y%m%d-%H%M%S")
            name = f"{when}-{inspection.frame:06d}-{stem}.png"
            write_image(self._folder / name, draw_overlay(inspection))

    def close(self) -> None:
        pass


def to_record(inspection: Inspection) -> dict[str, Any]:
    """An inspection as the JSON object that `--jsonl` writes."""
    return {
        "frame": inspection.frame,
        "captured_at": inspection.captured_at,
        "source": inspection.source,
        "verdict": inspection.verdict,
        "score": inspection.score,
        "threshold": inspection.threshold,
        "defect_area_percent": inspection.defect_area_percent,
        "regions": [vars(region) for region in inspection.regions],
        "timings_ms": inspection.timings_ms,
        "error": inspection.error,
        "small_regions": inspection.small_regions,
        "alarm": inspection.alarm,
        "unrecorded": inspection.unrecorded,
    }


def terminal_line(inspection: Inspection) -> str:
    """An inspection as one line for a person."""
    head = f"{inspection.frame:6d}  {inspection.verdict:6s}"
    head += f"  ALARM {inspection.alarm}" * bool(inspection.alarm) + "  unrecorded" * inspection.unrecorded
    if inspection.verdict == "failed":
        return f"{head}  {inspection.source}: {inspection.error}"
    line = f"{head}  score {inspection.score:.3f} (threshold {inspection.threshold:.3f})"
    if inspection.regions:
        regions = f"{len(inspection.regions)} region" + "s" * (len(inspection.regions) > 1)
        line += f"  {regions}, {inspection.defect_area_percent:.2f} % of the area"
    return f"{line}  {inspection.timings_ms['total']:.1f} ms  {inspection.source}"
