"""Logging as a process sets it up: what is written, what is dropped, and that everything is put back."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import resource
import subprocess
import sys
import time

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.logs import LogSettings, RotatingFile, logging_to

LOGGER = logging.getLogger("edgeleather.tests")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


def test_a_line_has_the_local_time_with_its_offset_and_a_bug_its_traceback(capsys):
    with logging_to(LogSettings()):
        LOGGER.info("lost: %s", "camera 0")
        LOGGER.debug("not seen")
        try:
            raise ZeroDivisionError("a bug")
        except ZeroDivisionError:
            LOGGER.exception("it failed")
    first, second, *more = capsys.readouterr().err.splitlines()
    assert re.fullmatch(TIME + r" INFO edgeleather\.tests: lost: camera 0", first), first
    assert second.endswith("ERROR edgeleather.tests: it failed")
    assert more[0] == "  Traceback (most recent call last):" and more[-1] == "  ZeroDivisionError: a bug"


def test_json_lines_and_a_file(capsys, tmp_path):
    with logging_to(LogSettings("debug", "json", tmp_path / "log")):
        LOGGER.debug("line\nbreak and é")
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert capsys.readouterr().err == line + "\n"
    record = json.loads(line)
    assert record["message"] == "line\nbreak and é" and record["level"] == "debug"
    assert record["logger"] == "edgeleather.tests" and re.fullmatch(TIME, record["at"])


def test_a_line_break_in_a_message_does_not_make_a_record(capsys):
    with logging_to(LogSettings()):
        LOGGER.warning("a\n2026-11-27T19:02:03.123+01:00 INFO edgeleather: forged")
    assert capsys.readouterr().err.splitlines()[1].startswith("  2026")


def test_everything_is_put_back(tmp_path):
    logger = logging.getLogger("edgeleather")
    before = (list(logger.handlers), logger.level, logging.getLogger().handlers[:])
    with logging_to(LogSettings("error", file=tmp_path / "log")):
        assert logger.level == logging.ERROR and len(logger.handlers) == len(before[0]) + 1
    assert (list(logger.handlers), logger.level, logging.getLogger().handlers[:]) == before


def test_the_file_rotates_by_size_and_keeps_so_many(tmp_path):
    file = RotatingFile(tmp_path / "log", largest_bytes=100, kept=2)
    for number in range(20):
        file.write_line(f"{number:02d}" + "x" * 28)
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"] and all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    lines = [line[:2] for name in ("log.2", "log.1", "log") for line in (tmp_path / name).read_text().splitlines()]
    assert lines == [f"{number:02d}" for number in range(20 - len(lines), 20)], "the latest, in order"


def test_a_file_that_cannot_be_renamed_touches_no_other_file_and_is_tried_again(tmp_path):
    file = RotatingFile(tmp_path / "log", largest_bytes=100, kept=1)
    (tmp_path / "log.1").mkdir()
    for _ in range(4):
        file.write_line("x" * 30)
    with (tmp_path / "other").open("w") as other:  # it gets the number that the log had
        for _ in range(4):
            file.write_line("y" * 30)
        os.fstat(other.fileno())  # nobody closed it
        assert (tmp_path / "other").read_text() == ""
        assert (tmp_path / "log").stat().st_size == 93
        (tmp_path / "log.1").rmdir()
        file.write_line("z" * 30)
    file.close()
    assert (tmp_path / "log").read_text() == "z" * 30 + "\n" and (tmp_path / "log.1").stat().st_size == 93


def test_a_file_that_cannot_be_opened_again_leaves_the_older_ones(tmp_path):
    file = RotatingFile(tmp_path / "log", largest_bytes=100, kept=3)
    for _ in range(3):
        file.write_line("x" * 30)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        for _ in range(5):
            file.write_line("y" * 30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    file.write_line("z" * 30)
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
    assert (tmp_path / "log").read_text() == "z" * 30 + "\n"


def test_a_file_is_gone_on_with(tmp_path):
    for word in ("first", "second"):
        with logging_to(LogSettings(file=tmp_path / "log")):
            LOGGER.info(word)
    assert [line.split()[-1] for line in (tmp_path / "log").read_text().splitlines()] == ["first", "second"]


def test_a_file_that_cannot_be_written_is_one_message(tmp_path):
    with pytest.raises(EdgeLeatherError, match="cannot write"), logging_to(LogSettings(file=tmp_path / "absent/log")):
        pass


@pytest.mark.tmpfs
def test_a_full_disk_loses_lines_and_nothing_else(small_disk, capsys):
    with logging_to(LogSettings(file=small_disk / "log")):
        for number in range(900):
            LOGGER.info("%s %s", number, "x" * 200)
            if number % 50 == 0:
                time.sleep(0.02)
    assert "899 xxx" in capsys.readouterr().err and (small_disk / "log").stat().st_size <= 65_536


def test_who_logs_never_waits_for_the_terminal_and_lost_lines_are_counted(monkeypatch):
    """A screen that is held up: nothing is read until all is logged."""

    class Held(io.StringIO):
        def __init__(self):
            super().__init__()
            self.is_held = True

        def write(self, text):
            while self.is_held:
                time.sleep(0.01)
            return super().write(text)

    held = Held()
    monkeypatch.setattr(sys, "stderr", held)
    with logging_to(LogSettings()):
        started = time.monotonic()
        for number in range(3000):
            LOGGER.info("%s", number)
        assert time.monotonic() - started < 5
        held.is_held = False
    lines = held.getvalue().splitlines()
    assert "lines of this log were dropped" in held.getvalue()
    written = [line for line in lines if line.rpartition(" ")[2].isdecimal()]
    dropped = sum(int(found) for found in re.findall(r"(\d+) lines of this log", held.getvalue()))
    assert len(written) + dropped == 3000


def test_a_process_ends_though_nobody_reads_its_log():
    code = "import logging\nfrom edgeleather.logs import *\n"
    code += "with logging_to(LogSettings()):\n"
    code += "    for n in range(900): logging.getLogger('edgeleather').info('x' * 1000)\n"
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=write, stdout=subprocess.DEVNULL)
    os.close(write)
    try:
        process.wait(30)
    finally:
        process.kill()
        os.close(read)


def test_the_library_alone_says_nothing(tmp_path):
    code = "import logging, edgeleather\nlogging.getLogger('edgeleather.events.outbox').error('a line')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout + result.stderr == ""
