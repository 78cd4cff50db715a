"""What stands in a station file: all that one inspection place is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from edgeleather.engines.table import BACKENDS
from edgeleather.errors import is_one_line
from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import StoreSettings
from edgeleather.events.sinks.table import SinkSettings, decode_sink
from edgeleather.imaging.images import MAX_MEGAPIXELS
from edgeleather.imaging.preprocess import Fit
from edgeleather.inspection.decisions import DecisionRules
from edgeleather.inspection.inspector import InspectorSettings
from edgeleather.sources.address import Address, has_literal_credentials, parse_address
from edgeleather.sources.patience import DEFAULT_STILL_SECONDS, Patience
from edgeleather.sources.watched import WatchFrom
from edgeleather.station.watchdog import DEFAULT_HUNG_SECONDS

_MOST_SECONDS = 1e6
_MOST_MEGAPIXELS = 1000.0  # more, OpenCV does not decode


@dataclass(frozen=True)
class SourceSettings:
    """`address` is what `inspect --source` takes; relative paths start at the station file.

    `reconnect_seconds` of None waits for ever; `stall_seconds` of None is 5 s for a device and never for a watched folder;
    `still_seconds` of 0 takes a device that gives the same frame again and again for a still scene; `snapshot_seconds` is the
    time from one picture of a snapshot address to the next, None for 1 s or half of `stall_seconds` if that is less.
    """

    DEFAULTS_APPLY: ClassVar[bool] = True
    address: str
    reconnect_seconds: float | None = None
    stall_seconds: float | None = None
    watch: WatchFrom | None = None
    still_seconds: float = DEFAULT_STILL_SECONDS
    snapshot_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.address.strip() or not is_one_line(self.address):
            raise ValueError(f"address: expected what inspect --source takes, got {self.address!r}")
        try:
            is_live = parse_address(self.address).is_live
        except ValueError as error:
            raise ValueError(f"address: {error}") from error
        if is_live and self.watch:
            raise ValueError("watch: expected a folder as address")
        if "${" in self.address and not is_live:
            raise ValueError("address: expected ${...} in the address of a stream alone")
        if has_literal_credentials(self.address):
            raise ValueError("address: expected user and password as ${NAME} or ${file:PATH}, got them written out")
        if self.stall_seconds is not None and not 0.1 <= self.stall_seconds <= _MOST_SECONDS:
            raise ValueError(f"stall_seconds: expected at least 0.1, got {self.stall_seconds}")
        if self.reconnect_seconds is not None and not 0 <= self.reconnect_seconds <= _MOST_SECONDS:
            raise ValueError(f"reconnect_seconds: expected 0 or more, got {self.reconnect_seconds}")
        if not 0 <= self.still_seconds <= _MOST_SECONDS:
            raise ValueError(f"still_seconds: expected 0 or more, got {self.still_seconds}")
        stall_seconds = self.patience.device_stall_seconds
        if self.snapshot_seconds is not None and not 0.01 <= self.snapshot_seconds < stall_seconds:
            raise ValueError(
                f"snapshot_seconds: expected 0.01 or more, and less than stall_seconds ({stall_seconds:g}), got "
                f"{self.snapshot_seconds}"
            )

    @property
    def place(self) -> Address:
        """The address as it stands there, with placeholders for its secrets."""
        return replace(parse_address(self.address), snapshot_seconds=self.snapshot_seconds)

    @property
    def patience(self) -> Patience:
        """How long the source is waited for, also for one that is not there at the start."""
        long = self.reconnect_seconds
        long = float("inf") if long is None else long
        return Patience(long, self.stall_seconds, awaits_first=True, still_seconds=self.still_seconds)


@dataclass(frozen=True)
class InputSettings:
    """How frames become model images, where not as the bundle says, and how large a picture file may be."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    mode: Literal["resize", "tiles"] | None = None
    fit: Fit | None = None
    white_level: int | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        if self.white_level is not None and not 1 <= self.white_level <= 65_535:
            raise ValueError(f"white_level: expected 1 to 65535, got {self.white_level}")
        if not 0 < self.max_megapixels <= _MOST_MEGAPIXELS:
            raise ValueError(
                f"max_megapixels: expected more than 0 and at most {_MOST_MEGAPIXELS:g}, got {self.max_megapixels}"
            )


@dataclass(frozen=True)
class StationSettings:
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
    hung_seconds: float = DEFAULT_HUNG_SECONDS
    input: InputSettings = InputSettings()
    decision: DecisionRules = DecisionRules()
    alarm: AlarmRules = AlarmRules()
    store: StoreSettings = StoreSettings()
    sinks: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "bundle", "article"):
            value = getattr(self, key)
            if value is not None and (not value.strip() or not is_one_line(value) or len(value) > 1000):
                raise ValueError(f"{key}: expected a line of text, got {value[:60]!r}")
        if self.backend is not None and self.backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.threads is not None and not 1 <= self.threads <= 256:
            raise ValueError(f"threads: expected 1 to 256, got {self.threads}")
        if self.false_alarm_rate is not None and not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate: expected more than 0 and less than 1, got {self.false_alarm_rate}")
        if not 1 <= self.hung_seconds <= _MOST_SECONDS:
            raise ValueError(f"hung_seconds: expected at least 1, got {self.hung_seconds}")
        if self.input.fit and self.input.mode == "tiles":
            raise ValueError(f"input.fit: {self.input.fit} is for mode resize; tiles take frames of any aspect ratio")

    def sink_settings(self) -> dict[str, SinkSettings]:
        """Its sinks by name, each a record of its kind.

        Raises:
            ValueError: a sink's table is wrong.
        """
        for name in self.sinks:
            if not name.strip() or not is_one_line(name) or len(name) > 100:
                raise ValueError(f"sinks: expected a name of one line, got {name[:60]!r}")
        return {name: decode_sink(value, f"sinks.{name}") for name, value in self.sinks.items()}

    def inspector_settings(self) -> InspectorSettings:
        """What it says about inspection."""
        return InspectorSettings(
            precision=self.precision,
            backend=self.backend,
            input_kind=self.input.mode,
            fit=self.input.fit,
            white_level=self.input.white_level,
            false_alarm_rate=self.false_alarm_rate,
            threads=self.threads,
            article=self.article,
            rules=self.decision,
        )
