from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.sinks.command import CommandSettings
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.sources.credentials import Credentials


def opened(tmp_path, command, credentials=None, **settings):
    return CommandSettings("command", tuple(command), **settings).open(
        credentials or Credentials(tmp_path, {}), tmp_path, "line-3"
    )


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def test_the_event_comes_on_standard_input_and_arguments_as_they_stand(tmp_path):
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read() + '|'.join(sys.argv[2:]))"
    hostile = ["$(touch pwned)", "; touch pwned", "`touch pwned`", "${HOME}", "a b"]
    opened(tmp_path, python(code, str(tmp_path / "out"), *hostile)).deliver("e1", '{"id": "e1"}')
    assert (tmp_path / "out").read_text() == '{"id": "e1"}' + "|".join(hostile)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_program_that_fails_says_why(tmp_path):
    with pytest.raises(DeliveryError, match="ended with 3: the lamp is broken"):
        opened(tmp_path, python("import sys; print('the lamp is broken', file=sys.stderr); sys.exit(3)")).deliver(
            "e1", "{}"
        )


def test_a_program_that_takes_too_long_ends_with_all_it_started(tmp_path):
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']);"
        "open(sys.argv[1], 'w').write(str(p.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="took longer than 1 s"):
        opened(tmp_path, python(code, str(tmp_path / "pid")), timeout_seconds=1.0).deliver("e1", "{}")
    assert time.monotonic() - started < 5
    time.sleep(0.2)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_program_gets_no_secret_of_the_station(tmp_path, monkeypatch):
    monkeypatch.setenv("MES_TOKEN", "s3cret")
    monkeypatch.setenv("LAMP", "red")
    credentials = Credentials(tmp_path)
    credentials.fill("${MES_TOKEN}")
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    opened(tmp_path, python(code, str(tmp_path / "env")), credentials).deliver("e1", "{}")
    environment = json.loads((tmp_path / "env").read_text())
    assert "MES_TOKEN" not in environment and environment["LAMP"] == "red"
    assert environment["EDGELEATHER_EVENT_ID"] == "e1"


@pytest.mark.parametrize("command", [["no-such-program-here"], ["./absent"], ["."]])
def test_a_program_that_is_not_there_is_known_at_the_start(tmp_path, command):
    with pytest.raises(EdgeLeatherError, match="expected a program that can be run"):
        opened(tmp_path, command)


def test_a_file_that_is_no_program_is_a_failed_delivery(tmp_path):
    (tmp_path / "notes").write_text("no program")
    (tmp_path / "notes").chmod(0o755)
    with pytest.raises(DeliveryError, match="cannot be started"):
        opened(tmp_path, ["./notes"]).deliver("e1", "{}")


@pytest.mark.parametrize("command", [[], [""], ["a\0b"], ["true", "\0"]])
def test_no_command_is_refused(command):
    with pytest.raises(ValueError, match="expected a list of a program"):
        CommandSettings("command", tuple(command))


def test_what_a_program_leaves_running_is_left_and_counts_as_delivered(tmp_path):
    left = tmp_path / "left"
    opened(tmp_path, ["sh", "-c", f"sleep 60 & echo $! > {left}; exit 0"], timeout_seconds=10.0).deliver("e1", "{}")
    os.kill(int(left.read_text()), signal.SIGKILL)  # had it been waited for, the delivery would have failed


def test_a_program_that_says_much_takes_no_memory(tmp_path):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeliveryError, match="took longer"):
        opened(tmp_path, ["sh", "-c", "exec yes xxxxxxxxxxxxxxxxxxxxxxxx >&2"], timeout_seconds=1.0).deliver("e1", "{}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_program_in_hand_is_ended_when_the_station_ends(tmp_path):
    import threading

    sink = opened(tmp_path, ["sleep", "60"], timeout_seconds=60.0)
    threading.Timer(0.5, sink.close).start()
    started = time.monotonic()
    with pytest.raises(DeliveryError, match="ended with -9"):
        sink.deliver("e1", "{}")
    assert time.monotonic() - started < 5


def test_an_event_that_is_not_read_is_no_failure(tmp_path):
    sink = opened(tmp_path, ["true"])
    assert sink.deliver("e1", "x" * 1_000_000) is None and sink._process is None
