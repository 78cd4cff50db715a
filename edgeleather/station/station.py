"""A station: all that one inspection place is, as one TOML file."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.local_sinks import Stop
from edgeleather.events.outbox import Deliverer
from edgeleather.events.sinks.table import AlertSettings, decode_sink
from edgeleather.events.store import Filter, Store
from edgeleather.events.store_lock import only_writer
from edgeleather.imaging.preprocess import Fit
from edgeleather.inspection.decisions import DecisionRules
from edgeleather.inspection.inspector import InspectorSettings
from edgeleather.records import decode
from edgeleather.sources.credentials import Credentials, has_literal_credentials
from edgeleather.sources.files import open_source
from edgeleather.sources.frame import FrameSource
from edgeleather.sources.live import DEFAULT_STALL_SECONDS, Patience, State, StateListener, is_live
from edgeleather.sources.watched import Resumption, WatchFrom, came_at_of_pictures

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST_FILE_BYTES = 1_000_000
_MOST_SECONDS = 1e6


@dataclass(frozen=True)
class SourceSettings:
    """`address` is what `inspect --source` takes; relative paths start at the station file. None waits for ever."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    address: str
    reconnect_seconds: float | None = None
    stall_seconds: float = DEFAULT_STALL_SECONDS
    watch: WatchFrom | None = None

    def __post_init__(self) -> None:
        if not self.address.strip() or not self.address.isprintable():
            raise ValueError(f"address: expected what inspect --source takes, got {self.address!r}")
        if "://" in self.address and not self.is_live:
            raise ValueError(
                f"address: expected rtsp, rtsps, http or https, got {self.address.partition('://')[0]!r}; or a file or camera"
            )
        if self.is_live and self.watch:
            raise ValueError("watch: expected a folder as address")
        if "${" in self.address and not self.is_live:
            raise ValueError("address: expected ${...} in the address of a stream alone")
        if has_literal_credentials(self.address):
            raise ValueError("address: expected user and password as ${NAME} or ${file:PATH}, got them written out")
        if not 0.1 <= self.stall_seconds <= _MOST_SECONDS:
            raise ValueError(f"stall_seconds: expected at least 0.1, got {self.stall_seconds}")
        if self.reconnect_seconds is not None and not 0 <= self.reconnect_seconds <= _MOST_SECONDS:
            raise ValueError(f"reconnect_seconds: expected 0 or more, got {self.reconnect_seconds}")

    @property
    def is_live(self) -> bool:
        """Whether it is a camera or stream, told without opening it."""
        return is_live(self.address)


@dataclass(frozen=True)
class InputSettings:
    """How frames become model images, where not as the bundle says."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    mode: Literal["resize", "tiles"] | None = None
    fit: Fit | None = None
    white_level: int | None = None

    def __post_init__(self) -> None:
        if self.white_level is not None and not 1 <= self.white_level <= 65_535:
            raise ValueError(f"white_level: expected 1 to 65535, got {self.white_level}")


@dataclass(frozen=True)
class Station:
    """One inspection place. Relative paths start at its file's folder."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    schema: Literal[1]
    name: str
    bundle: str
    source: SourceSettings
    article: str | None = None
    precision: Literal["fp32", "fp16", "int8"] | None = None
    backend: str | None = None
    threads: int | None = None
    false_alarm_rate: float | None = None
    input: InputSettings = InputSettings()
    decision: DecisionRules = DecisionRules()
    alarm: AlarmRules = AlarmRules()
    store: StoreSettings = StoreSettings()
    sinks: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "bundle", "article"):
            value = getattr(self, key)
            if value is not None and (not value.strip() or not value.isprintable() or len(value) > 1000):
                raise ValueError(f"{key}: expected a line of text, got {value[:60]!r}")
        if self.backend is not None and self.backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.threads is not None and not 1 <= self.threads <= 256:
            raise ValueError(f"threads: expected 1 to 256, got {self.threads}")
        if self.false_alarm_rate is not None and not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate: expected more than 0 and less than 1, got {self.false_alarm_rate}")
        if self.input.fit and self.input.mode == "tiles":
            raise ValueError(f"input.fit: {self.input.fit} is for mode resize; tiles take frames of any aspect ratio")

    def sink_settings(self) -> dict[str, AlertSettings]:
        """Its sinks by name, each a record of its kind.

        Raises:
            ValueError: a sink's table is wrong.
        """
        for name in self.sinks:
            if not name.strip() or not name.isprintable() or len(name) > 100:
                raise ValueError(f"sinks: expected a name of one line, got {name[:60]!r}")
        return {name: decode_sink(value, f"sinks.{name}") for name, value in self.sinks.items()}


