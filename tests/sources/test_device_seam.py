"""The promise about devices: a new kind is one file and one line in the table, and is supervised like any other."""

from __future__ import annotations

import contextlib
import json
import threading

import numpy as np
import pytest
from click.testing import CliRunner

from edgeleather.cli.main import main
from edgeleather.events.store import Filter, Store
from edgeleather.sources.address import parse_address
from edgeleather.sources.devices.table import DEVICES
from edgeleather.station.station import Station
from tests.events.receivers import wait_until

TOY = '''
import threading
import time

import cv2
import numpy as np

from edgeleather.sources.devices.device import NotThereError

FRAMES = 6


class ToyDevice:
    """Gives a picture again and again. First it is lost, then it is away, then silent, then it stays."""

    opened = 0
    released = threading.Event()

    def __init__(self, address, stall_seconds):
        self._address = address

    def open(self):
        ToyDevice.opened += 1
        self._turn, self._left = ToyDevice.opened, FRAMES
        if self._turn == 2:
            raise NotThereError(self._address.name, "Wind it up.")
        self._picture = cv2.imread(self._address.rest.partition("@")[2])
        self._shift = 0
        return None

    def read(self):
        time.sleep(0.02)
        if self._turn < 4:
            if not self._left:
                return self._end()
            self._left -= 1
        self._shift += 1
        return np.roll(self._picture, self._shift, 0)

    def _end(self):
        if self._turn == 3:
            self.released.wait(30)
        return None

    def release(self):
        if self._turn == 4:
            self.released.set()
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module of the toy: the one file and the one line."""
    (tmp_path / "toy_device.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DEVICES, "toy://", "toy_device:ToyDevice")
    import toy_device

    yield toy_device
    toy_device.ToyDevice.released.set()
    toy_device.ToyDevice.opened = 0


def events(folder, *topics):
    with contextlib.suppress(Exception), contextlib.closing(Store(folder / "store")) as store:
        return [json.loads(one.event.body) for one in store.select(Filter(topics=topics))]
    return []


def test_a_station_with_a_toy_device_lives_through_loss_silence_and_return(
    bundle, good_picture, tmp_path, toy, monkeypatch
):
    monkeypatch.setenv("TOY_KEY", "s3cret-of-the-toy")
    file = tmp_path / "station.toml"
    file.write_text(
        f'schema = 1\nname = "toy"\nbundle = "{bundle.folder}"\n[source]\naddress = "toy://${{TOY_KEY}}@{good_picture}"\n'
        "stall_seconds = 1.0\n"
    )
    station, summaries = Station.read(file), []
    assert station.check()["source"].startswith("toy:///") and toy.ToyDevice.opened == 0
    thread = threading.Thread(target=lambda: summaries.append(station.run()))
    thread.start()
    try:
        wait_until(lambda: len(events(tmp_path, "fault")) == 4, 30, "it is not lost twice and back twice")
        seen = len(events(tmp_path, "good", "defect"))
        wait_until(lambda: len(events(tmp_path, "good", "defect")) > seen + 5, 20, "it does not go on")
    finally:
        station.stop()
        thread.join(20)
    (summary,) = summaries
    assert summary.captured == summary.inferred + summary.dropped and summary.source_error is None
    assert summary.stopped_by_signal and toy.ToyDevice.opened == 4
    faults = [(row["what"], row["state"]) for row in events(tmp_path, "fault")]
    assert faults == [("source", "raised"), ("source", "cleared")] * 2
    details = [row["detail"] for row in events(tmp_path, "fault")]
    assert "no frame came any more after 6 frames" in details[0] and "silent for 1 s" in details[2]
    assert "s3cret" not in str(events(tmp_path))
    sources = {row["source"] for row in events(tmp_path, "good", "defect")}
    assert sources == {f"toy://{good_picture}"}


def test_inspect_takes_a_toy_device_and_gives_it_up(bundle, good_picture, toy):
    toy.ToyDevice.opened = 1  # as if it had been there before: now it does not open
    arguments = ["inspect", str(bundle.folder), "--source", f"toy://x@{good_picture}", "--quiet"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and f"toy://{good_picture} does not open. Wind it up." in result.output
    toy.ToyDevice.opened = 0
    result = CliRunner().invoke(main, [*arguments, "--reconnect-for", "0.1", "--json"])
    assert result.exit_code == 1 and "no frame came any more after 6" in result.stderr
    summary = json.loads(result.stdout)
    assert summary["captured"] == 6 == summary["inferred"] + summary["dropped"]


def test_what_is_no_device_is_said_with_the_toy_among_those_that_are(toy):
    with pytest.raises(ValueError, match="expected rtsp, rtsps, http, https or toy, got 'fax'"):
        parse_address("fax://1")
    assert np.array_equal(parse_address("toy://1").kind, "toy://")
