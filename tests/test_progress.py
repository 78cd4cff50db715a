"""Progress in real processes: on a pipe in plain lines, on a terminal as a bar."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

# The seconds of the rules, made shorter: what is counted is lines, and in which order they come.
BETWEEN = 1.0
SHORTER = f"import time, edgeleather.progress as p\np.LINE_SECONDS, p._SHORT_SECONDS, p._TICK_SECONDS = {BETWEEN}, 0.4, 0.02\n"


def lines_of(code: str) -> list[str]:
    """The lines on standard error; there are no more of them than the time that the work took allows."""
    timed = f"{SHORTER}started = time.monotonic()\n{code}\nprint(time.monotonic() - started)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) <= 1 + float(done.stdout) / BETWEEN, lines
    return lines


def test_short_work_says_nothing():
    assert lines_of("for _ in range(3): list(p.track(range(9), 'counting'))") == []


def test_long_work_says_how_far_it_has_come():
    lines = lines_of("for _ in p.track(range(50), 'counting'): time.sleep(0.05)")
    assert len(lines) >= 2
    assert all(re.fullmatch(r"counting: \d+ of 50, \d+ %, \d+ s", line) for line in lines), lines
    done = [int(line.split()[1]) for line in lines]
    assert done == sorted(done) and done[0] < 25


def test_a_step_that_takes_long_is_told_of_while_it_lasts():
    lines = lines_of("with p.Progress('exporting'): time.sleep(1.6)")
    assert lines and all(re.fullmatch(r"exporting: \d s", line) for line in lines), lines


def test_many_short_works_are_not_silent_together():
    lines = lines_of("for _ in range(20):\n  with p.Progress('a step'): time.sleep(0.1)")
    assert lines and set(lines) == {"a step: 0 s"}


def test_works_within_works_share_a_line():
    code = "for _ in p.track(range(1), 'epochs'):\n  for _ in p.track(iter(range(40)), 'epoch 1', 40): time.sleep(0.02)"
    line = lines_of(code)[0]
    assert re.fullmatch(r"epochs: 0 of 1, 0 %, \d s; epoch 1: \d+ of 40, \d+ %, \d s", line), line


@pytest.mark.parametrize(
    ("work", "told"),
    [
        ("from edgeleather.export.building import build; build(BUNDLE, precision='fp32')", "building"),
        (
            "from edgeleather.engines.checkup import check_up; check_up(Path(BUNDLE))",
            "replaying golden frames on graphs",
        ),
    ],
)
def test_the_library_tells_by_itself_of_its_long_works(work, told, bundle_copy):
    """Without the command line; every work counts as long here."""
    code = f"from pathlib import Path\np._SHORT_SECONDS, p._TICK_SECONDS = 0.0, 0.002\nBUNDLE = {str(bundle_copy)!r}\n{work}"
    assert any(line.startswith(told) for line in lines_of(code))


def test_work_that_is_left_in_its_middle_is_told_of_no_more():
    code = "for n in p.track(range(9), 'looking'):\n  if n == 2: break\n"
    assert lines_of(code + "time.sleep(0.8)") == []


def test_nobody_reading_does_not_end_the_work():
    code = SHORTER + "for _ in p.track(range(20), 'counting'): time.sleep(0.03)\nprint('done')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    process.stderr.close()
    out, _ = process.communicate(timeout=60)
    assert out == "done\n"


def test_a_terminal_gets_a_bar_that_is_gone_afterwards():
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    code = "import time, edgeleather.progress as p\nfor _ in p.track(range(4), 'counting'): time.sleep(0.15)"
    subprocess.run([sys.executable, "-c", code], stderr=slave, check=True, timeout=60)
    shown = os.read(master, 65536).decode()
    os.close(slave)
    os.close(master)
    assert "counting:" in shown and "%|" in shown and "\n" not in shown.strip()
