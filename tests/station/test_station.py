"""Stations as they are run: a process of their own, real cameras and receivers, and what happens to all of them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeleather.cli.main import main
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.store import STORE_FILE, Filter, Store
from edgeleather.imaging.images import read_image
from edgeleather.station.reading import read_station
from edgeleather.station.settings import StationSettings
from tests.events.receivers import Broker, MjpegCamera, WebhookReceiver, wait_until

COMMAND = [sys.executable, "-c", "from edgeleather.cli.main import main; main()"]
VERDICTS = '["good", "defect", "failed"]'


@pytest.fixture(scope="module")
def pictures(dataset_folder):
    """Good leather and some with a hole, for a camera."""
    names = [f"good/00{n}.png" for n in range(6)] + ["hole/000.png", "hole/001.png"]
    return [read_image(dataset_folder / "test" / name) for name in names]


def write_station(folder, bundle, source, *more, precision=None):
    text = f'schema = 1\nname = "line-3"\narticle = "calf"\nbundle = "{bundle.folder}"\n'
    text += f'precision = "{precision}"\n' if precision else ""
    path = folder / "station.toml"
    path.write_text(text + f"[source]\n{source}\n" + "\n".join(more) + "\n")
    return path


@contextlib.contextmanager
def started(file, **environment):
    """A running station; killed at the end, if it still is."""
    process = subprocess.Popen(
        [*COMMAND, "station", "run", str(file), "--quiet", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def end(process):
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=20)


def rows(folder, *topics):
    with contextlib.suppress(EdgeLeatherError), contextlib.closing(Store(folder / "store")) as store:
        return [json.loads(one.event.body) for one in store.select(Filter(topics=topics))]
    return []  # not there yet


def waiting(folder):
    with contextlib.closing(Store(folder / "store")) as store:
        return {state.name: state.waiting for state in store.sinks()}


@pytest.mark.mosquitto
def test_receivers_that_were_away_end_with_every_event_once_by_id(bundle, pictures, tmp_path):
    """mosquitto and a webhook receiver are stopped for a while and restarted during a run."""
    camera, webhook = MjpegCamera(pictures, fps=20), WebhookReceiver()
    broker = Broker(tmp_path / "broker", "leather/#", "s3/cret-word")
    sinks = [
        f'[sinks.mes]\nkind = "webhook"\naddress = "{webhook.address}"\nreceives = {VERDICTS}',
        f'[sinks.bus]\nkind = "mqtt"\naddress = "mqtt://station:${{BUS_PASSWORD}}@127.0.0.1:{broker.port}"\n'
        f'topic = "leather/line-3"\nreceives = {VERDICTS}\ntimeout_seconds = 2',
        '[sinks.log]\nkind = "jsonl"\npath = "events.jsonl"\nreceives = ["good", "defect", "failed", "alarm", "fault"]',
    ]
    sinks[1] = sinks[1].replace("station:", "${BUS_USER}:")
    file = write_station(tmp_path, bundle, f'address = "{camera.address}"', *sinks)
    secrets = {"BUS_USER": "station", "BUS_PASSWORD": "s3/cret-word"}
    with camera.running(), contextlib.closing(broker), contextlib.ExitStack() as receiving:
        broker.start()
        broker.subscribe()
        receiving.enter_context(webhook.running())
        with started(file, **secrets) as process:
            wait_until(lambda: len(webhook.events) > 10 and len(broker.received) > 10, 20, "nothing arrives")
            receiving.close()
            broker.stop()
            before = len(rows(tmp_path))
            time.sleep(3)
            assert len(rows(tmp_path)) > before + 20, "the loop goes on"
            broker.start()
            receiving.enter_context(webhook.running())
            wait_until(lambda: max(waiting(tmp_path).values()) < 10, 20, "what waited does not arrive")
            out, err = end(process)
        if any(waiting(tmp_path).values()):  # what the end cut off goes out at the next start
            camera.is_silent = True
            with started(file, **secrets) as again:
                wait_until(lambda: not any(waiting(tmp_path).values()), 20, "the next start does not deliver it")
                end(again)
        known = [row["id"] for row in rows(tmp_path, "good", "defect", "failed")]
        wait_until(lambda: {event["id"] for event in broker.received} >= set(known), 10, "the broker still holds some")
    assert process.returncode == 0, err
    assert list(dict.fromkeys(webhook.ids())) == known, "every event, in order"
    assert list(dict.fromkeys(event["id"] for event in broker.received)) == known
    logged = [json.loads(line)["id"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(logged)) == [row["id"] for row in rows(tmp_path)]
    assert "sink mes: http" in err and "sink mes: delivers again" in err and "sink bus: delivers again" in err
    summary = json.loads(out)
    assert summary["captured"] == summary["inferred"] + summary["dropped"] + summary["failed"] and summary["defects"]
    kept = out + err + (tmp_path / "events.jsonl").read_text() + str(rows(tmp_path))
    kept += (tmp_path / "store" / STORE_FILE).read_bytes().decode(errors="replace")
    assert "s3/cret" not in kept and "s3%2Fcret" not in kept


@pytest.mark.slow
def test_a_station_that_is_killed_twenty_times_loses_nothing_that_was_committed(bundle, pictures, tmp_path):
    """SIGKILL in mid-run; what the JSON-lines sink was told of had been committed before."""
    camera = MjpegCamera(pictures, fps=60)
    log = tmp_path / "events.jsonl"
    sink = f'[sinks.log]\nkind = "jsonl"\npath = "events.jsonl"\nreceives = {VERDICTS}'
    file = write_station(tmp_path, bundle, f'address = "{camera.address}"', sink)
    seen = set()
    chance = random.Random(0)
    with camera.running():
        for turn in range(20):
            with started(file):
                before = len(seen)
                wait_until(lambda before=before: len(rows(tmp_path)) > before, 20, "it records nothing")
                limit = time.monotonic() + chance.uniform(0.0, 0.6)
                while time.monotonic() < limit:
                    seen |= {row["id"] for row in rows(tmp_path)}
            with contextlib.closing(sqlite3.connect(tmp_path / "store" / STORE_FILE)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), turn
            known = {row["id"] for row in rows(tmp_path)}
            told = {json.loads(line)["id"] for line in log.read_text().splitlines() if line.endswith("}")}
            assert seen <= known and told <= known, turn
            seen = known
        with started(file) as process:
            wait_until(lambda: len(rows(tmp_path)) > len(seen), 20, "it records nothing")
            end(process)
    ids = [row["id"] for row in rows(tmp_path, "good", "defect", "failed")]
    told = [json.loads(line)["id"] for line in log.read_text().splitlines() if line.endswith("}")]
    assert len(set(ids)) == len(ids) and list(dict.fromkeys(told)) == ids[: len(set(told))], "in order, none left out"
    assert len(ids) - len(set(told)) <= waiting(tmp_path)["log"]


def test_a_camera_that_dies_is_a_fault_until_it_is_back(bundle, pictures, tmp_path):
    camera = MjpegCamera(pictures[:2], fps=20)
    file = write_station(tmp_path, bundle, f'address = "{camera.address}"\nstall_seconds = 1.0')
    with contextlib.ExitStack() as living:
        living.enter_context(camera.running())
        with started(file) as process:
            wait_until(lambda: len(rows(tmp_path)) > 5, 20, "nothing is seen")
            living.close()
            wait_until(lambda: len(rows(tmp_path, "fault")) == 1, 10, "no fault")
            living.enter_context(camera.running())
            wait_until(lambda: len(rows(tmp_path, "fault")) == 2, 10, "no end of the fault")
            out, err = end(process)
    assert [(row["what"], row["state"]) for row in rows(tmp_path, "fault")] == [
        ("source", "raised"),
        ("source", "cleared"),
    ]
    assert process.returncode == 0 and json.loads(out)["stopped_by_signal"], err


def test_a_station_of_files_ends_with_its_files(bundle, dataset_folder, tmp_path):
    source = f"address = '{dataset_folder}/test/hole/*.png'"
    rules = "[alarm]\nraise_frames = 2\nof_frames = 3\n[store]\nfolder = 'records'\nkeep_days = 3\n"
    rules += "[store.pictures]\nfree_floor_mb = 0"
    # Which INT8 graph is taken depends on the processor, and with it how many of the tiny pictures' holes are found.
    file = write_station(tmp_path, bundle, source, rules, precision="fp32")
    result = CliRunner().invoke(main, ["station", "run", str(file), "--json"])
    assert result.exit_code == 0, result.output
    with contextlib.closing(Store(tmp_path / "records")) as store:
        kinds = [one.event.topic for one in store.select(Filter())]
    defects = json.loads(result.stdout)["defects"]
    assert kinds.count("defect") == defects >= 2 and kinds.count("alarm") == 1
    assert len(list((tmp_path / "records/pictures").iterdir())) == defects
    again = CliRunner().invoke(main, ["events", "list", str(tmp_path / "records"), "--verdict", "alarm", "--json"])
    (alarm,) = json.loads(again.output)["events"]
    assert alarm["state"] == "raised" and alarm["article"] == "calf"


def test_decisions_of_the_station_file_are_taken(bundle, hole_picture, tmp_path):
    def verdict(*rules):
        file = write_station(tmp_path, bundle, f"address = '{hole_picture}'", *rules)
        assert CliRunner().invoke(main, ["station", "run", str(file), "--quiet"]).exit_code == 0
        return rows(tmp_path, "good", "defect")[-1]

    plain = verdict()
    assert plain["verdict"] == "defect" and plain["regions"][0]["area_mm2"] is None
    scaled = verdict("[decision]\nmm_per_px = 0.5")
    assert scaled["regions"][0]["area_mm2"] == plain["regions"][0]["area_px"] / 4
    small = verdict(f"[decision]\nmin_area_px = {plain['regions'][0]['area_px'] + 1}")
    assert small["verdict"] == "good" and small["regions"] == [] and small["small_regions"] == len(plain["regions"])
    x, y, width, height = plain["regions"][0]["box_xywh"]
    box = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    inside = verdict(f"[decision]\nregion_of_interest_xy = {box}")
    assert inside["verdict"] == "defect" and inside["score"] == plain["score"]
    corner = [[0, 0], [4, 0], [0, 4]] if x > 8 or y > 8 else [[63, 63], [59, 63], [63, 59]]
    outside = verdict(f"[decision]\nregion_of_interest_xy = {corner}")
    assert outside["verdict"] == "good" and outside["score"] < plain["score"]


def test_a_region_of_interest_outside_of_the_frame_is_a_failed_frame(bundle, hole_picture, tmp_path):
    roi = "[decision]\nregion_of_interest_xy = [[200, 200], [300, 200], [300, 300]]"
    file = write_station(tmp_path, bundle, f"address = '{hole_picture}'", roi)
    result = CliRunner().invoke(main, ["station", "run", str(file), "--quiet"])
    assert result.exit_code == 1 and "region_of_interest_xy lies outside" in result.output
    assert rows(tmp_path, "failed")[0]["verdict"] == "failed"


def test_check_says_what_the_station_is(bundle, good_picture, tmp_path, monkeypatch):
    monkeypatch.setenv("MES_TOKEN", "t0ken-of-the-mes")
    sink = '[sinks.mes]\nkind = "webhook"\naddress = "https://mes/${MES_TOKEN}"\n'
    sink += '[sinks.lamp]\nkind = "command"\ncommand = ["true"]'
    file = write_station(tmp_path, bundle, f"address = '{good_picture}'", sink)
    result = CliRunner().invoke(main, ["station", "check", str(file)])
    assert result.exit_code == 0 and "in order" in result.output and "t0ken" not in result.output, result.output
    as_json = json.loads(CliRunner().invoke(main, ["station", "check", str(file), "--json"]).output)
    assert as_json["sinks"] == {"mes": "webhook: alarm, fault", "lamp": "command: alarm, fault"}
    assert not (tmp_path / "store").exists(), "a check leaves nothing behind"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema: expected one of 1, got 2"),
        ("schema = 1\n", "", "key 'schema' is missing"),
        ("name =", "nmae =", "unknown key 'nmae'"),
        ("[source]", "[sauce]", "unknown key 'sauce'"),
        ("[source]", "threads = 0\n[source]", "threads: expected 1 to 256"),
        ("[source]", "threads = '2'\n[source]", "threads: expected int"),
        ("[source]", "false_alarm_rate = nan\n[source]", "expected a finite number"),
        ("[source]", "backend = 'gpu'\n[source]", "backend: expected one of onnxruntime"),
        ("[source]", "started = 2026-11-26\n[source]", "unknown key 'started'"),
        ('article = "calf"', "article = ' '", "article: expected a line of text"),
        ("[source]", "[alarm]\nraise_frames = 3\n[source]", "alarm: expected 1 <= raise_frames <= of_frames"),
        ("[source]", "[decision]\nmin_area_mm2 = 3.0\n[source]", "decision: min_area_mm2 needs mm_per_px"),
        ("[source]", "[decision]\nregion_of_interest_xy = [[0, 0], [1, 1]]\n[source]", "at least three points"),
        ("[source]", "hung_seconds = 0.5\n[source]", "hung_seconds: expected at least 1, got 0.5"),
        ("[source]", "[input]\nmax_megapixels = 0\n[source]", "input: max_megapixels: expected more than 0 and at most 1000"),
        ("[source]", "[store]\nkeep_days = -1\n[source]", "store: keep_days: expected more than 0"),
        ("[source]", "[store.pictures]\nmax_mb = 0\n[source]", "store.pictures: max_mb: expected more than 0"),
        ("[source]", "[sinks.a]\nkind = 'fax'\n[source]", "sinks.a.kind: expected one of command, jsonl, mqtt, webhook"),
        ("[source]", "[sinks]\na = 3\n[source]", "sinks.a: expected a table"),
        ("[source]", "[sinks.a]\nkind = 'jsonl'\npath = 'x'\nreceives = []\n[source]", "expected at least one topic"),
        ("[source]", "[sinks.a]\nkind = 'jsonl'\npath = 'x'\nreceives = ['all']\n[source]", "expected one of 'good'"),
        ("[source]", "[sinks.a]\nkind = 'webhook'\naddress = 'file:///etc/passwd'\n[source]", "expected http"),
        ("[source]", "[sinks.a]\nkind = 'webhook'\naddress = 'http://u:p@h/'\n[source]", "got them written out"),
        ("[source]", "[sinks.a]\nkind = 'command'\ncommand = 'rm -rf /'\n[source]", "command: expected a list"),
        ("address = 'x.png'", "address = 'rtsp://me:secret@host/1'", "source: address: expected user and password as"),
        ("address = 'x.png'", "address = ''", "source: address: expected what inspect --source takes"),
        ("address = 'x.png'", "address = 'x.png'\nwatch = 'old'", "source.watch: expected one of 'new', 'all'"),
        ("address = 'x.png'", "address = 'x.png'\nstall_seconds = 0", "stall_seconds: expected at least 0.1"),
        ("name =", "= 3\nname =", "Invalid statement"),
        ("address = 'x.png'", "address = 'rtmp://${U}:${P}@host/1'", "expected rtsp, rtsps, http or https, got 'rtmp'"),
        ("address = 'x.png'", "address = 'rtsp://${U}:${P}@host/1'\nwatch = 'new'", "watch: expected a folder"),
        ("address = 'x.png'", "address = '${PICTURES}/x.png'", "expected ${...} in the address of a stream alone"),
        ("[source]", "[decision]\nmm_per_px = 1e300\n[source]", "mm_per_px: expected 0.0001 to 10000"),
        ("[source]", "[sinks.a]\nkind = 'webhook'\naddress = 'http://mes..example/'\n[source]", "expected http://HOST"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_station_file_is_one_message(bundle, tmp_path, old, new, message):
    file = write_station(tmp_path, bundle, "address = 'x.png'")
    file.write_text(file.read_text().replace(old, new, 1))
    result = CliRunner().invoke(main, ["station", "check", str(file)])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output, result.output
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[sinks.a]\nkind = 'webhook'\naddress = 'https://h/${ABSENT_TOKEN}'", "ABSENT_TOKEN is not set"),
        ("[sinks.a]\nkind = 'webhook'\naddress = 'https://h/${file:token}'", "expected a file with a secret"),
        ("[sinks.a]\nkind = 'command'\ncommand = ['no-such-program']", "expected a program that can be run"),
        ("[sinks.a]\nkind = 'command'\ncommand = ['; reboot']", "expected a program that can be run"),
        ("[sinks.a]\nkind = 'jsonl'\npath = 'no/such/folder.jsonl'", "expected a folder"),
        ("[decision]\nregion_of_interest_xy = [[0, 0], [9, 0], [99999, 9]]", "at most 32000 pixels"),
        ("[sinks.a]\nkind = 'webhook'\naddress = 'https://h/'\nheaders = {X = '5 €'}", "expected ASCII characters"),
    ],
)
def test_what_is_missing_around_a_station_is_one_message(bundle, good_picture, tmp_path, more, message):
    file = write_station(tmp_path, bundle, f"address = '{good_picture}'", more)
    for command in ("check", "run"):
        result = CliRunner().invoke(main, ["station", command, str(file)])
        assert result.exit_code == 1 and message in result.output, result.output


def test_what_is_no_station_file(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00" * 100)
    (tmp_path / "large.toml").write_bytes(b"#" * 2_000_000)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 3000 + "]" * 3000)
    for name, message in (
        ("absent.toml", "found none"), (".", "found a folder"), ("binary.toml", "station check"),
        ("large.toml", "at most 1 MB"), ("deep.toml", "station check"),
    ):  # fmt: skip
        result = CliRunner().invoke(main, ["station", "check", str(tmp_path / name)])
        assert result.exit_code == 1 and message in result.output and result.exception.__class__ is SystemExit, (
            result.output
        )


WORDS = st.sampled_from(
    "schema name bundle source address sinks alarm store a kind webhook command jsonl mqtt".split()  # noqa: SIM905
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=20), st.sampled_from(["webhook", "../../etc", "${X}"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip


def as_toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True) if value.isprintable() else '"x"'
    return str(value).lower() if isinstance(value, bool | float) else str(value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORDS, VALUES, max_size=8), st.booleans())
def test_any_station_file_is_read_or_refused(tmp_path, data, is_complete):
    base = {"schema": 1, "name": "x", "bundle": "b", "source": {"address": "x.png"}} if is_complete else {}
    path = tmp_path / "station.toml"
    path.write_text("\n".join(f"{key} = {as_toml(value)}" for key, value in (data | base).items()))
    with contextlib.suppress(EdgeLeatherError):
        assert isinstance(read_station(path), StationSettings)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "station.toml"
    path.write_bytes(content)
    with pytest.raises(EdgeLeatherError):
        read_station(path)


def test_pictures_that_came_while_the_station_was_down_are_inspected_once(bundle, good_picture, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/old.png").write_bytes(good_picture.read_bytes())
    file = write_station(tmp_path, bundle, 'address = "in"\nwatch = "new"')

    def seen():
        return [row["source"].rpartition("/")[2] for row in rows(tmp_path, "good", "defect", "failed")]

    with started(file) as process:
        wait_until(lambda: (tmp_path / "store" / STORE_FILE).exists(), 20, "it does not start")
        time.sleep(0.5)
        (tmp_path / "in/first.png").write_bytes(good_picture.read_bytes())
        wait_until(lambda: seen() == ["first.png"], 10, seen())
        process.kill()
        process.communicate()
    for name in ("between.png", "another.png"):
        (tmp_path / "in" / name).write_bytes(good_picture.read_bytes())
        time.sleep(0.02)
    (tmp_path / "in/loop.png").symlink_to("loop.png")
    for _ in range(2):
        with started(file) as process:
            wait_until(lambda: "another.png" in seen(), 20, "what came meanwhile is not inspected")
            time.sleep(0.7)
            end(process)
    assert seen() == ["first.png", "between.png", "another.png"]


def test_a_screen_that_is_held_up_stops_no_station_that_watches(bundle, good_picture, tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(300):
        (tmp_path / f"in/{n:03d}.png").write_bytes(good_picture.read_bytes())
    file = write_station(tmp_path, bundle, 'address = "in"\nwatch = "all"')
    os.mkfifo(tmp_path / "screen")
    held = os.open(tmp_path / "screen", os.O_RDWR)  # somebody holds it, and does not read
    with open(tmp_path / "screen", "wb", buffering=0) as screen:
        os.set_blocking(held, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(held, b"x" * 4096)
        process = subprocess.Popen(
            [*COMMAND, "station", "run", str(file)], stdout=screen, stderr=subprocess.DEVNULL, env=os.environ
        )
        try:
            wait_until(lambda: len(rows(tmp_path, "good", "defect")) == 300, 30, "it stands still")
        finally:
            process.kill()
            process.wait()
            os.close(held)
    assert len(rows(tmp_path, "good", "defect")) == 300


def test_relative_paths_start_at_the_station_file(bundle, good_picture, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/leather.png").write_bytes(good_picture.read_bytes())
    (tmp_path / "here/bundle").symlink_to(bundle.folder)
    file = write_station(tmp_path / "here", bundle, 'address = "leather.png"')
    file.write_text(file.read_text().replace(str(bundle.folder), "bundle"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["station", "run", "here/station.toml", "--quiet"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "here/store" / STORE_FILE).is_file() and not Path("store").exists()
