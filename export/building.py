"""From a bundle's graph to an engine of this machine, or to one for GPUs that are elsewhere."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle, read_bundle
from edgeleather.bundle.golden import read_golden
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
from edgeleather.engines.engine import (
    BuildReport,
    BuildSettings,
    Signature,
    backend_module,
    check_settings,
    load_engine,
)
from edgeleather.engines.graphs import default_precision, for_inspection, graphs_of
from edgeleather.engines.replay import Replay, first_proven, require_golden
from edgeleather.engines.table import REFERENCE_BACKEND, capabilities
from edgeleather.engines.timing import median_ms, sample_ns
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, sha256_of_file, write_atomically
from edgeleather.progress import Progress
from edgeleather.records import to_json

AUTO = "auto"
_TIMED_RUNS, _WARM_UP = 20, 5


@dataclass(frozen=True)
class BuildResult:
    """An engine that was built: its file, record and layer report, its replay (None where it cannot run here, with the reason).

    `start_ms` is what loading it and its first image took, a value for each start (see `Capabilities.timed_starts`). After
    precision auto, `choice` says what was found fastest, and `refused` why a precision was left out.
    """

    file: Path
    record: BuiltEngine
    layers_file: Path | None
    replay: Replay | None
    notes: tuple[str, ...]
    start_ms: tuple[float, ...]
    median_ms: float | None
    choice: Choice | None = None
    refused: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result as values that JSON has."""
        replay = self.replay
        found: dict[str, Any] = {
            "engine": str(self.file),
            "signature": asdict(self.record),
            "layers": str(self.layers_file) if self.layers_file else None,
            "replay": {"passed": replay.passed, **vars(replay)} if replay else None,
            "start_ms": self.start_ms,
            "median_ms": self.median_ms,
            "notes": self.notes,
        }
        if self.choice:
            found |= {"median_ms_by_precision": self.choice.median_ms, "refused": self.refused}
        return found


@dataclass(frozen=True)
class _Trial:
    """What an engine showed where it was built: its own signature, its replay, what its starts took, its median milliseconds."""

    signature: Signature
    replay: Replay
    start_ms: tuple[float, ...]
    median_ms: float


def build(
    folder: Path | str,
    backend: str = REFERENCE_BACKEND,
    precision: str | None = None,
    settings: BuildSettings | None = None,
) -> BuildResult:
    """Build an engine of a bundle for this machine, below the bundle's `engines/`, and replay every golden frame on it.

    Precision None is the bundle's own. Precision auto builds and times every precision; the result is the fastest, which
    `inspect` takes from then on.

    Raises:
        EdgeLeatherError: the bundle has no such graph, the backend refuses it, the engine does not give the recorded answers,
            or the folder cannot be written. Nothing half-written stays behind.

    >>> import edgeleather as el
    >>> result = el.build("bundle", precision="auto")
    >>> result.median_ms > 0
    True
    """
    settings, folder = settings or BuildSettings(), Path(folder)
    with Progress("building"):
        if precision == AUTO:
            return build_fastest(folder, backend, settings)
        return build_engine(folder, backend, precision, settings)


def build_engine(folder: Path, backend: str, precision: str | None, settings: BuildSettings) -> BuildResult:
    """Build an engine of one precision; of the graphs that it may be, the first is taken whose engine gives its recorded answers.

    Raises:
        EdgeLeatherError: see `build`.
    """
    check_settings(backend, settings)
    wanted = precision or default_precision(read_bundle(folder, lambda _: ()), backend)
    bundle = read_bundle(folder, for_inspection(wanted, backend))
    graphs = graphs_of(bundle, wanted, backend)
    return first_proven(graphs, lambda graph: _build(bundle, graph, backend, wanted, settings))


def build_fastest(folder: Path, backend: str, settings: BuildSettings) -> BuildResult:
    """Build the bundle's engines of every precision, and note the fastest that gives its answers, for `inspect` to take.

    Raises:
        EdgeLeatherError: none could be built, or the backend cannot run here, so that nothing can be timed.
    """
    check_settings(backend, settings)
    if reason := backend_module(backend).can_run():
        raise EdgeLeatherError(f"--precision auto times engines, but {backend} cannot run here: {reason}")
    manifest = read_bundle(folder).manifest
    built: dict[str, BuildResult] = {}
    refused = []
    for precision, graphs in capabilities(backend).graphs.items():
        if not any(graph in manifest.files for graph in graphs):
            continue
        try:
            built[precision] = build_engine(folder, backend, precision, settings)
        except EdgeLeatherError as error:
            refused.append(f"{precision}: {error}")
    times = {precision: result.median_ms for precision, result in built.items() if result.median_ms is not None}
    if not times:
        raise EdgeLeatherError(f"no engine of {backend} could be built. {' '.join(refused)}")
    fastest = min(times, key=lambda precision: times[precision])
    choice = Choice(1, backend, cast(Literal["fp32", "fp16", "int8"], fastest), times, graph_digests(manifest))
    write_atomically(machine_folder(folder) / CHOICE_FILE, to_json(choice))
    return replace(built[fastest], choice=choice, refused=tuple(refused))


