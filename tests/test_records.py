from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import decode, read_record, read_toml, to_json


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


@dataclass(frozen=True)
class Versioned:
    schema: Literal[3]
    name: str
    rate: float | None


UPGRADES = {
    1: lambda old: {"schema": 2, "name": old["title"]},
    2: lambda old: old | {"schema": 3, "rate": None},
}


@pytest.mark.parametrize("written", [{"schema": 1, "title": "x"}, {"schema": 2, "name": "x"}])
def test_a_record_of_an_older_schema_is_read_through_every_upgrade(tmp_path, written):
    (tmp_path / "r.json").write_text(json.dumps(written))
    assert read_record(Versioned, tmp_path / "r.json", "mend it", UPGRADES) == Versioned(3, "x", None)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"schema": 1, "name": "x"}, "expected a record of schema 1, got one that differs from it"),
        ({"schema": 0, "name": "x"}, "schema: expected one of 3, got 0"),
        ({"schema": True, "name": "x"}, "schema: expected one of 3, got True"),
        (
            {"schema": 4, "name": "x"},
            "expected a record of schema 3 or older, got schema 4: a newer edgeleather wrote it",
        ),
        ({"name": "x"}, "key 'schema' is missing"),
        ([1], "expected an object"),
    ],
)
def test_a_record_of_no_known_schema_is_named(tmp_path, written, message):
    (tmp_path / "r.json").write_text(json.dumps(written))
    with pytest.raises(EdgeLeatherError, match=message):
        read_record(Versioned, tmp_path / "r.json", "mend it", UPGRADES)


@pytest.mark.skipif(os.name != "posix", reason="pipes are as on POSIX")
def test_a_record_that_is_a_pipe_or_huge_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "huge.json").touch()
    os.truncate(tmp_path / "huge.json", 3 << 30)
    for name, message in {"pipe": "not a plain file", "huge": "at most 16 MB"}.items():
        with pytest.raises(EdgeLeatherError, match=message):
            read_record(Outer, tmp_path / f"{name}.json", "mend it")


def test_toml_is_read_with_its_dates_as_text(tmp_path):
    (tmp_path / "x.toml").write_text("a.b = [1, 2.5]\nc = 2026-01-01\n")
    assert read_toml(tmp_path / "x.toml", 1000) == {"a": {"b": [1, 2.5]}, "c": "2026-01-01"}


@pytest.mark.parametrize(
    "text", ["a" + ".a" * 50_000 + " = 1", "[" + '"a".' * 50_000 + "a]", "a = {" + "b." * 50_000 + "c = 1}"]
)
def test_keys_of_fifty_thousand_parts_are_refused_before_they_are_parsed(tmp_path, text):
    """The parser would need minutes and gigabytes."""
    (tmp_path / "x.toml").write_text(f"a = 1\n{text}\n")
    with pytest.raises(ValueError, match="line 2: expected at most 200 dots, got 50000"):
        read_toml(tmp_path / "x.toml", 1_000_000)


def test_a_larger_toml_file_is_not_read(tmp_path):
    (tmp_path / "x.toml").write_text("a = 1\n" * 1000)
    with pytest.raises(OSError, match=r"at most 0\.005 MB"):
        read_toml(tmp_path / "x.toml", 5000)


def test_a_file_name_that_is_no_utf_8_is_written_and_read_back(tmp_path):
    name = os.fsdecode(b"L\xe4der \xe3\x80\x80")
    (tmp_path / "r.json").write_bytes(to_json(Versioned(3, name, None)))
    assert read_record(Versioned, tmp_path / "r.json", "mend it").name == name
