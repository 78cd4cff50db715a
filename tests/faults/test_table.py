"""The table of promises names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "tests/faults/README.md").read_text().splitlines() if re.match(r"\| [ABC]\d", line)]


@pytest.mark.parametrize("row", ROWS)
def test_each_promise_names_a_test_that_is_there(row):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 4 and all(cells)
    for path, name in re.findall(r"`(tests/[^:`]+)::([^`\[]+)", cells[3]):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
    assert "::" in cells[3]


def test_the_rows_are_in_the_order_of_the_cases():
    cases = [re.match(r"\| ([ABC])(\d+)", row) for row in ROWS]
    found = [(case[1], int(case[2])) for case in cases if case]
    assert found == sorted(found) and found
