"""Pictures of defects and unfamiliar frames beside the store, written on a thread, with limits on size, age and free space.

JPEG, since a PNG takes ten times the processor's time (4.0 against 0.4 ms at 256 x 256), which the engine would lack.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import write_image
from edgeleather.inspection.inspector import Inspection
from edgeleather.inspection.overlay import draw_overlay

_LOGGER = logging.getLogger(__name__)
PICTURES_FOLDER = "pictures"
_QUEUE_FRAMES = 8
_FORGET_EVERY_SECONDS = 60.0
_MOST_PER_SECOND = 5.0
# Of unfamiliar frames. A lamp that is out makes each frame one; a few show why, and more would push out pictures of defects.
_UNFAMILIAR_AT_ONCE, _UNFAMILIAR_PER_SECOND = 5.0, 1 / 60


@dataclass(frozen=True)
class PictureRules:
    """What of the pictures is kept: at most `max_mb` and `keep_days`, and none while less than `free_floor_mb` are free."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    keep: bool = True
    max_mb: float = 2000.0
    keep_days: float = 30.0
    free_floor_mb: float = 500.0
    most_per_second: float = _MOST_PER_SECOND

    def __post_init__(self) -> None:
        for name in ("max_mb", "keep_days", "most_per_second"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if self.free_floor_mb < 0:
            raise ValueError(f"free_floor_mb: expected 0 or more, got {self.free_floor_mb}")


class _Rate:
    """How many may come: so many at once, and so many a second."""

    def __init__(self, at_once: float, per_second: float) -> None:
        self._at_once, self._per_second = at_once, per_second
        self._left, self._refilled_at = at_once, time.monotonic()

    def is_left(self) -> bool:
        now = time.monotonic()
        self._left = min(self._at_once, self._left + self._per_second * (now - self._refilled_at))
        self._refilled_at = now
        return self._left >= 1

    def spend(self) -> None:
        self._left -= 1


class DefectPictures:
    """Overlay pictures of defects and of some unfamiliar frames.

    A defect that comes too fast, or finds no room, has none; it is counted, never waited for. Used by one thread; another writes.
    """

    def __init__(self, folder: Path, rules: PictureRules) -> None:
        """Make the folder, and take stock of what is there.

        Raises:
            OSError: it cannot be made.
        """
        self.skipped = 0
        self.kept = 0
        self.first_error: str | None = None
        self._folder, self._rules = folder, rules
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(".*.partial"):  # of a run that was killed
            partial.unlink(missing_ok=True)
        self._there = sorted((path.name, path.stat().st_size) for path in folder.glob("*.jpg") if path.is_file())
        self._bytes = sum(size for _, size in self._there)
        self._defects = _Rate(max(1.0, rules.most_per_second), rules.most_per_second)
        self._unfamiliar = _Rate(_UNFAMILIAR_AT_ONCE, _UNFAMILIAR_PER_SECOND)
        self._queue: queue.Queue[tuple[str, Inspection] | None] = queue.Queue(_QUEUE_FRAMES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)
        self._thread.start()

    def take(self, inspection: Inspection, event_id: str) -> str | None:
        """Queue the picture of a defect or an unfamiliar frame; its name, or None where it gets none."""
        is_defect = inspection.verdict == "defect"
        rate = self._defects if is_defect else self._unfamiliar
        when = datetime.fromtimestamp(inspection.captured_at).strftime("%Y%m%d-%H%M%S")
        name = f"{when}-{inspection.frame:06d}-{event_id[-8:]}.jpg"
        if not rate.is_left() or self._queue.full():
            self.skipped += is_defect
            return None
        rate.spend()
        self._queue.put_nowait((name, inspection))
        return name

    def close(self, seconds: float) -> None:
        """Write what is queued, for so long at most."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread is at work, and looks whether this is the end
            self._queue.put_nowait(None)
        self._thread.join(seconds)
        left = list(self._queue.queue)  # a copy: a thread that is still at work may take one meanwhile
        self.skipped += sum(one is not None for one in left)

    def _work(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            self._forget(time.time())
            with contextlib.suppress(queue.Empty):
                if queued := self._queue.get(timeout=_FORGET_EVERY_SECONDS):
                    self._keep(*queued)

    def _keep(self, name: str, inspection: Inspection) -> None:
        try:
            self._write(name, inspection)
        except Exception as error:
            if not isinstance(error, EdgeLeatherError | OSError) and not self.first_error:
                _LOGGER.exception("a picture of a defect failed")  # a bug; the next picture may go well
            self.skipped += 1
            self.first_error = self.first_error or str(error)

    def _write(self, name: str, inspection: Inspection) -> None:
        if not self._folder.is_dir():  # it was moved away with the store
            self._folder.mkdir(parents=True)
            self._there, self._bytes = [], 0
        if shutil.disk_usage(self._folder).free < 1e6 * self._rules.free_floor_mb:
            raise EdgeLeatherError(
                f"{self._folder}: fewer than {self._rules.free_floor_mb:g} MB are free, so no picture is kept. Make room there."
            )
        path = self._folder / name
        write_image(path, draw_overlay(inspection))
        self.kept += 1
        self._there.append((name, path.stat().st_size))
        self._bytes += self._there[-1][1]
        self._forget(time.time())

    def _forget(self, now: float) -> None:
        """Delete the oldest, by the time in their names, beyond the limits of size and age."""
        oldest = datetime.fromtimestamp(max(0.0, now - 86_400 * self._rules.keep_days)).strftime("%Y%m%d-%H%M%S")
        while self._there and (self._bytes > 1e6 * self._rules.max_mb or self._there[0][0] < oldest):
            name, size = self._there.pop(0)
            self._bytes -= size
            with contextlib.suppress(OSError):  # gone already, or not ours to delete
                os.unlink(self._folder / name)  # noqa: PTH108 - a name, and no more than that
