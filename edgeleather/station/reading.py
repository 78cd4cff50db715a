"""Reading a station file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import decode
from edgeleather.station.settings import StationSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise EdgeLeatherError(f"{path}: expected a station file of at most 1 MB, got a larger file.")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        station: StationSettings = decode(StationSettings, _plain(data), "")
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
