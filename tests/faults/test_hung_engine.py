"""An engine that does not come back from a frame: a real one, in a library's lock that no signal interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np

from tests.events.receivers import WebhookReceiver, wait_until
from tests.faults.test_poison_pictures import verdicts, watching
from tests.station.test_station import rows, started

HANGS_ON_WHITE = """
import ctypes
from edgeleather.engines.onnxruntime.running import OnnxRuntimeEngine
infer = OnnxRuntimeEngine.infer

def hang_on_white(self, images):
    if images.min() == 255:
        c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        c.pthread_mutex_lock(lock)
        c.pthread_mutex_lock(lock)
    return infer(self, images)

OnnxRuntimeEngine.infer = hang_on_white
from edgeleather.cli.main import main
main()
"""


def test_a_hung_engine_is_a_fault_and_does_not_keep_the_station_from_ending(bundle, good_picture, tmp_path):
    webhook = WebhookReceiver()
    sink = f'[sinks.mes]\nkind = "webhook"\naddress = "{webhook.address}"'
    file = watching(tmp_path, bundle, sink)
    file.write_text(file.read_text().replace("[source]", "hung_seconds = 1\n[source]", 1))
    command = [sys.executable, "-c", HANGS_ON_WHITE, "station", "run", str(file), "--quiet"]
    with webhook.running():
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        try:
            (tmp_path / "in/a-good.png").write_bytes(good_picture.read_bytes())
            wait_until(lambda: "a-good.png" in verdicts(tmp_path), 30, "nothing is inspected")
            cv2.imwrite(str(tmp_path / "in/b-white.png"), np.full((64, 64, 3), 255, np.uint8))
            wait_until(lambda: rows(tmp_path, "fault"), 15, "no fault")
            wait_until(lambda: webhook.events, 10, "no receiver is told")
            (tmp_path / "in/c-good.png").write_bytes(good_picture.read_bytes())
            process.send_signal(signal.SIGTERM)
            started_at = time.monotonic()
            _, err = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert process.returncode == 1 and time.monotonic() - started_at < 15
    assert "the engine did not come back from a frame" in err and "Traceback" not in err
    (fault,) = rows(tmp_path, "fault")
    assert (fault["what"], fault["state"]) == ("engine", "raised") and "b-white.png" in fault["detail"]
    assert list(verdicts(tmp_path)) == ["a-good.png"]
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["source"].rpartition("/")[2] for line in lines] == ["a-good.png"]
    with started(file) as process:
        wait_until(lambda: len(verdicts(tmp_path)) == 3, 30, verdicts(tmp_path))
    found = verdicts(tmp_path)
    assert found["b-white.png"]["verdict"] == "failed" and "not tried again" in found["b-white.png"]["error"]
    assert found["c-good.png"]["verdict"] != "failed"
    assert [row["state"] for row in rows(tmp_path, "fault")] == ["raised", "cleared"]
