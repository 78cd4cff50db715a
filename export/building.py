"""From a bundle's graph to an engine of this machine, or to one for GPUs that are elsewhere."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeleather.bundle.bundle import Bundle, for_inspection, read_bundle
from edgeleather.bundle.golden import read_golden
from edgeleather.bundle.manifest import BACKEND_GRAPHS
from edgeleather.engines.built import (
    CHOICE_FILE,
    BuiltEngine,
    Choice,
    engine_file,
    graph_digests,
    machine_folder,
    machine_identity,
    signature_file,
)
from edgeleather.engines.engine import BuildSettings, Built, Signature, backend_module, load_engine
from edgeleather.engines.replay import GoldenError, Replay, require_golden
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sha256_of_file, write_atomically
from edgeleather.records import decode, to_json

AUTO = "auto"
_TIMED_RUNS, _WARM_UP = 20, 5


@dataclass(frozen=True)
class Outcome:
    """An engine that was built: its file, record and layer report, its replay (None where it cannot run here, with the reason).

    `start_ms` is what loading it and its first image took; of tensorrt-rtx without and with its runtime cache.
    """

    file: Path
    record: BuiltEngine
    layers_file: Path | None
    replay: Replay | None
    notes: tuple[str, ...]
    start_ms: tuple[float, ...]
    median_ms: float | None


def build_engine(folder: Path, backend: str, precision: str | None, settings: BuildSettings) -> Outcome:
    """Build an engine below the bundle's `engines/` and replay every golden frame on it, where it can run here.

    Of the graphs that the precision may be, the first is taken whose engine gives the recorded answers.

    Raises:
        EdgeLeatherError: the bundle has no such graph, the backend refuses it, the engine does not give the recorded answers,
            or the folder cannot be written. Nothing half-written stays behind.
    """
    bundle = read_bundle(folder, for_inspection(precision, backend))
    precision = precision or bundle.default_precision
    graphs = bundle.graphs(precision, backend)
    for graph in graphs[:-1]:
        try:
            return _build(bundle, graph, backend, precision, settings)
        except GoldenError:
            continue
    return _build(bundle, graphs[-1], backend, precision, settings)


def build_fastest(folder: Path, backend: str, settings: BuildSettings) -> tuple[Outcome, Choice, tuple[str, ...]]:
    """Build the bundle's engines of every precision, and note the fastest that gives its answers, for `inspect` to take.

    The third value says why a precision was left out.

    Raises:
        EdgeLeatherError: none could be built, or the backend cannot run here, so that nothing can be timed.
    """
    if reason := backend_module(backend).can_run():
        raise EdgeLeatherError(f"--precision auto times engines, but {backend} cannot run here: {reason}")
    manifest = read_bundle(folder).manifest
    known = "tensorrt" if backend == "tensorrt-rtx" else backend
    built: dict[str, Outcome] = {}
    refused = []
    for (of_backend, precision), graphs in BACKEND_GRAPHS.items():
        if of_backend != known or not any(graph in manifest.files for graph in graphs):
            continue
        try:
            built[precision] = build_engine(folder, backend, precision, settings)
        except EdgeLeatherError as error:
            refused.append(f"{precision}: {error}")
    times = {precision: outcome.median_ms for precision, outcome in built.items() if outcome.median_ms is not None}
    if not times:
        raise EdgeLeatherError(f"no engine of {backend} could be built. {' '.join(refused)}")
    fastest = min(times, key=lambda precision: times[precision])
    record = {"backend": backend, "precision": fastest, "median_ms": times, "graphs": graph_digests(manifest)}
    choice = decode(Choice, {"schema": 1, **record}, "")
    write_atomically(machine_folder(folder) / CHOICE_FILE, to_json(choice))
    return built[fastest], choice, tuple(refused)


def _build(bundle: Bundle, graph: str, backend: str, precision: str, settings: BuildSettings) -> Outcome:
    module = backend_module(backend)
    signature = signature_file(bundle.folder, backend, precision)
    source = bundle.manifest.files[graph].sha256
    with _work_folder(signature) as work:
        made = work / "made.engine"
        built = module.build(bundle.folder / graph, made, settings)
        cannot_run = module.can_run() or module.fits(built.built_for)
        record = BuiltEngine(
            schema=2,
            signature=_signature_unseen(bundle, backend, precision, built, source, settings),
            machine=machine_identity(),
            built_for=built.built_for,
            driver_floor=built.driver_floor,
            flags=built.flags,
            threads=built.threads,
            replayed=not cannot_run,
            file_sha256=sha256_of_file(made),
        )
        outcome = None
        start_ms: tuple[float, ...] = ()
        median_ms = None
        if not cannot_run:
            seen, outcome, start_ms, median_ms = _tried(bundle, graph, backend, precision, made, built, source)
            record = replace(record, signature=seen)
        file, layers_file = _take_place(made, record, built, signature)
    notes = (*built.notes, *([f"not replayed: {cannot_run}"] if cannot_run else []))
    return Outcome(file, record, layers_file, outcome, notes, start_ms, median_ms)


def _tried(
    bundle: Bundle, graph: str, backend: str, precision: str, made: Path, built: Built, source: str
) -> tuple[Signature, Replay, tuple[float, ...], float]:
    """The engine's own signature, its replay, what its starts took, and its median milliseconds an image."""
    frame = next(iter(read_golden(bundle).values()))[None]
    starts = []
    for _ in range(2 if backend == "tensorrt-rtx" else 1):
        started = time.perf_counter()
        with closing(load_engine(backend, made, precision, built.threads, source)) as engine:
            engine.infer(frame)
            starts.append(1e3 * (time.perf_counter() - started))
    with closing(load_engine(backend, made, precision, built.threads, source)) as engine:
        outcome = require_golden(bundle, engine, graph)
        samples = []
        for index in range(_WARM_UP + _TIMED_RUNS):
            started = time.perf_counter()
            engine.infer(frame)
            if index >= _WARM_UP:
                samples.append(1e3 * (time.perf_counter() - started))
        return engine.signature, outcome, tuple(starts), float(np.median(samples))


