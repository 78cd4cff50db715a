"""The runtime without torch, tensorrt, onnx, scikit-learn, scipy and matplotlib; and what a first verdict costs."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest

from tests.walls import run_walled

MAIN = "from edgeleather.cli.main import main\nsys.argv[0] = 'edgeleather'\nmain()"


def test_the_wall_stands():
    assert "blocked by the test" in run_walled("import onnx").stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["inspect", "--help"], ["teach", "--help"]])
def test_help_needs_none_of_them(arguments):
    result = run_walled(MAIN, *arguments)
    assert result.returncode == 0, result.stderr


def test_import_needs_none_of_them():
    assert run_walled("import edgeleather, edgeleather.station.loop, edgeleather.dataset.checking").returncode == 0


def test_a_whole_inspection_needs_none_of_them(bundle, dataset_folder, tmp_path):
    options = ["--jsonl", tmp_path / "o.jsonl", "--save-defects", tmp_path / "defects", "--json"]
    result = run_walled(MAIN, "inspect", bundle.folder, "--source", dataset_folder / "test/*/*.png", *options)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["inferred"] == 29 and summary["defects"] > 10
    assert len(list((tmp_path / "defects").iterdir())) == summary["defects"] + summary["unfamiliar"]


@pytest.mark.parametrize("command", ["train", "teach"])
def test_training_says_which_extra_is_missing(command, dataset_folder, tmp_path):
    result = run_walled(MAIN, command, dataset_folder, "--method", "memory-bank", "--out", tmp_path / "b")
    assert result.returncode == 1 and "pip install 'edgeleather[train]'" in result.stderr
    assert "Traceback" not in result.stderr


# What no inspection in Python can do without: the libraries, the graph, the picture, one inference.
FLOOR = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import cv2, numpy, onnxruntime
options = onnxruntime.SessionOptions()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"image": cv2.imread(sys.argv[2])[None]})
"""
PEAK = (
    "import atexit, re\natexit.register(lambda: print(re.search(r'VmHWM:.*', open('/proc/self/status').read())[0]))\n"
)
MOST_TIMES_THE_FLOOR, MOST_MEMORY_OF_THE_FLOOR = 2.5, 1.5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_one_picture_costs_little_more_than_its_libraries(bundle, good_picture):
    """Medians of alternating rounds, from the start of a process to its end."""
    programs = {
        "floor": (PEAK + FLOOR, bundle.folder / "fp32.onnx", good_picture),
        "inspect": (PEAK + MAIN, "inspect", bundle.folder, "--source", good_picture, "--precision", "fp32", "--quiet"),
    }
    seconds, megabytes = {name: [] for name in programs}, {name: [] for name in programs}
    for _ in range(5):
        for name, program in programs.items():
            started = time.perf_counter()
            result = run_walled(*program)
            seconds[name].append(time.perf_counter() - started)
            assert result.returncode == 0, result.stderr
            megabytes[name].append(int(result.stdout.split("VmHWM:")[1].split()[0]) * 1.024 / 1e3)
    times = statistics.median(seconds["inspect"]) / statistics.median(seconds["floor"])
    memory = statistics.median(megabytes["inspect"]) / statistics.median(megabytes["floor"])
    assert times < MOST_TIMES_THE_FLOOR and memory < MOST_MEMORY_OF_THE_FLOOR, (seconds, megabytes)
