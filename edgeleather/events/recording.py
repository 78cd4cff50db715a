"""What a run records, and the journal that is opened for it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.outbox import Deliverer
from edgeleather.events.sinks.table import SinkSettings
from edgeleather.events.stop import Stop
from edgeleather.events.store import Store
from edgeleather.events.store_lock import only_writer
from edgeleather.sources.credentials import Credentials

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordingSettings:
    """What a run records, under which names, when its alarm is raised, and which sinks are told.

    `folder` is where the relative paths of store and sinks start.
    """

    folder: Path
    station: str
    article: str | None = None
    store: StoreSettings = StoreSettings()
    alarm: AlarmRules = AlarmRules()
    sinks: Mapping[str, SinkSettings] = field(default_factory=dict)

    @property
    def store_folder(self) -> Path:
        """Where the store lies."""
        return self.folder / self.store.folder


@contextlib.contextmanager
def opened_journal(settings: RecordingSettings, credentials: Credentials, stop: Stop) -> Iterator[Journal]:
    """The journal of a run with its store and sinks; the store is this run's alone until the end.

    Raises:
        EdgeLeatherError: a secret, file or package of a sink is missing, or the store cannot be used.
    """
    sinks = {
        name: (one.receives, one.open(credentials, settings.folder, settings.station))
        for name, one in settings.sinks.items()
    }
    folder = settings.store_folder
    with only_writer(folder):
        with contextlib.closing(Store(folder, create=True)) as store:
            for gone in store.retire_all_but(list(sinks)):
                _LOGGER.warning(
                    "sink %s: not in the station file any more; %s events that waited for it are let go",
                    gone.name,
                    gone.waiting,
                )
        deliverers = [
            Deliverer(folder, name, receives, sink, credentials.hide) for name, (receives, sink) in sinks.items()
        ]
        journal = Journal(folder, settings.store, settings.alarm, settings.station, settings.article, deliverers)
        try:
            yield journal
        finally:
            journal.close(stop)
