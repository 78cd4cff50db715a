from __future__ import annotations

import contextlib
import csv
import json
import time

import pytest
from click.testing import CliRunner

from edgeleather.cli.main import main
from edgeleather.events.store import Event, Store


def run(*arguments):
    return CliRunner().invoke(main, ["events", *map(str, arguments)])


@pytest.fixture
def store(tmp_path):
    """Ten verdicts of the last ten hours, three of them defects, and an alarm."""
    folder = tmp_path / "store"
    now = time.time()
    with contextlib.closing(Store(folder, create=True)) as opened:
        opened.register("mes", ["alarm"])
        for n in range(10):
            topic = "defect" if n % 4 == 0 else "good"
            body = {"id": f"e{n}", "topic": topic, "frame": n, "score": n / 10, "source": "=cmd()|x.png", "regions": []}
            body |= {"article": "calf" if n > 4 else None, "picture": "gone.jpg" if topic == "defect" else None}
            opened.append([Event(f"e{n}", now - 3600 * (10 - n), topic, body["article"], n, json.dumps(body))])
        alarm = {"id": "a1", "topic": "alarm", "state": "raised", "what": "defects"}
        opened.append([Event("a1", now, "alarm", None, None, json.dumps(alarm))])
    return folder


def listed(store, *options):
    result = run("list", store, "--json", *options)
    assert result.exit_code == 0, result.output
    return [event["id"] for event in json.loads(result.output)["events"]]


def test_list_shows_the_latest_and_what_sinks_wait_for(store):
    result = run("list", store)
    assert result.exit_code == 0 and len(result.output.splitlines()) == 12
    assert "alarm   raised  defects" in result.output and "sink mes: 1 waiting, 0 set aside" in result.output
    assert listed(store, "--limit", 2) == ["e9", "a1"]


def test_filters(store):
    assert listed(store, "--verdict", "defect") == ["e0", "e4", "e8"]
    assert listed(store, "--verdict", "defect", "--verdict", "alarm") == ["e0", "e4", "e8", "a1"]
    assert listed(store, "--verdict", "defect", "--article", "calf") == ["e8"]
    assert listed(store, "--since", "150m") == ["e8", "e9", "a1"]
    assert listed(store, "--since", "1999-01-01", "--until", "2000-01-01T12:00:00+02:00") == []


def test_a_picture_that_retention_took_is_not_named(store):
    (event,) = json.loads(run("list", store, "--verdict", "defect", "--limit", 1, "--json").output)["events"]
    assert event["picture"] is None
    (store / "pictures").mkdir()
    (store / "pictures/gone.jpg").write_bytes(b"x")
    (event,) = json.loads(run("list", store, "--verdict", "defect", "--limit", 1, "--json").output)["events"]
    assert event["picture"] == "gone.jpg"


def test_export_as_csv_is_safe_for_spreadsheets(store, tmp_path):
    result = run("export", store, "--out", tmp_path / "out.csv")
    assert result.exit_code == 0 and "11 events" in result.output
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [f"e{n}" for n in range(10)] + ["a1"]
    assert rows[0]["source"] == "'=cmd()|x.png", "no spreadsheet takes it for a formula"
    assert rows[3]["score"] == "0.3" and rows[10]["state"] == "raised"


def test_export_as_json_lines_has_all_of_each_event(store, tmp_path):
    assert run("export", store, "--out", tmp_path / "out.jsonl", "--verdict", "alarm").exit_code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "seq": 11, "id": "a1", "topic": "alarm", "state": "raised", "what": "defects",
    }  # fmt: skip


def test_retry_puts_back_what_was_set_aside(store):
    with contextlib.closing(Store(store)) as opened:
        (waiting,) = opened.waiting("mes", 5)
        opened.put_aside("mes", waiting.seq, "refused")
    assert "sink mes: 0 waiting, 1 set aside; last error: refused" in run("list", store).output
    assert json.loads(run("retry", store, "--sink", "mes", "--json").output) == {"put_back": 1}
    with contextlib.closing(Store(store)) as opened:
        assert [one.event.id for one in opened.waiting("mes", 5)] == ["a1"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["list", "{absent}"], 1, "expected a store at"),
        (["list", "{store}", "--since", "yesterday"], 2, "expected 2026-11-26"),
        (["list", "{store}", "--since", "99999999999d"], 2, "expected 2026-11-26"),
        (["list", "{store}", "--verdict", "bad"], 2, "'bad' is not one of"),
        (["retry", "{store}", "--sink", "\udcff"], 1, "got \\udcff"),
        (["export", "{store}", "--out", "{absent}/x.csv"], 1, "cannot write"),
        (["export", "{store}", "--out", "x.xlsx"], 2, "to end in .csv or .jsonl"),
        (["retry", "{store}", "--sink", "fax"], 1, "expected a sink of this store (mes), got fax"),
    ],
)
def test_wrong_usage_is_one_message(store, tmp_path, arguments, code, message):
    result = run(*(one.format(store=store, absent=tmp_path / "absent") for one in arguments))
    assert result.exit_code == code and message in " ".join(result.output.split()), result.output


def test_events_can_be_read_while_a_station_writes(store):
    with contextlib.closing(Store(store)) as writer:
        writer._connection.execute("BEGIN IMMEDIATE")
        assert listed(store, "--limit", 1) == ["a1"]
        writer._connection.execute("ROLLBACK")
