from __future__ import annotations

import subprocess
import sys

from edgeleather.events.store_lock import only_writer


def test_a_second_station_is_refused(tmp_path):
    code = "from pathlib import Path\nfrom edgeleather.events.store_lock import only_writer\n"
    code += f"with only_writer(Path({str(tmp_path)!r})): pass"
    with only_writer(tmp_path):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another station writes to this store" in result.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
