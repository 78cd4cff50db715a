"""The promise about sinks: a new kind is one file and one line in the table."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgeleather.cli.main import main
from edgeleather.events.sinks.table import SINKS

TOY = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgeleather.events.sinks.sink import DeliveryError


@dataclass(frozen=True)
class BellSettings:
    DEFAULTS_APPLY: ClassVar[bool] = True
    kind: Literal["bell"]
    rings: str
    receives: tuple[Literal["defect", "alarm"], ...] = ("alarm",)

    def __post_init__(self):
        if not self.rings:
            raise ValueError("rings: expected a file")

    def open(self, credentials, folder, station):
        return Bell(folder / self.rings, credentials.fill("${BELL_KEY}"), station)


class Bell:
    """Rings once in vain, then each time."""

    tries = 0

    def __init__(self, path, key, station):
        self._path, self._key, self._station = path, key, station

    def deliver(self, event_id, body):
        Bell.tries += 1
        if Bell.tries == 1:
            raise DeliveryError(f"the bell with {self._key} is mute.")
        with self._path.open("a") as stream:
            stream.write(f"{self._station} {body}\\n")

    def close(self):
        pass
'''


@pytest.fixture
def bell(tmp_path, monkeypatch):
    """The one file and the one line."""
    (tmp_path / "bell_sink.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SINKS, "bell", "bell_sink:BellSettings")
    monkeypatch.setenv("BELL_KEY", "d1ng-d0ng")


def station_file(folder, bundle, hole_picture, *more):
    file = folder / "station.toml"
    text = f'schema = 1\nname = "line-3"\nbundle = "{bundle.folder}"\n[source]\naddress = "{hole_picture}"\n'
    file.write_text(text + "[sinks.tower]\nkind = 'bell'\n" + "\n".join(more) + "\n")
    return file


def test_a_station_tells_a_toy_sink(bundle, hole_picture, tmp_path, bell):
    file = station_file(tmp_path, bundle, hole_picture, "rings = 'rings.txt'", "receives = ['defect', 'alarm']")
    checked = CliRunner().invoke(main, ["station", "check", str(file), "--json"])
    assert json.loads(checked.stdout)["sinks"] == {"tower": "bell: defect, alarm"}, checked.output
    said = ""
    for _ in range(2):  # what the first run was refused goes out in the second at the latest
        result = CliRunner().invoke(main, ["station", "run", str(file), "--quiet"])
        assert result.exit_code == 0, result.output
        assert "d1ng" not in result.output
        said += result.stderr
    assert "the bell with ${BELL_KEY} is mute. It is tried again" in said
    lines = (tmp_path / "rings.txt").read_text().splitlines()
    bodies = [json.loads(line.removeprefix("line-3 ")) for line in lines]
    assert [body["topic"] for body in bodies[:2]] == ["defect", "alarm"] and len(
        {body["id"] for body in bodies}
    ) == len(bodies)


def test_its_keys_are_held_to_like_any_others(bundle, hole_picture, tmp_path, bell):
    for line, message in (
        ("rings = ''", "sinks.tower: rings: expected a file"),
        ("ring = 1", "unknown key"),
    ):
        file = station_file(tmp_path, bundle, hole_picture, line)
        result = CliRunner().invoke(main, ["station", "check", str(file)])
        assert result.exit_code == 1 and message in result.output, result.output