def read_station(path: Path) -> Station:
    """Read a station file; every unknown key is an error.

    Raises:
        EdgeLeatherError: no such file, no TOML, or a key that is unknown, missing or out of range.
    """
    try:
        if not path.is_file():
            raise EdgeLeatherError(
                f"expected a station file at {path}, found {'a folder' if path.is_dir() else 'none'}."
            )
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise EdgeLeatherError(f"{path}: expected a station file of at most 1 MB, got a larger file.")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        station: Station = decode(Station, _plain(data), "")
        station.sink_settings()
    except OSError as error:
        raise EdgeLeatherError(f"{path}: cannot read it: {error.strerror}.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise EdgeLeatherError(f"{path}: {error}. Mend it, then run: edgeleather station check {path}") from error
    return station


def _plain(value: Any) -> Any:
    """TOML's values without its dates, which no key takes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


@dataclass
class RunningStation:
    """A station's parts, open: `frames` to iterate over, `journal` to note inspections in, `hide` for texts to show."""

    frames: FrameSource
    journal: Journal
    hide: Callable[[str], str]


@contextlib.contextmanager
def open_station(
    station: Station, folder: Path, stop: Stop, tell: Callable[[str], None], listener: StateListener
) -> Iterator[RunningStation]:
    """Open source, store and sinks; the store is this station's alone until the end. `tell` gets one line a trouble.

    Raises:
        EdgeLeatherError: a secret is missing, the store cannot be used, or the source is not there (files; cameras are awaited).
    """
    credentials = Credentials(folder)
    store_folder = folder / station.store.folder
    sinks = {
        name: (settings.receives, settings.open(credentials, folder, station.name))
        for name, settings in station.sink_settings().items()
    }
    with only_writer(store_folder):
        with contextlib.closing(Store(store_folder, create=True)) as store:
            for gone in store.retire_all_but(list(sinks)):
                tell(
                    f"sink {gone.name}: not in the station file any more; {gone.waiting} events that waited for it are let go"
                )
            watched = folder / station.source.address
            resumption = _resumption(store, watched) if station.source.watch == "new" else None
        deliverers = [
            Deliverer(store_folder, name, receives, sink, tell, credentials.hide)
            for name, (receives, sink) in sinks.items()
        ]
        journal = Journal(store_folder, station.store, station.alarm, station.name, station.article, deliverers, tell)

        def on_state(state: State, detail: str) -> None:
            journal.source_changed(state, credentials.hide(detail))
            listener(state, credentials.hide(detail))

        try:
            frames = open_station_source(station, folder, credentials, stop, on_state, resumption)
            yield RunningStation(frames, journal, credentials.hide)
        finally:
            journal.close(stop)


def open_station_source(
    station: Station,
    folder: Path,
    credentials: Credentials,
    stop: Stop,
    listener: StateListener,
    resumption: Resumption | None = None,
) -> FrameSource:
    """The station's source, with its secrets filled in.

    Raises:
        EdgeLeatherError: a secret is missing, or it is a file that is not there; no secret is in its text.
    """
    settings = station.source
    long = settings.reconnect_seconds
    patience = Patience(float("inf") if long is None else long, settings.stall_seconds, awaits_first=True)
    if not settings.is_live:
        listener("streaming", settings.address)
        place = str(folder / settings.address)
        return open_source(place, stop, patience, listener, settings.watch, resumption=resumption)
    address = credentials.fill(settings.address, encoded=True)
    return open_source(address, stop, patience, listener, settings.watch, settings.address)


def _resumption(store: Store, folder: Path) -> Resumption:
    """What of a watched folder the station has inspected before, as far as its pictures are still there.

    Raises:
        EdgeLeatherError: no such folder.
    """
    since = store.mark(f"watching {folder}", time.time())
    oldest = min(came_at_of_pictures(folder), default=since)
    rows = store.select(Filter(since=max(since, oldest), topics=("good", "defect", "failed")))
    bodies = ((one.event.at, json.loads(one.event.body)) for one in rows)
    # In the order of the store: the latest of a name stays.
    return Resumption(since, {Path(body.get("source") or "").name: at for at, body in bodies})


def inspector_settings(station: Station) -> InspectorSettings:
    """What a station says about inspection."""
    return InspectorSettings(
        precision=station.precision,
        backend=station.backend or REFERENCE_BACKEND,
        input_kind=station.input.mode,
        fit=station.input.fit,
        white_level=station.input.white_level,
        false_alarm_rate=station.false_alarm_rate,
        threads=station.threads,
        rules=station.decision,
    )
