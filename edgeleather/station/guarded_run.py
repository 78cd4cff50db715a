"""What guards a run against its frames: the engine is watched, and the picture in hand is noted."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from edgeleather.events.journal import Journal
from edgeleather.events.stop import Stop
from edgeleather.events.writers import LoopWriter
from edgeleather.inspection.inspector import Inspection, Inspector
from edgeleather.sources.frame import Frame
from edgeleather.station.attempts import Attempts
from edgeleather.station.watchdog import Watchdog, WatchedEngine

_LOGGER = logging.getLogger(__name__)
EndProcess = Callable[[], None]


class GuardedRun:
    """An inspector whose engine is watched, and whose frames from files are noted."""

    def __init__(
        self,
        inspector: Inspector,
        writers: Sequence[LoopWriter],
        stop: Stop,
        journal: Journal | None,
        attempts: Attempts | None,
    ) -> None:
        self.writers = writers
        self._inspector, self._stop, self._journal, self._attempts = inspector, stop, journal, attempts
        self._frame: Frame | None = None

    def inspect(self, frame: Frame) -> Inspection:
        self._frame = frame
        if self._attempts is None:
            return self._inspector.inspect(frame)
        self._attempts.begin_inspection(frame)
        inspection = self._inspector.inspect(frame)
        self._attempts.end_inspection()
        return inspection

    @contextlib.contextmanager
    def watched(self, hung_seconds: float, end_process: EndProcess | None = None) -> Iterator[None]:
        """Watch the inspector's engines inside the block."""
        articles = tuple(self._inspector.articles.values())
        before = [article.engine for article in articles]
        engines = [WatchedEngine(engine) for engine in before]
        for article, engine in zip(articles, engines, strict=True):
            article.engine = engine

        def give_up() -> None:
            try:
                self._give_up()
            finally:
                if end_process:
                    end_process()

        watchdog = Watchdog(engines, hung_seconds, self._stop, self._on_hung, give_up if end_process else None)
        try:
            yield
        finally:
            watchdog.close()
            for article, own in zip(articles, before, strict=True):
                article.engine = own

    def _on_hung(self, detail: str) -> None:
        detail += f": frame {self._frame.index} of {self._frame.source}" if self._frame else ""
        if self._journal:
            self._journal.faults.change("raised", "engine", detail)
        else:
            _LOGGER.warning("engine: %s", detail)

    def _give_up(self) -> None:
        """Write what there is to write; the frame that is inside the engine gets no verdict."""
        _LOGGER.error("engine: the run is to end, but the engine does not come back; it is given up")
        if self._attempts:
            self._attempts.give_up_inspection()
        for writer in self.writers:
            writer.close(self._stop)
        if self._journal:
            self._journal.close(self._stop)
