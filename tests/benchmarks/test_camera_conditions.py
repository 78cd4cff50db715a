"""The benchmark of cameras that do not see, on the tiny bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edgeleather.benchmarks.camera_conditions import conditions, main


@pytest.fixture(scope="module")
def report(bundle, dataset_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("camera")
    result = CliRunner().invoke(main, [str(bundle.folder), "--data", str(dataset_folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
def test_a_blind_camera_sees_nothing_good(report):
    rows = {row["condition"]: row for row in json.loads((report / "camera.json").read_text())}
    assert set(rows) == set(conditions())
    assert rows["as it is"]["good_pictures"].get("good", 0) >= 7 and rows["as it is"]["lost"] == 0
    for name in ("black", "white", "grey", "blur of 20 px", "exposure times 0.1", "noise of 10 levels"):
        assert "good" not in rows[name]["good_pictures"], name
        assert rows[name]["lost"] == 0, name


def test_the_page_has_a_row_for_each_condition(report):
    page = (report / "camera.md").read_text()
    assert all(f"| {name}" in page for name in conditions())


@pytest.mark.parametrize("name", conditions())
def test_a_condition_keeps_size_and_type_and_is_the_same_each_time(name, noise_bgr):
    changed = conditions()[name](noise_bgr)
    assert changed.shape == noise_bgr.shape and changed.dtype == np.uint8
    assert np.array_equal(changed, conditions()[name](noise_bgr))
