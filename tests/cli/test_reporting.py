from __future__ import annotations

import json

import pytest

from edgeleather.cli.reporting import report_and_exit
from edgeleather.events.stop import Stop
from edgeleather.station.running import Summary


def summary(**counts):
    return Summary(**{"captured": 3, "inferred": 3, "fps": 30.0, **counts})


@pytest.mark.parametrize("counts", [{"defects": 1}, {"unfamiliar": 1}])
def test_fail_on_defect_is_told_of_defects_and_of_unfamiliar_frames(counts):
    with pytest.raises(SystemExit) as exit_of:
        report_and_exit(summary(**counts), [], Stop(), as_json=False, fail_on_defect=True)
    assert exit_of.value.code == 3
    report_and_exit(summary(**counts), [], Stop(), as_json=False)
    report_and_exit(summary(), [], Stop(), as_json=False, fail_on_defect=True)


def test_unfamiliar_frames_are_counted_and_told(capsys):
    found = summary(unfamiliar=2, defects=1)
    assert found.describe() == (
        "3 captured = 3 inferred + 0 dropped + 0 failed; 1 with defects; 2 unfamiliar; 30.0 frames a second"
    )
    assert "unfamiliar" not in summary().describe()
    report_and_exit(found, [], Stop(), as_json=True)
    assert json.loads(capsys.readouterr().out)["unfamiliar"] == 2
