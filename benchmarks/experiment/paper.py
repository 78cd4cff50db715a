"""The seed paper's tables as data, and where each of ours stands beside one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The paper's table of each pair (trained on, tested on); "first" is its MVTec, "second" its Neadvance.
TABLE_OF = {
    ("first", "first"): "2",
    ("second", "second"): "3",
    ("second", "first"): "5",
    ("first", "second"): "6",
    ("both", "first"): "7",
    ("both", "second"): "8",
}


def paper_tables() -> dict[str, Any]:
    """Tables 1 to 8 in percent, their source, and where the paper contradicts itself."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "paper_tables.json").read_text())
    return loaded


def paper_value(trained_on: str, tested_on: str, method: str, metric: str) -> float | None:
    """A figure of the paper in percent; None for a method or metric that it does not have."""
    rows = paper_tables()["tables"][TABLE_OF[trained_on, tested_on]]["rows"]
    value: float | None = rows.get(method, {}).get(metric)
    return value
