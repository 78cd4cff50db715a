"""One builder for TensorRT 10.x and 11.x and TensorRT for RTX: strongly typed, so that every precision is the graph's own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeleather.engines.engine import BuildReport, BuildSettings
from edgeleather.engines.tensorrt.interruption import run_interruptibly
from edgeleather.engines.tensorrt.library import (
    Library,
    collecting_logger,
    compute_capability,
    cuda_driver,
    driver_floor,
    imported,
)
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import write_atomically
from edgeleather.progress import Progress

_DEFAULT_WORKSPACE_MIB = 1024
_TIMING_CACHE = "tensorrt-timing.cache"


def build_plan(library: Library, graph: Path, engine: Path, settings: BuildSettings) -> BuildReport:
    """Write the plan of a graph, with one optimisation profile for `settings.batch`.

    TensorRT for RTX needs no GPU for it; TensorRT times its kernels on the one that is here and keeps the times beside the
    engines, in a timing cache. The library calls back at every step and for every message, so that all of it runs on a thread
    of its own (`run_interruptibly`).

    Raises:
        EdgeLeatherError: the library is missing, it refuses the graph or the settings, or the file cannot be written.
    """
    trt = imported(library)
    return run_interruptibly(lambda end: _build_plan(library, trt, (graph, engine), settings, end))


def _build_plan(
    library: Library, trt: Any, files: tuple[Path, Path], settings: BuildSettings, end: threading.Event
) -> BuildReport:
    """Read the graph, the first of the files, and write the engine, the second."""
    graph, engine = files
    if not library.is_rtx:
        cuda_driver()
    logger = collecting_logger(trt)
    builder, network = _parsed(library, trt, logger, graph)
    workspace_mib = settings.workspace_mib or _DEFAULT_WORKSPACE_MIB
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.add_optimization_profile(_profile(builder, network, settings.batch))
    built_for = _set_targets(library, trt, config, settings.targets)
    # The engine is written into a folder of its own; beside that folder the cache is found by the next build.
    cache_file = engine.parent.parent / _TIMING_CACHE
    cache = None if library.is_rtx else _timing_cache(config, cache_file)
    plan = _plan(library, trt, logger, (builder, network, config), end)
    if plan is None:
        raise _refusal(library, f"it builds no engine of {graph.name}", logger)
    write_atomically(engine, bytes(plan))
    if cache is not None:
        write_atomically(cache_file, bytes(cache.serialize()))
    layers = _layers(trt, logger, plan)
    note = f"no layer report: {library.backend}'s inspector reads an engine only where its GPU is"
    return BuildReport(
        built_for=built_for,
        driver_floor=driver_floor(library),
        layers=layers,
        flags={
            "strongly typed": "yes",
            "batch min, opt, max": ", ".join(map(str, settings.batch)),
            "workspace MiB": str(workspace_mib),
            "timing cache": "none" if library.is_rtx else _TIMING_CACHE,
        },
        notes=() if layers else (note,),
    )


def _parsed(library: Library, trt: Any, logger: Any, graph: Path) -> tuple[Any, Any]:
    """A builder and its network, strongly typed, of a graph."""
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a failure inside the library
        raise _refusal(library, f"its bindings say: {error}", logger) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        reasons = [" ".join(parser.get_error(index).desc().split()) for index in range(parser.num_errors)]
        raise _refusal(library, f"its parser refuses {graph.name}: {'; '.join(reasons)}", logger)
    return builder, network


def _plan(library: Library, trt: Any, logger: Any, made: tuple[Any, Any, Any], end: threading.Event) -> Any:
    """The serialised engine of a builder, its network and its configuration; None where the library makes none."""
    builder, network, config = made
    try:
        with _progress(trt, config, f"building for {library.backend}", end):
            return builder.build_serialized_network(network, config)
    except (TypeError, RuntimeError) as error:
        raise _refusal(library, f"its bindings say: {error}", logger) from error


def _profile(builder: Any, network: Any, batch: tuple[int, int, int]) -> Any:
    least, usual, most = batch
    if not 1 <= least <= usual <= most:
        raise EdgeLeatherError(
            f"expected a batch of least <= usual <= most, each at least 1, got {least} {usual} {most}."
        )
    image = network.get_input(0)
    rest = tuple(image.shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, (least, *rest), (usual, *rest), (most, *rest))
    return profile


def _set_targets(library: Library, trt: Any, config: Any, targets: tuple[str, ...]) -> str:
    """What the engine is for, in words that `fits` reads again."""
    if not library.is_rtx:
        return f"compute capability {compute_capability()}"
    if not targets:
        return "compute capability 8.0 and later"
    targets = tuple(dict.fromkeys(targets))
    known = {f"{int(c) // 10}.{int(c) % 10}": c for c in trt.ComputeCapability.__members__.values() if int(c) >= 10}
    if unknown := [target for target in targets if target not in known]:
        raise EdgeLeatherError(
            f"expected compute capabilities of {', '.join(known)}, got {', '.join(unknown)}: tensorrt-rtx builds for no other."
        )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not config.set_compute_capability(known[target], index):
            raise EdgeLeatherError(
                f"tensorrt-rtx does not build for compute capability {target} together with {targets}."
            )
    return f"compute capability {', '.join(targets)}"


def _timing_cache(config: Any, file: Path) -> Any:
    """The timing cache, attached; that of another GPU or version does not attach, and is made anew."""
    for content in (file.read_bytes() if file.is_file() else b"", b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _layers(trt: Any, logger: Any, plan: Any) -> str | None:
    """The inspector's report as JSON, None where there is no GPU to load the engine on."""
    heard = len(logger.errors)
    try:
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    except (RuntimeError, TypeError):  # of a runtime that there is none of, without a GPU
        engine = None
    del logger.errors[heard:]
    if engine is None:
        return None
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


@contextlib.contextmanager
def _progress(trt: Any, config: Any, label: str, end: threading.Event) -> Iterator[None]:
    """Progress over the builder's steps; once `end` is set, the build ends at its next step."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # its base is only known when the library is
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.total = (progress.total or 0) + num_steps

        def phase_finish(self, phase_name: str) -> None:
            progress.refresh_bar()

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.advance()
            return not end.is_set()

    with Progress(label) as progress:
        monitor = Monitor()
        config.progress_monitor = monitor
        try:
            yield
        finally:
            config.progress_monitor = None


def _refusal(library: Library, what: str, logger: Any) -> EdgeLeatherError:
    heard = f" It says: {'; '.join(dict.fromkeys(logger.errors[:3]))}" if logger.errors else ""
    return EdgeLeatherError(
        f"{library.backend} cannot build this engine: {what}.{heard} Try another --precision or --backend onnxruntime."
    )
