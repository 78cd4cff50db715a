"""The bundle: the folder that is deployed. `manifest.json` names every portable file with its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeleather.bundle.articles import ARTICLES_FILE, read_articles
from edgeleather.bundle.familiarity import Familiarity
from edgeleather.bundle.manifest import (
    GRAPH_FILES,
    MANIFEST_FILE,
    ORIGINAL_FOLDER,
    FileRecord,
    Manifest,
    manifest_digest,
)
from edgeleather.bundle.plain_graph import why_not_plain
from edgeleather.bundle.thresholds import Thresholds
from edgeleather.bundle.versions import UPGRADES
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, read_plain_file, sha256_of_file, sync_folder, write_atomically
from edgeleather.records import LARGEST_RECORD_BYTES, decode_record, read_json, to_json

_MEND = "Copy the bundle again from where it was made, or make it anew with: edgeleather export RUN --out BUNDLE"
_LARGEST_FILE_BYTES = 2_000_000_000  # an ONNX file has at most 2 GB
_LARGEST_SIDE_PX = 16_384
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    @property
    def default_precision(self) -> str:
        """What is inspected with where the user says nothing."""
        return self.manifest.default_precision

    @property
    def article(self) -> str:
        """The article that it was taught; "" where there was only one, without a name."""
        return self.manifest.thresholds[0].article

    @property
    def looks(self) -> Familiarity | None:
        """How the good pictures look; None where the bundle cannot tell."""
        return self.manifest.looks.get(self.article)

    def with_white_level(self, white_level: int | None) -> Bundle:
        """The same bundle with another white level for frames of 16 bits; None keeps the one that it has.

        Raises:
            EdgeLeatherError: no 16 bits hold it.
        """
        mode = self.manifest.input_mode.with_white_level(white_level)
        return replace(self, manifest=replace(self.manifest, input_mode=mode))

    def thresholds_of(self, graph: str) -> Thresholds:
        """The thresholds of a graph file.

        Raises:
            EdgeLeatherError: the manifest has none for it.
        """
        for thresholds in self.manifest.thresholds:
            if thresholds.graph == graph:
                return thresholds
        raise EdgeLeatherError(f"{self.folder}: the manifest has no thresholds for {graph}. {_MEND}")


NeededFiles = Callable[[Manifest], Collection[str]]  # of a manifest, the names of the files that are read


def without_original(manifest: Manifest) -> Collection[str]:
    """All files but those that only `benchmark` reads."""
    return [name for name in manifest.files if not name.startswith(f"{ORIGINAL_FOLDER}/")]


def everything(manifest: Manifest) -> Collection[str]:
    """All files."""
    return manifest.files


def read_bundle(folder: Path, needs: NeededFiles = without_original) -> Bundle:
    """Read a bundle and verify the digests of the files that are needed.

    Raises:
        EdgeLeatherError: no bundle, another schema, unknown keys, unsafe names, missing or damaged files.
    """
    if not folder.is_dir():
        raise EdgeLeatherError(f"expected a bundle folder at {folder}, found none. Make one with: edgeleather teach")
    if (folder / ARTICLES_FILE).is_file():
        names = ", ".join(str(one) for one in read_articles(folder).values())
        raise EdgeLeatherError(f"{folder} holds the bundles of several articles. Name one of them: {names}")
    path = folder / MANIFEST_FILE
    if path.is_symlink():
        raise EdgeLeatherError(f"{folder}: {MANIFEST_FILE} is a link; a bundle holds plain files only. {_MEND}")
    written = read_json(path, _MEND)
    manifest = decode_record(Manifest, written, path, _MEND, UPGRADES)
    if manifest.digest != manifest_digest(written):  # of what was written, before any upgrade
        raise EdgeLeatherError(
            f"{folder}: {MANIFEST_FILE} is damaged or was edited (its digest is not its own). {_MEND}"
        )
    needed = needs(manifest)
    for name, record in manifest.files.items():
        path = file_inside(folder, name)
        if name in needed:
            _verify(path, name, record, folder)
    if not all(1 <= side <= _LARGEST_SIDE_PX for side in manifest.input_mode.image_size_hw) or not manifest.thresholds:
        raise EdgeLeatherError(f"{folder}: the manifest has no image size or no thresholds. {_MEND}")
    for thresholds in manifest.thresholds:
        if thresholds.tiles_per_frame < 1:
            raise EdgeLeatherError(f"{folder}: the manifest has thresholds for frames of no image. {_MEND}")
        if thresholds.graph not in manifest.files:
            raise EdgeLeatherError(
                f"{folder}: thresholds for {thresholds.graph}, which the bundle does not hold. {_MEND}"
            )
    return Bundle(folder, manifest)


def _verify(path: Path, name: str, record: FileRecord, folder: Path) -> None:
    if not path.exists():
        raise EdgeLeatherError(f"{folder}: the manifest names {name}, but there is no such file. {_MEND}")
    reason = ""
    try:
        if name in GRAPH_FILES:
            graph = read_plain_file(path, _LARGEST_FILE_BYTES)
            is_intact = len(graph) == record.size_bytes and hashlib.sha256(graph).hexdigest() == record.sha256
            reason = why_not_plain(graph) if is_intact else ""
        else:
            is_intact = (
                path.stat().st_size == record.size_bytes <= _LARGEST_FILE_BYTES
                and sha256_of_file(path) == record.sha256
            )
    except OSError as error:
        raise EdgeLeatherError(f"{folder}: {name} cannot be read: {error.strerror}. {_MEND}") from error
    if not is_intact:
        raise EdgeLeatherError(f"{folder}: {name} is damaged (its SHA-256 is not the manifest's). {_MEND}")
    if reason:
        raise EdgeLeatherError(
            f"{folder}: expected in {name} a graph that EdgeLeather exported, got one with {reason}. Such a graph can read "
            f"other files or run for ever: do not use this bundle. {_MEND}"
        )


def write_bundle(folder: Path, manifest: Manifest, contents: Mapping[str, bytes], overwrite: bool = False) -> Bundle:
    """Write a new bundle; `files` and `digest` are filled in from the contents (names inside the bundle to bytes).

    Everything is written into a folder beside it and takes its name at the end: at no moment is there half a bundle.

    Raises:
        EdgeLeatherError: `folder` exists (and is no bundle, or not `overwrite`), or cannot be written.
    """
    check_bundle_target(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    try:
        staging.chmod(0o755)
        complete = _write_manifest(staging, replace(manifest, files=_write_files(staging, contents)))
        place_bundle(staging, folder)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle(folder, complete)


def update_bundle(bundle: Bundle, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Add files to a bundle or replace some, and take over `manifest`, whose `files` and `digest` are filled in.

    All is written beside the bundle's files before any of them is touched. Then the manifest forgets what is replaced, the
    files take their places, and last the new manifest does: whenever this ends, the folder holds a bundle that is whole.

    Raises:
        EdgeLeatherError: the folder cannot be written.
    """
    folder, before = bundle.folder, bundle.manifest
    kept = {name: record for name, record in before.files.items() if name not in contents}
    try:
        staging = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=folder))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    try:
        records = kept | _write_files(staging, contents)
        if len(kept) < len(before.files):
            without = replace(
                before,
                default_precision="fp32",
                files=kept,
                thresholds=tuple(t for t in before.thresholds if t.graph not in contents),
                calibrations=tuple(c for c in before.calibrations if c.graph not in contents),
                metrics=tuple(m for m in before.metrics if m.graph not in contents),
            )
            _write_manifest(folder, without)
        for name in contents:
            target = file_inside(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            file_inside(staging, name).replace(target)
            sync_folder(target.parent)
        return Bundle(folder, _write_manifest(folder, replace(manifest, files=records)))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, FileRecord]:
    records = {}
    for name, content in contents.items():
        path = file_inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        records[name] = FileRecord(sha256_of_file(path), len(content))
    return records


