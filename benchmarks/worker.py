"""One engine in a process of its own: reads commands as JSON lines from standard input, answers on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeleather.benchmarks.evaluation import answering_graph, evaluate, reportable_samples
from edgeleather.benchmarks.rounds import Kind
from edgeleather.bundle.bundle import Bundle, everything, read_bundle, without_original
from edgeleather.bundle.manifest import FP32_GRAPH, ORIGINAL_FOLDER
from edgeleather.dataset.index import DatasetIndex, read_index
from edgeleather.engines.built import engine_file, graphs_to_open, open_engine, read_built, signature_file
from edgeleather.engines.engine import Engine, load_engine
from edgeleather.engines.table import capabilities
from edgeleather.engines.timing import sample_ns
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import prepare
from edgeleather.training.run import WEIGHTS_FILE

_TIMED_IMAGES = 16
_WARM_UP, _WARM_UP_SECONDS = 5, 0.2


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, the graph whose thresholds it takes, and its bytes on disk."""

    engine: Engine
    graph: str
    size_bytes: int


class Worker:
    """The state behind the three commands `load`, `time` and `evaluate`."""

    def __init__(self, dataset: DatasetIndex, bundle: Bundle, loaded: LoadedEngine) -> None:
        self._dataset = dataset
        self._bundle = bundle
        self._engine, self._graph = loaded.engine, loaded.graph
        self._size_mb = loaded.size_bytes / 1e6
        mode = bundle.manifest.input_mode
        samples = reportable_samples(dataset, bundle.manifest)[0]
        step = max(1, len(samples) // _TIMED_IMAGES)
        self._images = [prepare(sample.read(), mode).images[:1] for sample in samples[::step]]

    def load(self) -> dict[str, Any]:
        return {"signature": asdict(self._engine.signature), "size_mb": self._size_mb}

    def time(self, repeats: int) -> dict[str, Any]:
        """Nanoseconds of single images, one after another, real ones in turn.

        Runs before that are not timed: threads and caches wake up, while the engine of the round before goes to sleep.
        """
        images = self._images
        samples_ns = sample_ns(
            lambda index: self._engine.infer(images[index % len(images)]), repeats, _WARM_UP, _WARM_UP_SECONDS
        )
        return {"samples_ns": samples_ns, "peak_rss_mb": peak_rss_mb()}

    def evaluate(self) -> dict[str, Any]:
        return asdict(evaluate(self._engine, self._bundle, self._graph, self._dataset))


def peak_rss_mb() -> float:
    """This process's highest resident memory; VmHWM, since ru_maxrss starts at the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1e3 * 1.024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _engine(
    bundle: str, index: str, backend: str, precision: str, threads: int | None, white_level: int | None
) -> Worker:
    """A graph in a backend that runs graphs, or the engine that was built here for a backend that needs one."""
    dataset = read_index(Path(index))
    opened = read_bundle(Path(bundle), without_original).with_white_level(white_level)
    can = capabilities(backend)
    if not can.needs_build:
        wanted = threads if can.takes_threads else None
        graph = answering_graph(opened, precision, wanted, backend)
        size_bytes = opened.manifest.files[graph].size_bytes
        engine = load_engine(backend, opened.folder / graph, precision, wanted)
        return Worker(dataset, opened, LoadedEngine(engine, graph, size_bytes))
    (graph,) = graphs_to_open(opened, precision, backend)
    built = read_built(opened, backend, precision)
    assert built is not None
    size_bytes = engine_file(signature_file(opened.folder, backend, precision), built.file_sha256).stat().st_size
    engine = open_engine(opened, graph, precision, None, backend)
    return Worker(dataset, opened, LoadedEngine(engine, graph, size_bytes))


def _original(
    bundle: str, index: str, backend: str, precision: str, threads: int | None, white_level: int | None
) -> Worker:
    """The bundle's original in torch, at the thresholds of its fp32 graph."""
    from edgeleather.benchmarks.torch_engine import TorchEngine

    dataset = read_index(Path(index))
    opened = read_bundle(Path(bundle), everything).with_white_level(white_level)
    size_bytes = opened.manifest.files[f"{ORIGINAL_FOLDER}/{WEIGHTS_FILE}"].size_bytes
    return Worker(dataset, opened, LoadedEngine(TorchEngine(opened, threads), FP32_GRAPH, size_bytes))


def _integer_peak(threads: int | None) -> Any:
    from edgeleather.benchmarks.integer_floor import PeakWorker

    return PeakWorker(threads)


WORKERS: Mapping[Kind, Callable[..., Any]] = {
    "engine": _engine,
    "original": _original,
    "integer peak": _integer_peak,
}


def main() -> None:
    """Serve until standard input ends. The first line says which of `WORKERS` is wanted, with its arguments."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like an answer
    worker: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if worker is None:
                worker = WORKERS[request.pop("kind")](**request)
                answer = worker.load()
            else:
                answer = getattr(worker, request.pop("do"))(**request)
        except EdgeLeatherError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer, default=_plain) + "\n")
        answers.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"not JSON: {type(value)}")


if __name__ == "__main__":
    main()
