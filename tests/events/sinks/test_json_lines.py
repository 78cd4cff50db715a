from __future__ import annotations

import json

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.sinks.json_lines import JsonLinesSettings
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.sources.credentials import Credentials


def opened(tmp_path, path):
    return JsonLinesSettings("jsonl", path).open(Credentials(tmp_path, {}), tmp_path, "line-3")


def test_events_are_appended_also_after_the_file_was_moved_away(tmp_path):
    sink = opened(tmp_path, "events.jsonl")
    sink.deliver("e1", '{"id": "e1"}')
    sink.deliver("e2", '{"id": "e2"}')
    (tmp_path / "events.jsonl").rename(tmp_path / "old.jsonl")
    sink.deliver("e3", '{"id": "e3"}')
    assert [json.loads(line)["id"] for line in (tmp_path / "old.jsonl").read_text().splitlines()] == ["e1", "e2"]
    assert (tmp_path / "events.jsonl").read_text() == '{"id": "e3"}\n'


def test_a_place_that_cannot_be(tmp_path):
    for path in ("absent/events.jsonl", "."):
        with pytest.raises(EdgeLeatherError, match="expected a f"):
            opened(tmp_path, path)
    sink = opened(tmp_path, "events.jsonl")
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(DeliveryError, match="cannot write"):
        sink.deliver("e1", "{}")