def _build(bundle: Bundle, graph: str, backend: str, precision: str, settings: BuildSettings) -> BuildResult:
    module = backend_module(backend)
    signature = signature_file(bundle.folder, backend, precision)
    source = bundle.manifest.files[graph].sha256
    with _work_folder(signature) as work:
        made = work / "made.engine"
        report = module.build(bundle.folder / graph, made, settings)
        cannot_run = module.can_run() or module.fits(report.built_for)
        record = BuiltEngine(
            schema=2,
            signature=_signature_unseen(bundle, backend, precision, report, source, settings),
            machine=machine_identity(),
            built_for=report.built_for,
            driver_floor=report.driver_floor,
            flags=report.flags,
            threads=report.threads,
            replayed=not cannot_run,
            file_sha256=sha256_of_file(made),
        )
        trial = None if cannot_run else _tried(bundle, graph, made, record)
        if trial:
            record = replace(record, signature=trial.signature)
        file, layers_file = _take_place(made, record, report, signature)
    notes = (*report.notes, *([f"not replayed: {cannot_run}"] if cannot_run else []))
    if trial is None:
        return BuildResult(file, record, layers_file, None, notes, (), None)
    return BuildResult(file, record, layers_file, trial.replay, notes, trial.start_ms, trial.median_ms)


def _tried(bundle: Bundle, graph: str, made: Path, record: BuiltEngine) -> _Trial:
    """Start a new engine as often as its backend asks for, replay the golden frames on it, and time it."""
    backend, precision, source = record.signature.backend, record.signature.precision, record.signature.graph_sha256
    frame = next(iter(read_golden(bundle).values()))[None]

    def loaded() -> closing[Any]:
        return closing(load_engine(backend, made, precision, record.threads, source))

    starts = tuple(_start_ms(loaded, frame) for _ in range(capabilities(backend).timed_starts))
    with loaded() as engine:
        replayed = require_golden(bundle, engine, graph)
        samples = sample_ns(lambda _: engine.infer(frame), _TIMED_RUNS, warm_up_runs=_WARM_UP)
        return _Trial(engine.signature, replayed, starts, median_ms(samples))


def _start_ms(loaded: Callable[[], closing[Any]], frame: UInt8Array) -> float:
    """Milliseconds from nothing to the first image's answer."""
    started = time.perf_counter()
    with loaded() as engine:
        engine.infer(frame)
        return 1e3 * (time.perf_counter() - started)


def _signature_unseen(
    bundle: Bundle, backend: str, precision: str, report: BuildReport, source: str, settings: BuildSettings
) -> Signature:
    """What is known of an engine that was not loaded."""
    return Signature(
        backend=backend,
        precision=precision,
        device=report.built_for,
        versions={backend: backend_module(backend).version()},
        graph_sha256=source,
        image_size_hw=bundle.manifest.input_mode.image_size_hw,
        batch_range=(1, settings.batch[2] if capabilities(backend).takes_batch_profile else None),
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


def _take_place(made: Path, record: BuiltEngine, report: BuildReport, signature: Path) -> tuple[Path, Path | None]:
    """The engine's and its layer report's places. The signature comes last: it names the file by its digest.

    Replacing the signature is the one step from the old engine to the new.
    """
    target = engine_file(signature, record.file_sha256)
    cache, layers = made.with_suffix(".runtime-cache"), target.with_suffix(".layers.json")
    write_atomically(target, made.read_bytes())
    if cache.is_file():
        write_atomically(target.with_suffix(".runtime-cache"), cache.read_bytes())
    if report.layers:
        write_atomically(layers, report.layers.encode())
    write_atomically(signature, to_json(record))
    for old in signature.parent.glob(f"{signature.stem}-*"):
        if old.name.partition(".")[0] != target.stem:
            old.unlink(missing_ok=True)
    return target, layers if report.layers else None
