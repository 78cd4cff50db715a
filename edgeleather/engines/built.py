"""Engines that were built on this machine: files below the bundle's `engines/`, each with its signature beside it."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import GRAPH_FILES, Manifest
from edgeleather.engines.engine import Engine, Signature, backend_module, load_engine
from edgeleather.engines.graphs import default_precision, graphs_of
from edgeleather.engines.replay import first_proven, require_golden
from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from edgeleather.machine import cpu_name
from edgeleather.records import read_record

ENGINES_FOLDER = "engines"
CHOICE_FILE = "choice.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BuiltEngine:
    """What stands beside an engine file: what it is, what it was built from, by and for, and its own SHA-256.

    `machine` tells the machine that built it from others (see `machine_identity`). `replayed` says whether it answered the
    golden frames when it was built; a GPU's engine can be built where there is none.
    """

    schema: Literal[2]
    signature: Signature
    machine: str
    built_for: str
    driver_floor: str | None
    flags: dict[str, str]
    threads: int | None
    replayed: bool
    file_sha256: str


@dataclass(frozen=True)
class Choice:
    """What `build --precision auto` found fastest on this machine, of the precisions that gave their recorded answers.

    `graphs` are the digests of the bundle's graph files then: of other graphs the choice says nothing.
    """

    schema: Literal[1]
    backend: str
    precision: Literal["fp32", "fp16", "int8"]
    median_ms: dict[str, float]
    graphs: dict[str, str]

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {self.backend!r}")


def machine_folder(bundle_folder: Path) -> Path:
    """Where this machine's engines lie.

    Raises:
        EdgeLeatherError: it is a link, which would lead out of the bundle.
    """
    machine = re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node()) or "machine"
    folder = bundle_folder / ENGINES_FOLDER / machine
    for place in (folder.parent, folder):
        if place.is_symlink():
            raise EdgeLeatherError(f"{place}: expected a folder in the bundle, got a link. Remove it and build again.")
    return folder


def machine_identity() -> str:
    """What tells this machine from others: a digest of systemd's or D-Bus' machine id, or of name and processor without one."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with contextlib.suppress(OSError):
            if content := path.read_bytes().strip():
                return hashlib.sha256(b"edgeleather " + content).hexdigest()[:16]
    return hashlib.sha256(f"edgeleather {platform.node()} {cpu_name()}".encode()).hexdigest()[:16]


def signature_file(bundle_folder: Path, backend: str, precision: str) -> Path:
    """Where the signature of this machine's engine of a backend and precision lies, built or not."""
    return machine_folder(bundle_folder) / f"{backend}-{precision}.json"


def engine_file(signature: Path, file_sha256: str) -> Path:
    """The engine that a signature is of, beside it; part of its digest is in its name.

    Raises:
        EdgeLeatherError: that is no SHA-256.
    """
    if not _SHA256.fullmatch(file_sha256):
        raise EdgeLeatherError(
            f"{signature}: expected the engine's SHA-256, got {file_sha256!r}. Build the engine again."
        )
    return signature.with_name(f"{signature.stem}-{file_sha256[:16]}.engine")


