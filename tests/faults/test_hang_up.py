"""A station whose terminal is closed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.events.receivers import wait_until
from tests.faults.test_poison_pictures import verdicts, watching
from tests.station.test_station import COMMAND


def test_a_station_whose_terminal_is_closed_ends_with_every_record(bundle, good_picture, tmp_path):
    file = watching(tmp_path, bundle)
    outer, inner = pty.openpty()
    leads_its_terminal = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    leads_its_terminal += "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", leads_its_terminal, *COMMAND, "station", "run", str(file)]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=os.environ)
    os.close(inner)
    try:
        (tmp_path / "in/a.png").write_bytes(good_picture.read_bytes())
        wait_until(lambda: "a.png" in verdicts(tmp_path), 30, "nothing is inspected")
        os.close(outer)  # the kernel sends SIGHUP
        assert process.wait(20) in (0, 1), "1 where the lines of the screen could not be written"
    finally:
        process.kill()
        process.wait()
    assert "a.png" in (tmp_path / "events.jsonl").read_text() and list(verdicts(tmp_path)) == ["a.png"]
