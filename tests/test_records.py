from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import decode, read_record, to_json


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float | None
    inner: Inner
    many: tuple[Inner, ...]
    table: dict[str, int]
    flag: bool


GOOD = Outer("x", 0.5, Inner("a", (1, 2)), (Inner("b", (3, 4)),), {"k": 1}, True)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(to_json(GOOD))
    assert read_record(Outer, path, "mend it") == GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown key 'extra'"),
        ({"name": None}, "name: expected str"),
        ({"rate": "high"}, "rate: expected float"),
        ({"inner": {"kind": "c", "size_hw": [1, 2]}}, "inner.kind: expected one of 'a', 'b'"),
        ({"inner": {"kind": "a", "size_hw": [1]}}, "inner.size_hw: expected a list of 2"),
        ({"inner": {"kind": "a", "size_hw": [1, True]}}, r"inner.size_hw\[1\]: expected int"),
        ({"many": {}}, "many: expected a list"),
        ({"table": {"k": 1.5}}, "table.k: expected int"),
        ({"flag": 1}, "flag: expected bool"),
    ],
)
def test_what_differs_from_the_schema_is_named(change, message):
    data = json.loads(to_json(GOOD)) | change
    with pytest.raises(ValueError, match=message):
        decode(Outer, data, "")


def test_a_missing_key_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="key 'name' is missing"):
        decode(Outer, {key: value for key, value in json.loads(to_json(GOOD)).items() if key != "name"}, "")
    with pytest.raises(EdgeLeatherError, match=r"found none\. mend it"):
        read_record(Outer, tmp_path / "absent.json", "mend it")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values | st.dictionaries(st.sampled_from(["name", "rate", "inner", "many", "table", "flag"]), json_values))
def test_any_json_is_a_record_or_a_value_error(data):
    try:
        assert isinstance(decode(Outer, data, ""), Outer)
    except ValueError as error:
        assert str(error)