def graph_digests(manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of each of a bundle's graph files."""
    return {name: manifest.files[name].sha256 for name in GRAPH_FILES if name in manifest.files}


def read_choice(bundle: Bundle) -> Choice | None:
    """What `build --precision auto` chose on this machine; None where it was not asked, or the bundle's graphs are others now."""
    path = machine_folder(bundle.folder) / CHOICE_FILE
    if not path.exists():
        return None
    choice = read_record(Choice, path, f"Choose again with: edgeleather build {bundle.folder} --precision auto")
    return choice if choice.graphs == graph_digests(bundle.manifest) else None


def wanted_engine(bundle: Bundle, backend: str | None = None, precision: str | None = None) -> tuple[str, str]:
    """The backend and the precision to inspect with: those that are named, or what `build --precision auto` chose here.

    Where neither is named and nothing was chosen on this machine, it is the bundle's own precision in the reference backend, or
    fp32 where this processor cannot compute that.

    Raises:
        EdgeLeatherError: the record of the choice is damaged.
    """
    choice = None if backend or precision else read_choice(bundle)
    if choice:
        return choice.backend, choice.precision
    backend = backend or REFERENCE_BACKEND
    return backend, precision or default_precision(bundle, backend)


def open_engine(bundle: Bundle, graph: str, precision: str, threads: int | None, backend: str) -> Engine:
    """The engine that was built here of a bundle's graph, or the graph itself where none was.

    Raises:
        EdgeLeatherError: the engine built here is damaged or stale, or there is none of a backend that needs one.
    """
    built = read_built(bundle, backend, precision)
    if built is None:
        return load_engine(backend, bundle.folder / graph, precision, threads)
    file = engine_file(signature_file(bundle.folder, backend, precision), built.file_sha256)
    return load_engine(backend, file, precision, threads or built.threads, built.signature.graph_sha256)


def open_proven(bundle: Bundle, precision: str, threads: int | None, backend: str) -> tuple[Engine, str]:
    """The engine to inspect with and the graph that it is of, after one golden frame; the next graph where the first fails it.

    A processor without integer dot products saturates where the 8-bit graph counts on it: its golden frame tells, and the
    7-bit graph is taken.

    Raises:
        EdgeLeatherError: no such graph, an engine that is damaged, stale or foreign, or none that gives the recorded answer.
    """

    def opened(graph: str) -> tuple[Engine, str]:
        return proven(bundle, open_engine(bundle, graph, precision, threads, backend), graph), graph

    return first_proven(graphs_to_open(bundle, precision, backend), opened)


def proven(bundle: Bundle, engine: Engine, graph: str) -> Engine:
    """The engine, after it has given the recorded answer to one golden frame; it is closed where it does not.

    Raises:
        GoldenError: another answer than the recorded one.
    """
    try:
        require_golden(bundle, engine, graph, frames=1)
    except BaseException:
        engine.close()
        raise
    return engine


def graphs_to_open(bundle: Bundle, precision: str, backend: str) -> tuple[str, ...]:
    """The graphs that an inspection may take, in order: that of the engine built here, or all of the precision's.

    Raises:
        EdgeLeatherError: the bundle has none, or the engine built here is damaged or stale.
    """
    graphs = graphs_of(bundle, precision, backend)
    built = read_built(bundle, backend, precision)
    if built is None:
        return graphs
    return tuple(name for name in graphs if bundle.manifest.files[name].sha256 == built.signature.graph_sha256)


def read_built(bundle: Bundle, backend: str, precision: str) -> BuiltEngine | None:
    """The signature of the engine that was built here, or None where none was.

    Raises:
        EdgeLeatherError: an engine is there that is damaged, or was built from another graph, by another version or for
            other hardware.
    """
    path = signature_file(bundle.folder, backend, precision)
    if not path.exists():
        return None
    rebuild = (
        f"Build it again with: edgeleather build {bundle.folder} --backend {backend} --precision {precision}"
        f" (or delete {path.parent})"
    )
    built = read_record(BuiltEngine, path, rebuild)
    file = engine_file(path, built.file_sha256)
    if built.machine != machine_identity():
        raise EdgeLeatherError(
            f"{file}: expected an engine that was built on this machine, got another's of the same name. An engine is code that "
            f"runs here: take it only from whom you trust, with --trust-engine. {rebuild}"
        )
    refuse_unfit(built, file, backend, rebuild)
    graphs = {name: bundle.manifest.files[name].sha256 for name in graphs_of(bundle, precision, backend)}
    if built.signature.graph_sha256 not in graphs.values():
        expected = " or ".join(_short(digest) for digest in graphs.values())
        got = _short(built.signature.graph_sha256)
        raise EdgeLeatherError(f"{file}: expected an engine of graph {expected}, got graph {got}. {rebuild}")
    return built


def open_trusted(bundle: Bundle, file: Path, threads: int | None) -> tuple[Engine, str]:
    """An engine file that a user vouches for, wherever it was built, with its signature beside it; and its graph in the bundle.

    Raises:
        EdgeLeatherError: no signature, another graph, version or hardware, or a damaged file.
    """
    mend = f"Copy the engine with its signature again, or build one here with: edgeleather build {bundle.folder}"
    named = re.fullmatch(r"([a-z0-9-]+)-[0-9a-f]{16}\.engine", file.name)
    if not named or not file.is_file():
        raise EdgeLeatherError(
            f"expected an engine file BACKEND-PRECISION-DIGEST.engine, as build leaves it, at {file}, found "
            f"{'none' if named else 'no such name'}. {mend}"
        )
    signature = file.with_name(f"{named[1]}.json")
    built = read_record(BuiltEngine, signature, mend)
    if engine_file(signature, built.file_sha256).name != file.name:
        raise EdgeLeatherError(f"{file}: expected the engine that {signature.name} is of, got another. {mend}")
    backend, precision = built.signature.backend, built.signature.precision
    refuse_unfit(built, file, backend, mend)
    graphs = {bundle.manifest.files[name].sha256: name for name in graphs_of(bundle, precision, backend)}
    if built.signature.graph_sha256 not in graphs:
        raise EdgeLeatherError(f"{file}: expected an engine of this bundle, got one of another bundle's graph. {mend}")
    engine = load_engine(backend, file, precision, threads or built.threads, built.signature.graph_sha256)
    return engine, graphs[built.signature.graph_sha256]


def refuse_unfit(built: BuiltEngine, file: Path, backend: str, rebuild: str) -> None:
    """Refuse an engine that is damaged, of another version of its backend, or for other hardware, whoever built it.

    Raises:
        EdgeLeatherError: it is; the message ends with `rebuild`.
    """
    if built.threads is not None and built.threads < 1:
        raise EdgeLeatherError(f"{file}: its signature has {built.threads} threads. {rebuild}")
    module = backend_module(backend)
    expected = {"backend": backend, "version": module.version(), "file": built.file_sha256}
    got = {
        "backend": built.signature.backend,
        "version": built.signature.versions.get(backend, "none"),
        "file": sha256_of_file(file) if file.is_file() else "no such file",
    }
    for what, value in expected.items():
        if got[what] != value:
            raise EdgeLeatherError(
                f"{file}: expected an engine of {what} {_short(value)}, got {what} {_short(got[what])}. {rebuild}"
            )
    if reason := module.can_run():
        raise EdgeLeatherError(f"{file}: {backend} cannot run here: {reason}")
    if reason := module.fits(built.built_for):
        raise EdgeLeatherError(
            f"{file}: expected an engine for this machine, got one for {built.built_for}: {reason}. {rebuild}"
        )


def _short(value: str) -> str:
    return f"{value[:12]}..." if _SHA256.fullmatch(value) else value
