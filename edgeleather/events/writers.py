"""What writes inspections on this machine: to the terminal, a JSON-lines file or a folder, each behind a queue of its own."""

from __future__ import annotations

import json
import logging
import queue
import threading
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.entry import Entry, to_record
from edgeleather.events.line_file import LineFile
from edgeleather.events.stop import Stop
from edgeleather.files import cannot_write
from edgeleather.imaging.images import write_image
from edgeleather.inspection.overlay import draw_overlay

_LOGGER = logging.getLogger(__name__)
_QUEUE_FRAMES = 16
_PERIOD_SECONDS = 0.02


class InspectionWriter(Protocol):
    """Writes entries, one by one, on one thread."""

    name: str

    def write(self, entry: Entry) -> None:
        """Write one entry.

        Raises:
            EdgeLeatherError: it could not be kept; nothing half-written stays behind.
        """

    def close(self) -> None: ...


class LoopWriter(Protocol):
    """What the loop hands its entries to."""

    def put(self, entry: Entry, stop: Stop, waits: bool = True) -> None: ...

    def close(self, stop: Stop) -> None: ...


class QueuedWriter:
    """A writer on a thread of its own. A full queue waits (files lose no frame); a failure is noted, never passed on.

    The thread looks every 20 ms instead of waking for each frame: where inference keeps every core busy, each wake-up
    holds up all of its threads (seen here: 5 % of the frame rate).
    """

    def __init__(self, writer: InspectionWriter) -> None:
        self._writer = writer
        self.name = writer.name
        self.first_error: str | None = None
        self.stuck = False
        self._put = 0
        self._kept = 0
        self._queue: queue.Queue[Entry | None] = queue.Queue(_QUEUE_FRAMES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"writer {writer.name}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """After `close`: how many entries were put and not kept."""
        return self._put - self._kept

    def put(self, entry: Entry | None, stop: Stop, waits: bool = True) -> None:
        """Queue an entry; one that finds the queue full is waited for, or lost where `waits` is false.

        Once `stop` is overdue nothing is waited for any longer.
        """
        self._put += entry is not None
        while not self.stuck:
            try:
                return self._queue.put(entry, waits, timeout=10 * _PERIOD_SECONDS)
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
            self._note(self._writer.close)

    def _give_up_if(self, overdue: bool) -> None:
        if overdue:
            self.stuck = True
            self.first_error = self.first_error or "it did not take its records before the end."

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            self._kept += self._note(self._writer.write, entry)

    def _next(self) -> Entry | None:
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
                _LOGGER.exception("%s: its writer failed", self.name)
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"
            return False
        return True


class TerminalWriter:
    """Writes one line per frame for a person."""

    name = "terminal"

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, entry: Entry) -> None:
        self._stream.write(terminal_line(entry) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class JsonLinesWriter:
    """Appends one JSON object per frame to a file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            EdgeLeatherError: it cannot be opened.
        """
        self.name = str(path)
        self._file = LineFile(path)

    def write(self, entry: Entry) -> None:
        self._file.append(json.dumps(to_record(entry), ensure_ascii=False, allow_nan=False))

    def close(self) -> None:
        self._file.close()


class DefectPicturesWriter:
    """Writes an overlay picture of each frame that is defective or unfamiliar into a folder."""

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

    def write(self, entry: Entry) -> None:
        inspection = entry.inspection
        if inspection.verdict in ("defect", "unfamiliar"):
            # With the time, so that another run into the same folder overwrites no evidence.
            stem = Path(inspection.source).stem.encode()[:100].decode(errors="ignore")
            when = datetime.fromtimestamp(inspection.captured_at).strftime("%Y%m%d-%H%M%S")
            name = f"{when}-{inspection.frame:06d}-{stem}.png"
            write_image(self._folder / name, draw_overlay(inspection))

    def close(self) -> None:
        pass


def terminal_line(entry: Entry) -> str:
    """An entry as one line for a person."""
    inspection = entry.inspection
    head = f"{inspection.frame:6d}  {inspection.verdict:6s}"
    head += f"  ALARM {entry.alarm}" * bool(entry.alarm) + "  unrecorded" * entry.unrecorded
    if inspection.verdict == "failed":
        return f"{head}  {inspection.source}: {inspection.error}"
    line = f"{head}  {inspection.reason}" if inspection.verdict == "unfamiliar" else head
    if inspection.score is not None and inspection.threshold is not None:
        line += f"  score {inspection.score:.3f} (threshold {inspection.threshold:.3f})"
    if inspection.regions:
        regions = f"{len(inspection.regions)} region" + "s" * (len(inspection.regions) > 1)
        line += f"  {regions}, {inspection.defect_area_percent:.2f} % of the area"
    return f"{line}  {inspection.timings_ms['total']:.1f} ms  {inspection.source}"
