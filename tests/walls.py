"""Python programs that cannot import certain packages, as if these were not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

NOT_OF_THE_RUNTIME = (
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
_WALL = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {blocked!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by the test)", name=name)
sys.meta_path.insert(0, Wall())
"""


def run_walled(
    code: str, *arguments: object, blocked: Collection[str] = NOT_OF_THE_RUNTIME, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own in which the blocked packages and their parts cannot be imported."""
    command = [sys.executable, "-c", _WALL.format(blocked=tuple(blocked)) + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)
