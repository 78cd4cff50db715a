"""The runtime without torch, tensorrt, onnx, scikit-learn, scipy and matplotlib; and what a first verdict costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

BLOCKED = (
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
    "onnx",
    "sklearn",
    "scipy",
    "matplotlib",
    "safetensors",
    "onnxscript",
)
# A finder in front of all others makes them as good as not installed.
WALL = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by the test)", name=name)
sys.meta_path.insert(0, Wall())
"""
MAIN = "from edgeleather.cli.main import main\nsys.argv[0] = 'edgeleather'\nmain()"


def run_walled(code, *arguments):
    return subprocess.run([sys.executable, "-c", WALL + code, *map(str, arguments)], capture_output=True, text=True)


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
    assert summary["inferred"] == 29 and len(list((tmp_path / "defects").iterdir())) == summary["defects"]


@pytest.mark.parametrize("command", ["train", "teach"])
def test_training_says_which_extra_is_missing(command, dataset_folder, tmp_path):
    result = run_walled(MAIN, command, dataset_folder, "--method", "memory-bank", "--out", tmp_path / "b")
    assert result.returncode == 1 and "pip install 'edgeleather[train]'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_one_picture_takes_under_a_second_and_250_megabytes(bundle, good_picture):
    """Issue 2: the median of 5 warm runs, from start to end."""
    peak = "import atexit, re\natexit.register(lambda: print(re.search(r'VmHWM:.*', open('/proc/self/status').read())[0]))\n"
    seconds, megabytes = [], []
    for _ in range(6):
        started = time.perf_counter()
        result = run_walled(peak + MAIN, "inspect", bundle.folder, "--source", good_picture, "--quiet")
        seconds.append(time.perf_counter() - started)
        assert result.returncode == 0, result.stderr
        megabytes.append(int(result.stdout.split("VmHWM:")[1].split()[0]) * 1.024 / 1e3)
    assert statistics.median(seconds[1:]) < 1.0 and max(megabytes) < 250
