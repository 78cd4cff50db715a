"""`python -m tests.make_bundle FOLDER`: the tiny bundle, for interpreters that cannot train one."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.tiny import make_bundle, make_dataset

if __name__ == "__main__":
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        made = make_bundle(Path(work) / "bundle", make_dataset(Path(work) / "data"))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made.folder, target)
