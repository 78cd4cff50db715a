"""A station: one inspection place that runs until it is stopped or its files end."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeleather.events.recording import RecordingSettings
from edgeleather.events.stop import Stop
from edgeleather.inspection.opening import open_inspector
from edgeleather.progress import Progress
from edgeleather.sources.address import Address
from edgeleather.sources.credentials import Credentials
from edgeleather.sources.live import make_device
from edgeleather.sources.opening import open_source
from edgeleather.station.guarded_run import EndProcess
from edgeleather.station.reading import read_station
from edgeleather.station.running import OpenWriters, RunSettings, Summary, inspect_source
from edgeleather.station.settings import StationSettings


class Station:
    """One inspection place: source, bundle, decisions, store and sinks, as its TOML file says. It runs once.

    `settings` is what stands in the file; relative paths start at `folder`. `stop_request` is what `stop` sets.

    >>> import edgeleather as el
    >>> station = el.Station.read("line-3.toml")
    >>> summary = station.run()  # until another thread or a signal's handler calls station.stop(), or the files end
    >>> summary.captured == summary.inferred + summary.dropped + summary.failed
    True
    """

    def __init__(self, settings: StationSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.stop_request = Stop()

    @classmethod
    def read(cls, path: Path | str) -> Station:
        """The station of a TOML file.

        Raises:
            EdgeLeatherError: no such file, no TOML, or a key that is unknown, missing or out of range.
        """
        path = Path(path)
        return cls(read_station(path), path.absolute().parent)

    def run(self, open_writers: OpenWriters = lambda: (), end_process: EndProcess | None = None) -> Summary:
        """Inspect until `stop` is called or the source ends; no signal is handled here.

        `open_writers` gives what is to get every entry beside the store. `end_process` is called from another thread, after the
        records are written, when `stop` was called and the engine does not come back; without it the run then waits on.

        Raises:
            EdgeLeatherError: bundle, store or a sink cannot be opened, a secret is missing, or the source is not there (files;
                cameras are awaited).
        """
        credentials = Credentials(self.folder)
        settings = self.settings
        recording = RecordingSettings(
            self.folder, settings.name, settings.article, settings.store, settings.alarm, settings.sink_settings()
        )
        chosen = RunSettings(
            self.folder / settings.bundle,
            self._address(credentials),
            settings.inspector_settings(),
            settings.source.patience,
            settings.source.watch,
            recording,
            settings.input.max_megapixels,
            settings.hung_seconds,
            is_station=True,
        )
        return inspect_source(chosen, open_writers, self.stop_request, credentials, end_process)

    def stop(self) -> None:
        """End the run after the frame in hand; three seconds later nothing is waited for any more. Safe in a signal handler."""
        self.stop_request.set()

    def check(self) -> dict[str, Any]:
        """What the station is, after everything that it names was opened, but for reaching cameras and receivers.

        Raises:
            EdgeLeatherError: as `run` does.
        """
        settings, folder = self.settings, self.folder
        credentials = Credentials(folder)
        address = self._address(credentials)
        if address.is_live:
            make_device(address, settings.source.patience.device_stall_seconds)
        else:
            open_source(address, self.stop_request, settings.source.patience, watch=settings.source.watch).close()
        sinks = settings.sink_settings()
        for name, one in sinks.items():
            with contextlib.closing(one.open(credentials, folder, name)):
                pass
        alarm = settings.alarm
        with (
            Progress("opening the bundle"),
            open_inspector(folder / settings.bundle, settings.inspector_settings()) as inspector,
        ):
            return {
                "station": settings.name,
                "article": settings.article,
                "source": settings.source.place.name if "://" in settings.source.address else settings.source.address,
                "bundle": settings.bundle,
                "precision": inspector.precision,
                "backend": inspector.engine.signature.backend,
                "verdict": inspector.thresholds.describe(),
                "alarm": f"{alarm.raise_frames} of {alarm.of_frames} frames, cleared at {alarm.clear_frames} or fewer",
                "store": str(folder / settings.store.folder),
                "sinks": {name: f"{one.kind}: {', '.join(one.receives)}" for name, one in sinks.items()},
            }

    def _address(self, credentials: Credentials) -> Address:
        """Where its frames come from, with secrets filled in.

        Raises:
            EdgeLeatherError: a secret is missing.
        """
        place = self.settings.source.place
        if place.is_live:
            return replace(place, text=credentials.fill(place.text, encoded=True))
        return replace(place, text=str(self.folder / place.text))
