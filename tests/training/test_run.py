"""Runs that an older version left are read."""

from __future__ import annotations

import json

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.training.run import from_schema_3, read_run
from tests.conftest import REPOSITORY

OLDEST = REPOSITORY / "tests" / "data" / "run-schema-3"

SETTINGS_3 = {
    "method": "draem",
    "preset": "edge",
    "backbone": "none",
    "weights": "none",
    "input_mode": {"kind": "resize", "image_size_hw": [64, 64], "pixel_scale": 1.0, "fit": "exact"},
    "epochs": 1,
    "learning_rate": 0.001,
    "batch_images": 8,
    "patience_epochs": 20,
    "width": 16,
    "textures": "dtd",
    "seed": 0,
}
RUN_3 = {
    "schema": 3,
    "created_at": "2026-01-01T00:00:00+00:00",
    "edgeleather": "0.1.0",
    "settings": SETTINGS_3,
    "dataset": "/photos",
    "splits": {"by": "group", "training": [], "validation": [], "threshold": [], "t2_t3": []},
    "versions": {"torch": "2.6"},
    "losses": [{"epoch": 1, "training": 0.5, "validation": 0.25}],
    "best_epoch": 1,
    "training_seconds": 2.0,
    "left_out_scores": [],
}


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({}, {"width": 16, "textures": "dtd"}),
        ({"textures": None}, {"width": 16, "textures": None}),
        ({"method": "stfpm", "width": None, "textures": None}, {}),
        ({"method": "memory-bank", "width": None, "textures": None}, {"fine_layer": False, "mean_share": 0.0}),
    ],
)
def test_a_run_of_schema_3_is_read(tmp_path, changes, own):
    written = RUN_3 | {"settings": SETTINGS_3 | changes}
    (tmp_path / "run.json").write_text(json.dumps(written))
    (tmp_path / "weights.safetensors").write_bytes(b"")
    run = read_run(tmp_path)
    assert run.schema == 5 and run.settings.article == "" and run.settings.own == own and run.settings.seed == 0
    assert from_schema_3(written)["settings"].keys() == SETTINGS_3.keys() - {"width", "textures"} | {"own"}
    assert run.settings.suspects == "keep" and run.splits.suspects == ()
    assert written["settings"] == SETTINGS_3 | changes  # the function changes nothing that it is given


def test_a_run_of_schema_4_took_all_good_pictures_of_one_leather(tmp_path):
    written = from_schema_3(
        RUN_3 | {"settings": SETTINGS_3 | {"method": "memory-bank", "width": None, "textures": None}}
    )
    assert written["schema"] == 4
    (tmp_path / "run.json").write_text(json.dumps(written))
    (tmp_path / "weights.safetensors").write_bytes(b"")
    run = read_run(tmp_path)
    assert run.settings.own == {"fine_layer": False, "mean_share": 0.0} and run.settings.suspects == "keep"


def test_a_newer_run_and_values_of_other_types_are_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    for written in (RUN_3 | {"schema": 99}, from_schema_3(RUN_3) | {"settings": {**SETTINGS_3, "own": {"width": [1]}}}):
        (tmp_path / "run.json").write_text(json.dumps(written))
        with pytest.raises(EdgeLeatherError):
            read_run(tmp_path)


def test_a_run_that_was_written_in_schema_3_is_read():
    assert json.loads((OLDEST / "run.json").read_text())["schema"] == 3
    run = read_run(OLDEST)
    assert (run.settings.method, run.settings.input_mode.image_size_hw) == ("draem", (32, 32))
    assert run.settings.own == {"width": 1, "textures": None}
    assert len(run.losses) == 2 and len(run.splits.training) == len(run.splits.threshold) == 4


@pytest.mark.train
def test_its_weights_make_the_method_that_was_trained():
    from edgeleather.training.training import load_trained

    assert load_trained(read_run(OLDEST), OLDEST).image_size_hw == (32, 32)
