"""The README's table is what the committed report gives."""

from __future__ import annotations

import json

from edgeleather.benchmarks.results_table import BEGIN, END, results_table, write_into
from edgeleather.methods.table import METHODS
from tests.conftest import REPOSITORY

REPORT = REPOSITORY / "benchmarks" / "results" / "mvtec_leather" / "report.json"
README = (REPOSITORY / "README.md").read_text()


def test_the_readme_shows_the_committed_report():
    assert write_into(README, results_table(json.loads(REPORT.read_text()))) == README


def test_every_method_has_a_row():
    table = README.partition(BEGIN)[2].partition(END)[0]
    assert [name for name in METHODS if f"| `{name}` |" in table] == list(METHODS)
    assert len(table.strip().splitlines()) == 2 + len(METHODS)


def test_presets_of_the_readme_are_those_of_the_methods():
    import pytest

    pytest.importorskip("torch", reason="needs the 'train' extra (torch)")
    from edgeleather.methods.method import method_class

    for name in METHODS:
        cells = []
        for preset in (method_class(name).presets[key] for key in ("edge", "paper")):
            rate = f"{preset.learning_rate:g}" if preset.learning_rate else "-"
            cells.append(f"{preset.epochs}, {rate}, {preset.batch_images}")
        assert f"| `{name}` | {cells[0]} | {cells[1]}" in README, name
