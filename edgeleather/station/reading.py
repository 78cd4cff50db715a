"""Reading a station file."""

from __future__ import annotations

from pathlib import Path

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import decode, read_toml
from edgeleather.station.settings import StationSettings

_LARGEST_FILE_BYTES = 1_000_000


def read_station(path: Path) -> StationSettings:
    """Read a station file; every unknown key is an error.

    Raises:
        EdgeLeatherError: no such file, no TOML, or a key that is unknown, missing or out of range.
    """
    try:
        if not path.is_file():
            raise EdgeLeatherError(
                f"expected a station file at {path}, found {'a folder' if path.is_dir() else 'none'}."
            )
        station: StationSettings = decode(StationSettings, read_toml(path, _LARGEST_FILE_BYTES), "")
        station.sink_settings()
    except OSError as error:
        raise EdgeLeatherError(f"{path}: cannot read it: {error.strerror}.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise EdgeLeatherError(f"{path}: {error}. Mend it, then run: edgeleather station check {path}") from error
    return station
