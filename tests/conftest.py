"""Fixtures: one tiny data set, run and bundle for the whole session, and the real pictures where they are."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, read_bundle
from edgeleather.dataset.synthesis import SynthSettings, synthesize_dataset
from edgeleather.imaging.preprocess import InputMode
from tests.tiny import make_bundle, make_dataset

REPOSITORY = Path(__file__).parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"
RTSP_PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
HAS_TORCH = importlib.util.find_spec("torch") is not None


def rtsp_missing() -> str | None:
    """Why no RTSP server can be started here, or None."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer;"
    check += "Gst.init(None); assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
    python = Path("/usr/bin/python3")
    if python.exists() and subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
        return None
    return f"an RTSP server needs Debian's packages {RTSP_PACKAGES}"


def gpu_missing() -> str | None:
    """Why no TensorRT engine can run here, or None."""
    from edgeleather.engines.engine import backend_module

    return backend_module("tensorrt-rtx").can_run() or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {
        "real_data": None if REAL_DATA.is_dir() else f"the real leather images are not at {REAL_DATA}",
        "train": None if HAS_TORCH else "needs the 'train' extra (torch)",
        "rtsp": rtsp_missing() if any(item.get_closest_marker("rtsp") for item in items) else None,
        "tensorrt_rtx": None if importlib.util.find_spec("tensorrt_rtx") else "needs the 'tensorrt-rtx' extra",
        "gpu": gpu_missing() if any(item.get_closest_marker("gpu") for item in items) else None,
        "browser": None if shutil.which("chromium") else "needs Debian's chromium",
        "mosquitto": None if MOSQUITTO else "needs Debian's mosquitto",
        "camera": None if Path("/dev/video0").exists() else "no camera at /dev/video0",
        "tmpfs": None if os.name == "posix" and os.geteuid() == 0 else "mounting a tmpfs needs root",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set; read only."""
    return make_dataset(tmp_path_factory.mktemp("data") / "leather")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, dataset_folder: Path) -> Bundle:
    """The tiny bundle; read only. Interpreters without torch are given one by `make test-runtime`."""
    if given := os.environ.get("EDGELEATHER_TEST_BUNDLE"):
        return read_bundle(Path(given).resolve())
    if not HAS_TORCH:
        pytest.skip("no torch to make a bundle with, and EDGELEATHER_TEST_BUNDLE names none")
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", dataset_folder)


@pytest.fixture(scope="session")
def bundle_256(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle at the size that real pictures have, for speed; needs torch."""
    root = tmp_path_factory.mktemp("bundle-256")
    synthesize_dataset(root / "data", SynthSettings(train_good=12, test_good=4, defects_per_class=2))
    return make_bundle(root / "bundle", root / "data", InputMode("resize", (256, 256), 1.0))


@pytest.fixture(scope="session")
def run_folder(bundle: Bundle) -> Path:
    """The run that the tiny bundle was exported from; read only."""
    return bundle.folder.with_name(f"{bundle.folder.name}-run")


@pytest.fixture
def bundle_copy(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle to damage."""
    return Path(shutil.copytree(bundle.folder, tmp_path / "bundle-copy"))


@pytest.fixture
def good_picture(dataset_folder: Path) -> Path:
    return dataset_folder / "test" / "good" / "000.png"


@pytest.fixture
def hole_picture(dataset_folder: Path) -> Path:
    return dataset_folder / "test" / "hole" / "000.png"


@pytest.fixture
def noise_bgr() -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@contextlib.contextmanager
def small_tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"this system does not let us mount a tmpfs: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB."""
    with small_tmpfs(tmp_path / "small", "64k") as folder:
        yield folder


@pytest.fixture
def small_disk_2mb(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with room for a small store."""
    with small_tmpfs(tmp_path / "small", "2m") as folder:
        yield folder