def _write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    complete = replace(manifest, digest=manifest_digest(asdict(manifest)))
    write_atomically(folder / MANIFEST_FILE, to_json(complete))
    return complete


def check_bundle_target(folder: Path, overwrite: bool) -> None:
    """Whether a bundle may be written here; asked before hours of work, not after.

    Raises:
        EdgeLeatherError: something is there that must not be overwritten.
    """
    if not folder.name or folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise EdgeLeatherError(f"expected the name of a new folder, got {folder}, which the shell stands in.")
    if not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        return
    strangers = _strangers(folder)
    if strangers:
        raise EdgeLeatherError(f"expected a new folder at {folder}, found something that is no bundle ({strangers}).")
    if not overwrite:
        raise EdgeLeatherError(f"{folder} is a bundle already. Choose another --out, or say --force to replace it.")


def _strangers(folder: Path) -> str:
    """What in a folder is no bundle's, in words; empty for a bundle and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return "a link" if folder.is_symlink() else "a file"
    if (folder / ARTICLES_FILE).is_file():
        folders = list(read_articles(folder).values())
        beside = [path.name for path in folder.iterdir() if path not in folders and path.name != ARTICLES_FILE]
        return next((found for found in (*beside, *map(_strangers, folders)) if found), "")
    try:
        manifest = json.loads(read_plain_file(folder / MANIFEST_FILE, LARGEST_RECORD_BYTES))
        known = manifest["files"].keys() | {MANIFEST_FILE}
        if not {"schema", "edgeleather", "method", "thresholds"} < manifest.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"no {MANIFEST_FILE} of EdgeLeather"
    entries = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in entries)
    return next((name for name in names if name not in known and not _may_be_there(name)), "")


def _may_be_there(name: str) -> bool:
    """What an engine build or an interrupted calibration leaves."""
    return name.startswith("engines/") or name.split("/")[0].endswith(".partial")


def place_bundle(staging: Path, folder: Path) -> None:
    """Give a whole bundle its name, with the bundle of before, if any, moved aside until it has it.

    Raises:
        OSError: the folder beside it cannot be written; the bundle of before is then in its place.
    """
    old = None
    if folder.exists() and any(folder.iterdir()):
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        folder.replace(old)
    try:
        staging.replace(folder)
    except OSError:
        if old:
            old.replace(folder)
        raise
    sync_folder(folder.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def file_inside(folder: Path, name: str) -> Path:
    """A file of the bundle by its name in the manifest; absolute paths, `..` and links are refused."""
    parts = name.split("/")
    if not _NAME.fullmatch(name) or ".." in parts or len(name) > 200:
        raise EdgeLeatherError(
            f"{folder}: the manifest names {name!r}, which is no plain name inside the bundle. {_MEND}"
        )
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise EdgeLeatherError(f"{folder}: {name} is a link; a bundle holds plain files only. {_MEND}")
    return path
