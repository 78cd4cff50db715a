"""The bundle: the folder that is deployed. `manifest.json` names every portable file with its SHA-256."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sha256_of_file, sync_folder, write_atomically
from edgeleather.preprocess import InputMode
from edgeleather.records import read_record, to_json
from edgeleather.thresholds import Thresholds

MANIFEST_FILE = "manifest.json"
ORIGINAL_FOLDER = "original"
GRAPH_FILES = {"fp32.onnx": "fp32", "fp16.onnx": "fp16", "int8-onnxruntime.onnx": "int8", "int8-tensorrt.onnx": "int8"}
_MEND = "Copy the bundle again from where it was made, or make it anew with: edgeleather export RUN --out BUNDLE"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class FileRecord:
    """A portable file's digest and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class UsedImages:
    """Digests (of pixels) of every picture that training or a threshold saw, so that none of them is reported on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    threshold: tuple[str, ...]
    t2_t3: tuple[str, ...]


@dataclass(frozen=True)
class HandOverMetrics:
    """Measured at export, in ONNX Runtime, on the test pictures that fitted no threshold; None where there were none."""

    graph: str
    test_images: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None


@dataclass(frozen=True)
class Manifest:
    """The bundle's record. Engines are never in it: they belong to one machine."""

    schema: Literal[1]
    created_at: str
    edgeleather: str
    method: str
    backbone: str
    input_mode: InputMode
    thresholds: tuple[Thresholds, ...]
    files: dict[str, FileRecord]
    images: UsedImages
    metrics: tuple[HandOverMetrics, ...]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    def graph(self, precision: str, backend: str = "onnxruntime") -> str:
        """The graph file of a precision.

        Raises:
            EdgeLeatherError: the bundle has none.
        """
        name = f"int8-{backend}.onnx" if precision == "int8" else f"{precision}.onnx"
        if name not in self.manifest.files:
            have = ", ".join(sorted(n for n in GRAPH_FILES if n in self.manifest.files))
            raise EdgeLeatherError(f"{self.folder}: expected a graph {name}, this bundle has {have}.")
        return name

    def thresholds_of(self, graph: str) -> Thresholds:
        """The thresholds of a graph file.

        Raises:
            EdgeLeatherError: the manifest has none for it.
        """
        for thresholds in self.manifest.thresholds:
            if thresholds.graph == graph:
                return thresholds
        raise EdgeLeatherError(f"{self.folder}: the manifest has no thresholds for {graph}. {_MEND}")


def read_bundle(folder: Path, with_original: bool = False) -> Bundle:
    """Read a bundle and verify its files' digests; those below original/ only when asked, the runtime never reads them.

    Raises:
        EdgeLeatherError: no bundle, another schema, unknown keys, unsafe names, missing or damaged files.
    """
    if not folder.is_dir():
        raise EdgeLeatherError(f"expected a bundle folder at {folder}, found none. Make one with: edgeleather teach")
    manifest = read_record(Manifest, folder / MANIFEST_FILE, _MEND)
    for name, record in manifest.files.items():
        path = _inside(folder, name)
        if name.startswith(f"{ORIGINAL_FOLDER}/") and not with_original:
            continue
        if not path.is_file():
            raise EdgeLeatherError(f"{folder}: the manifest names {name}, but there is no such file. {_MEND}")
        if path.stat().st_size != record.size_bytes or sha256_of_file(path) != record.sha256:
            raise EdgeLeatherError(f"{folder}: {name} is damaged (its SHA-256 is not the manifest's). {_MEND}")
    for thresholds in manifest.thresholds:
        if thresholds.graph not in manifest.files:
            raise EdgeLeatherError(
                f"{folder}: thresholds for {thresholds.graph}, which the bundle does not hold. {_MEND}"
            )
    return Bundle(folder, manifest)


def write_bundle(folder: Path, manifest: Manifest, contents: Mapping[str, bytes], replace: bool = False) -> Bundle:
    """Write a new bundle; `manifest.files` is filled in from the contents (names inside the bundle to bytes).

    Everything is written into a folder beside it and takes its name at the end: at no moment is there half a bundle.

    Raises:
        EdgeLeatherError: `folder` exists (and is no bundle, or not `replace`), or cannot be written.
    """
    check_bundle_target(folder, replace)
    records = {}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    try:
        staging.chmod(0o755)
        for name, content in contents.items():
            path = _inside(staging, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            records[name] = FileRecord(sha256_of_file(path), len(content))
        complete = Manifest(**{**vars(manifest), "files": records})
        write_atomically(staging / MANIFEST_FILE, to_json(complete))
        _take_place(staging, folder)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle(folder, complete)


def check_bundle_target(folder: Path, replace: bool) -> None:
    """Whether a bundle may be written here; asked before hours of work, not after.

    Raises:
        EdgeLeatherError: something is there that must not be overwritten.
    """
    if not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        return
    if not (folder.is_dir() and (folder / MANIFEST_FILE).is_file()) or folder.is_symlink():
        raise EdgeLeatherError(f"expected a new folder at {folder}, found something that is no bundle. Choose another.")
    if not replace:
        raise EdgeLeatherError(f"{folder} is a bundle already. Choose another --out, or say --force to replace it.")


def _take_place(staging: Path, folder: Path) -> None:
    old = None
    if folder.exists() and any(folder.iterdir()):
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        folder.replace(old)
    staging.replace(folder)
    sync_folder(folder.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _inside(folder: Path, name: str) -> Path:
    """A file of the bundle by its name in the manifest; absolute paths, `..` and links are refused."""
    parts = name.split("/")
    if not _NAME.fullmatch(name) or ".." in parts:
        raise EdgeLeatherError(
            f"{folder}: the manifest names {name!r}, which is no plain name inside the bundle. {_MEND}"
        )
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise EdgeLeatherError(f"{folder}: {name} is a link; a bundle holds plain files only. {_MEND}")
    return path
