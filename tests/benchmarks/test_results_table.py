"""The README's table is what the committed report gives."""

from __future__ import annotations

import json

import pytest

from edgeleather.benchmarks.results_table import marks, write_into
from edgeleather.errors import EdgeLeatherError
from edgeleather.methods.table import METHODS
from tests.conftest import REPOSITORY

REPORTS = sorted((REPOSITORY / "benchmarks" / "results").glob("*/report.json"))
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.parent.name)
def test_the_readme_shows_the_committed_reports(report):
    assert write_into(README, json.loads(report.read_text())) == README


def test_a_page_without_a_place_for_the_table_is_refused():
    with pytest.raises(EdgeLeatherError, match="expected a page with <!-- results mvtec_leather: begin -->"):
        write_into("nothing", {"data": "mvtec_leather", "rows": []})


@pytest.mark.parametrize("data", [path.parent.name for path in REPORTS])
def test_every_method_has_a_row(data):
    begin, end = marks(data)
    table = README.partition(begin)[2].partition(end)[0]
    measured = [name for name in METHODS if f"| `{name}` |" in table]
    assert len(table.strip().splitlines()) == 2 + len(measured)
    # A method that was added after the last run of all is named instead of passed over.
    assert all(f"`{name}` is not in these tables yet" in README for name in METHODS if name not in measured)


def test_presets_of_the_readme_are_those_of_the_methods():
    pytest.importorskip("torch", reason="needs the 'train' extra (torch)")
    from edgeleather.methods.method import method_class

    for name in METHODS:
        cells = []
        for preset in (method_class(name).presets[key] for key in ("edge", "paper")):
            rate = f"{preset.learning_rate:g}" if preset.learning_rate else "-"
            cells.append(f"{preset.epochs}, {rate}, {preset.batch_images}")
        assert f"| `{name}` | {cells[0]} | {cells[1]}" in README, name