def _signature_unseen(
    bundle: Bundle, backend: str, precision: str, built: Built, source: str, settings: BuildSettings
) -> Signature:
    """What is known of an engine that was not loaded."""
    is_gpu = backend != "onnxruntime"
    return Signature(
        backend=backend,
        precision=precision,
        device=built.built_for,
        versions={backend: backend_module(backend).version()},
        graph_sha256=source,
        image_size_hw=bundle.manifest.input_mode.image_size_hw,
        batch_range=(1, settings.batch[2]) if is_gpu else (1, None),
    )


@contextmanager
def _work_folder(signature: Path) -> Iterator[Path]:
    """A folder beside the engines that is gone afterwards."""
    try:
        signature.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=signature.parent))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(signature, error)) from error
    try:
        yield work
    except OSError as error:
        raise EdgeLeatherError(cannot_write(signature, error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _take_place(made: Path, record: BuiltEngine, built: Built, signature: Path) -> tuple[Path, Path | None]:
    """The engine's and its layer report's places. The signature comes last: it names the file by its digest.

    Replacing the signature is the one step from the old engine to the new.
    """
    target = engine_file(signature, record.file_sha256)
    cache, layers = made.with_suffix(".runtime-cache"), target.with_suffix(".layers.json")
    write_atomically(target, made.read_bytes())
    if cache.is_file():
        write_atomically(target.with_suffix(".runtime-cache"), cache.read_bytes())
    if built.layers:
        write_atomically(layers, built.layers.encode())
    write_atomically(signature, to_json(record))
    for old in signature.parent.glob(f"{signature.stem}-*"):
        if old.name.partition(".")[0] != target.stem:
            old.unlink(missing_ok=True)
    return target, layers if built.layers else None
