"""From a bundle's graph to an engine of this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edgeleather.bundle import for_inspection, read_bundle
from edgeleather.engines.built import BuiltEngine, engine_file, signature_file
from edgeleather.engines.engine import backend_module, load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sha256_of_file, write_atomically
from edgeleather.golden import Replay, require_golden
from edgeleather.machine import cpu_name, usable_cores
from edgeleather.records import to_json


def build_engine(folder: Path, backend: str, precision: str | None, threads: int | None) -> tuple[Path, Replay]:
    """Build an engine below the bundle's `engines/` and replay every golden frame on it; returns its file and the replay.

    Raises:
        EdgeLeatherError: the bundle has no such graph, the backend refuses it, the engine does not give the recorded answers,
            or the folder cannot be written. Nothing half-written stays behind.
    """
    build: Callable[[Path, Path, int], None] = backend_module(backend).build
    bundle = read_bundle(folder, for_inspection(precision))
    precision = precision or bundle.default_precision
    graph = bundle.graph(precision, backend)
    threads = threads or usable_cores()
    signature = signature_file(folder, backend, precision)
    try:
        signature.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=signature.parent))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(signature, error)) from error
    try:
        made = work / "engine"
        build(folder / graph, made, threads)
        source = bundle.manifest.files[graph].sha256
        with closing(load_engine(backend, made, precision, threads, source)) as engine:
            outcome = require_golden(bundle, engine, graph)
            digest = sha256_of_file(made)
            built = BuiltEngine(1, engine.signature, threads, cpu_name(), digest)
        # The signature names the file by its digest: replacing it is the one step from the old engine to the new.
        target = engine_file(signature, digest)
        write_atomically(target, made.read_bytes())
        write_atomically(signature, to_json(built))
        for old in signature.parent.glob(f"{signature.stem}-*.engine"):
            if old != target:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(signature, error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target, outcome
