"""How the manifest of an older bundle becomes one of today's, schema by schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _from_schema_3(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 4 says how good pictures look, and of which article thresholds are."""
    thresholds = [{"article": "", **one} for one in data["thresholds"]]
    return data | {"schema": 4, "thresholds": thresholds, "looks": {}}


def _from_schema_4(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 5 says where a verdict threshold that somebody chose came from, and counts suspects; before, there were neither."""
    thresholds = [{**one, "choice": None} for one in data["thresholds"]]
    return data | {"schema": 5, "thresholds": thresholds, "suspects": {}}


def _from_schema_5(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 6 says how far below its peak a region reaches; before, T2 or T1 said it for all regions."""
    thresholds = [{**one, "peak_share": None} for one in data["thresholds"]]
    return data | {"schema": 6, "thresholds": thresholds}


# By the number of the older schema: a pure function from its parsed JSON to that of the next one. Keys that the older schema
# lacks get a value that says so (None), and what that means for the user is told where the key is used.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    3: _from_schema_3,
    4: _from_schema_4,
    5: _from_schema_5,
}
