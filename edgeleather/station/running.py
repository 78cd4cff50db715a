"""A run from its settings to its summary: inspector, store, sinks and source are opened, the loop runs, all is closed."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgeleather import __version__
from edgeleather.bundle.thresholds import VerdictThreshold
from edgeleather.events.journal import Journal
from edgeleather.events.recording import RecordingSettings, opened_journal
from edgeleather.events.stop import Stop
from edgeleather.events.store import Store
from edgeleather.events.writers import LoopWriter
from edgeleather.imaging.images import MAX_MEGAPIXELS
from edgeleather.imaging.quiet import quiet_opencv
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.inspection.opening import open_inspector
from edgeleather.sources.address import Address
from edgeleather.sources.attempt import PictureAttempt, PlainAttempt
from edgeleather.sources.credentials import Credentials
from edgeleather.sources.frame import FrameSource
from edgeleather.sources.opening import open_source
from edgeleather.sources.patience import Patience
from edgeleather.sources.states import State
from edgeleather.sources.watched import WatchFrom
from edgeleather.station.attempts import Attempts
from edgeleather.station.guarded_run import EndProcess, GuardedRun
from edgeleather.station.loop import Counts, run_loop
from edgeleather.station.watchdog import DEFAULT_HUNG_SECONDS
from edgeleather.station.watching import known_pictures

_LOGGER = logging.getLogger(__name__)
_LEVELS: dict[State, int] = {
    "lost": logging.WARNING,
    "silent": logging.WARNING,
    "frozen": logging.WARNING,
    "given up": logging.ERROR,
}
OpenWriters = Callable[[], Sequence[LoopWriter]]


@dataclass(frozen=True)
class RunSettings:
    """What a run inspects and with what; None for `recording` keeps no store. Secrets are filled in, paths usable as they are.

    `max_megapixels` is what a picture file may have. A frame that is inside the engine for `hung_seconds` is a fault. A station
    (`is_station`) goes on where its earlier run ended, and its start and end are logged.
    """

    bundle: Path
    address: Address
    inspector: InspectorSettings = InspectorSettings()
    patience: Patience = Patience()
    watch: WatchFrom | None = None
    recording: RecordingSettings | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    hung_seconds: float = DEFAULT_HUNG_SECONDS
    is_station: bool = False


class VerdictInUse(NamedTuple):
    """The threshold that frames of an article ("" without a name) and of so many images were judged by."""

    article: str
    tiles: int
    threshold: VerdictThreshold


@dataclass
class Summary(Counts):
    """The counts of a run, its engine (of the first article where there are several) and its thresholds.

    `pictures_kept` and `pictures_skipped` are of defects beside the store, None without one.
    """

    precision: str = ""
    graph: str = ""
    backend: str = ""
    verdicts: tuple[VerdictInUse, ...] = ()
    pictures_kept: int | None = None
    pictures_skipped: int | None = None
    pictures_error: str | None = None

    def describe(self) -> str:
        """The counts as one line."""
        return (
            f"{self.captured} captured = {self.inferred} inferred + {self.dropped} dropped + {self.failed} failed; "
            f"{self.defects} with defects; "
            + (f"{self.unfamiliar} unfamiliar; " if self.unfamiliar else "")
            + f"{self.fps:.1f} frames a second"
            + ("; stopped by a signal" if self.stopped_by_signal else "")
        )


def inspect_source(
    settings: RunSettings,
    open_writers: OpenWriters = lambda: (),
    stop: Stop | None = None,
    credentials: Credentials | None = None,
    end_process: EndProcess | None = None,
) -> Summary:
    """Inspect a source until it ends or `stop` is set.

    `open_writers` is called once all else is open; the loop closes what it gives. `credentials` take the secrets out of what is
    logged and told. `end_process` is called from another thread, after the records are written, when the run is to end and the
    engine does not come back.

    Raises:
        EdgeLeatherError: bundle, store, sinks, source or writers cannot be opened.
    """
    stop, credentials = stop or Stop(), credentials or Credentials(Path())
    recording = settings.recording
    name = f"station {recording.station}" if recording and settings.is_station else "run"
    level = logging.INFO if settings.is_station else logging.DEBUG
    with (
        quiet_opencv(),
        open_inspector(settings.bundle, settings.inspector) as inspector,
        _journal(recording, credentials, stop) as journal,
        _attempts(settings) as attempts,
    ):
        _LOGGER.log(level, "%s starts: %s", name, _description(settings, inspector))
        attempt = attempts or PlainAttempt(settings.max_megapixels)
        with contextlib.closing(_frames(settings, journal, credentials, stop, attempt)) as frames:
            run = GuardedRun(inspector, open_writers(), stop, journal, attempts)
            with run.watched(settings.hung_seconds, end_process):
                counts = run_loop(frames, run, run.writers, stop, journal)
        counts.source_error = counts.source_error and credentials.hide(counts.source_error)
        summary = _summary(counts, inspector, journal)
        reason = f"; {summary.source_error}" if summary.source_error else ""
        _LOGGER.log(level, "%s ends: %s, %s unrecorded%s", name, summary.describe(), summary.unrecorded, reason)
        return summary


@contextlib.contextmanager
def _journal(recording: RecordingSettings | None, credentials: Credentials, stop: Stop) -> Iterator[Journal | None]:
    if recording is None:
        yield None
        return
    with opened_journal(recording, credentials, stop) as journal:
        yield journal


@contextlib.contextmanager
def _attempts(settings: RunSettings) -> Iterator[Attempts | None]:
    """Notes of which picture file is in hand, of a station alone."""
    if not settings.is_station or settings.recording is None or settings.address.is_live:
        yield None
        return
    with contextlib.closing(Store(settings.recording.store_folder)) as store:
        opened = Attempts(store, settings.max_megapixels)
    with opened as attempts:
        yield attempts


def _frames(
    settings: RunSettings, journal: Journal | None, credentials: Credentials, stop: Stop, attempt: PictureAttempt
) -> FrameSource:
    """The source, whose states are logged and are the journal's."""

    def on_state(state: State, detail: str) -> None:
        detail = credentials.hide(detail)
        if journal and journal.source_changed(state, detail):
            return  # the journal has logged it, as a fault
        _LOGGER.log(_LEVELS.get(state, logging.INFO), "%s: %s", state, detail)

    recording, known = settings.recording, None
    if recording and settings.is_station and settings.watch == "new":
        with contextlib.closing(Store(recording.store_folder)) as store:
            known = known_pictures(store, Path(settings.address.text))
    if settings.is_station and not settings.address.is_live:
        on_state("streaming", settings.address.name)  # ends the fault of an earlier run whose source was lost
    return open_source(settings.address, stop, settings.patience, on_state, settings.watch, known, attempt)


def _description(settings: RunSettings, inspector: Inspector) -> str:
    """What runs here, by version, for the log."""
    signature = inspector.engine.signature
    versions = {"edgeleather": __version__, "Python": platform.python_version(), **signature.versions}
    listed = ", ".join(f"{part} {version}" for part, version in versions.items())
    return (
        f"bundle {settings.bundle}, {inspector.graph} at {inspector.precision} with {signature.backend}, source "
        f"{settings.address.name}; {listed}"
    )


def _summary(counts: Counts, inspector: Inspector, journal: Journal | None) -> Summary:
    pictures = journal.pictures if journal else None
    return Summary(
        **vars(counts),
        precision=inspector.precision,
        graph=inspector.graph,
        backend=inspector.engine.signature.backend,
        verdicts=tuple(
            VerdictInUse(article.name, tiles, threshold)
            for article in inspector.articles.values()
            for tiles, threshold in article.verdicts.items()
        ),
        pictures_kept=pictures.kept if pictures else None,
        pictures_skipped=pictures.skipped if pictures else None,
        pictures_error=pictures.first_error if pictures else None,
    )
