from __future__ import annotations

from edgeleather.station.reading import read_station
from tests.conftest import REPOSITORY


def test_a_station_file_of_schema_1_with_every_key_is_read():
    station = read_station(REPOSITORY / "tests" / "data" / "station-schema-1.toml")
    assert (station.name, station.article, station.precision) == ("line 3, cutting table", "nappa black", "fp32")
    assert (station.source.stall_seconds, station.input.fit, station.decision.mm_per_px) == (2.5, "crop", 0.25)
    assert (station.alarm.of_frames, station.store.pictures.max_mb) == (5, 500.0)
    assert list(station.sink_settings()) == ["mes", "bus", "lamp", "file"]
