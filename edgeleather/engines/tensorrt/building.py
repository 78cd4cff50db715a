"""One builder for TensorRT 10.x and 11.x and TensorRT for RTX: strongly typed, so that every precision is the graph's own."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeleather.engines.engine import BuildSettings, Built
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

_DEFAULT_WORKSPACE_MIB = 1024
_TIMING_CACHE = "tensorrt-timing.cache"


def build_plan(library: Library, graph: Path, engine: Path, settings: BuildSettings) -> Built:
    """Write the plan of a graph, with one optimisation profile for `settings.batch`.

    TensorRT for RTX needs no GPU for it; TensorRT times its kernels on the one that is here and keeps the times beside the
    engines, in a timing cache.

    Raises:
        EdgeLeatherError: the library is missing, it refuses the graph or the settings, or the file cannot be written.
    """
    if settings.threads:
        raise EdgeLeatherError(f"--threads is for backends of the processor; {library.backend} runs on the GPU.")
    if settings.targets and not library.is_rtx:
        raise EdgeLeatherError(
            "--target is for tensorrt-rtx; an engine of tensorrt is for the GPU that it is built on."
        )
    trt = imported(library)
    if not library.is_rtx:
        cuda_driver()
    logger = collecting_logger(trt)
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a failure inside the library
        raise _refusal(library, f"its bindings say: {error}", logger) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(library, trt, network, logger, graph)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    workspace_mib = settings.workspace_mib or _DEFAULT_WORKSPACE_MIB
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.add_optimization_profile(_profile(builder, network, settings.batch))
    built_for = _set_targets(library, trt, config, settings.targets)
    # The engine is written into a folder of its own; beside that folder the cache is found by the next build.
    cache_file = engine.parent.parent / _TIMING_CACHE
    cache = None if library.is_rtx else _timing_cache(config, cache_file)
    with _progress(trt, config, f"building for {library.backend}"):
        plan = _plan(library, builder, network, config, logger)
    if plan is None:
        raise _refusal(library, f"it builds no engine of {graph.name}", logger)
    write_atomically(engine, bytes(plan))
    if cache is not None:
        write_atomically(cache_file, bytes(cache.serialize()))
    layers = _layers(trt, logger, plan)
    note = f"no layer report: {library.backend}'s inspector reads an engine only where its GPU is"
    return Built(
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


def _plan(library: Library, builder: Any, network: Any, config: Any, logger: Any) -> Any:
    try:
        return builder.build_serialized_network(network, config)
    except (TypeError, RuntimeError) as error:
        raise _refusal(library, f"its bindings say: {error}", logger) from error


def _parse(library: Library, trt: Any, network: Any, logger: Any, graph: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        reasons = [" ".join(parser.get_error(index).desc().split()) for index in range(parser.num_errors)]
        raise _refusal(library, f"its parser refuses {graph.name}: {'; '.join(reasons)}", logger)


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
def _progress(trt: Any, config: Any, label: str) -> Iterator[None]:
    """A bar over the builder's steps; an interruption ends the build at its next step."""
    from tqdm import tqdm

    bar = tqdm(desc=label, disable=None, leave=False, dynamic_ncols=True)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # its base is only known when the library is
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            bar.total = (bar.total or 0) + num_steps

        def phase_finish(self, phase_name: str) -> None:
            bar.refresh()

        def step_complete(self, phase_name: str, step: int) -> bool:
            bar.update()
            return not interrupted.is_set()

    monitor = Monitor()
    config.progress_monitor = monitor
    try:
        with _noted_interruption() as interrupted:
            yield
        if interrupted.is_set():
            raise KeyboardInterrupt
    finally:
        config.progress_monitor = None
        bar.close()


@contextlib.contextmanager
def _noted_interruption() -> Iterator[threading.Event]:
    """SIGINT sets the event: raised as an exception inside one of the library's callbacks it would be lost."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _refusal(library: Library, what: str, logger: Any) -> EdgeLeatherError:
    heard = f" It says: {'; '.join(dict.fromkeys(logger.errors[:3]))}" if logger.errors else ""
    return EdgeLeatherError(
        f"{library.backend} cannot build this engine: {what}.{heard} Try another --precision or --backend onnxruntime."
    )
