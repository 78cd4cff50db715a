"""What [source] of a station file may say about waiting."""

from __future__ import annotations

import pytest

from edgeleather.station.settings import SourceSettings


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"still_seconds": -1.0}, "still_seconds: expected 0 or more, got -1.0"),
        (
            {"snapshot_seconds": 0.0},
            r"snapshot_seconds: expected 0.01 or more, and less than stall_seconds \(5\), got 0.0",
        ),
        ({"snapshot_seconds": 5.0}, "less than stall_seconds"),
        ({"snapshot_seconds": 1.0, "stall_seconds": 0.5}, r"less than stall_seconds \(0.5\)"),
    ],
)
def test_what_cannot_be(keys, message):
    with pytest.raises(ValueError, match=message):
        SourceSettings("http://camera/snapshot.jpg", **keys)


def test_what_they_come_to():
    plain = SourceSettings("in", watch="new")
    assert plain.patience.stall_seconds is None and plain.patience.device_stall_seconds == 5.0
    given = SourceSettings("http://camera/1", stall_seconds=90.0, still_seconds=0.0, snapshot_seconds=60.0)
    assert (given.patience.device_stall_seconds, given.patience.still_seconds) == (90.0, 0.0)
    assert (
        given.place.snapshot_seconds == 60.0 and SourceSettings("0", stall_seconds=0.5).place.snapshot_seconds is None
    )
