"""An engine of ONNX Runtime: the graph as it was optimised for this processor, and the threads that are fastest here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeleather.engines.engine import BuildReport, BuildSettings
from edgeleather.engines.onnxruntime.session import open_session
from edgeleather.engines.timing import median_ms, sample_ns
from edgeleather.machine import cpu_name, usable_cores

_SEARCH_ROUNDS, _SEARCH_RUNS = 3, 8


def build(graph: Path, engine: Path, settings: BuildSettings) -> BuildReport:
    """Write the graph as ONNX Runtime optimised it for this processor; its threads are found by measuring, unless given.

    Raises:
        EdgeLeatherError: ONNX Runtime refuses the graph.
    """
    content = graph.read_bytes()
    open_session(content, graph.name, settings.threads or usable_cores(), saved_as=engine)
    if settings.threads:
        return BuildReport(cpu_name(), threads=settings.threads)
    threads, times_ms = _fastest_threads(engine.read_bytes(), graph.name)
    measured = ", ".join(f"{count}: {ms:.2f} ms" for count, ms in times_ms.items())
    return BuildReport(cpu_name(), threads=threads, flags={"threads tried": measured})


def _fastest_threads(engine: bytes, name: str) -> tuple[int, dict[int, float]]:
    """The number of threads with the lowest median of alternating rounds, and what each took; within 3 % the fewer are taken."""
    cores = usable_cores()
    counts = sorted({1, 2, cores // 2, cores} - {0} - {n for n in (2,) if n > cores})
    samples: dict[int, list[int]] = {count: [] for count in counts}
    for _ in range(_SEARCH_ROUNDS if len(counts) > 1 else 0):
        for count in counts:
            samples[count] += _samples_with(engine, name, count)
    medians = {count: median_ms(taken) for count, taken in samples.items() if taken}
    best = min(medians.values(), default=0.0)
    return next((count for count, taken in medians.items() if taken <= 1.03 * best), cores), medians


def _samples_with(engine: bytes, name: str, threads: int) -> list[int]:
    """Nanoseconds of single images of noise with this many threads."""
    session = open_session(engine, name, threads, is_optimised=True)
    shape = session.get_inputs()[0].shape
    image = np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), dtype=np.uint8)
    return sample_ns(lambda _: session.run(None, {"image": image}), _SEARCH_RUNS, warm_up_runs=_SEARCH_RUNS)
