from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edgeleather.benchmarks.soak import main
from edgeleather.imaging.images import read_image


@pytest.mark.alone
@pytest.mark.train
def test_a_short_soak_says_what_was_measured(bundle, dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeleather.benchmarks.soak._PACED_FRAMES", 20)
    monkeypatch.setattr("edgeleather.benchmarks.soak._TURN_FRAMES", 200)
    options = ["--pictures", dataset_folder, "--out", tmp_path / "out", "--work", tmp_path / "work"]
    options += ["--frames", 1000, "--rounds", 3, "--defect-every", 20]
    result = CliRunner().invoke(main, [str(one) for one in (bundle.folder, *options)])
    assert result.exit_code == 0, result.output
    soak = json.loads((tmp_path / "out/soak.json").read_text())
    run = soak["endurance"]
    assert run["rows"] == run["frames"] == 1000 and run["unrecorded"] == 0
    # Of a turn of 20 frames one is a defect; each gives an alarm that is raised and one that is cleared.
    assert run["defects"] == 50 and len(run["resident_mb"]) == 2
    assert len(soak["speed_rounds"]) == len(soak["paced_rounds"]) == 3
    events = [json.loads(line) for line in (tmp_path / "work/endurance/events.jsonl").read_text().splitlines()]
    assert len({event["id"] for event in events}) >= 149 - run["waiting_at_the_end"]["log"]
    report = (tmp_path / "out/soak.md").read_text()
    assert "1000 rows, 0 unrecorded" in report and read_image(tmp_path / "out/soak.png").ndim == 3


def test_what_cannot_be_soaked_is_one_message(bundle, dataset_folder, tmp_path):
    options = ["--pictures", str(dataset_folder), "--out", str(tmp_path / "out"), "--work", str(tmp_path)]
    result = CliRunner().invoke(main, [str(bundle.folder), *options])
    assert result.exit_code == 1 and "expected no folder" in result.output
