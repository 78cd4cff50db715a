"""One engine in a process of its own: reads commands as JSON lines from standard input, answers on standard output."""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeleather.benchmarks.evaluation import answering_graph, evaluate, reportable_samples
from edgeleather.benchmarks.rounds import INTEGER_PEAK
from edgeleather.bundle.bundle import Bundle, everything, read_bundle, without_original
from edgeleather.bundle.manifest import ORIGINAL_FOLDER
from edgeleather.dataset.reading import Dataset, read_dataset
from edgeleather.engines.built import engine_file, graphs_to_open, open_engine, read_built, signature_file
from edgeleather.engines.engine import Engine, load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import prepare
from edgeleather.training.run import WEIGHTS_FILE

_TIMED_IMAGES = 16
_WARM_UP, _WARM_UP_SECONDS = 5, 0.2


class Worker:
    """The state behind the three commands `load`, `time` and `evaluate`."""

    def __init__(self, bundle: str, data: str, backend: str, precision: str, threads: int | None) -> None:
        self._dataset: Dataset = read_dataset(Path(data), needs="test")
        self._bundle: Bundle = read_bundle(Path(bundle), everything if backend == "torch" else without_original)
        self._engine, self._graph, size_bytes = _load(self._bundle, backend, precision, threads)
        self._size_mb = size_bytes / 1e6
        mode = self._bundle.manifest.input_mode
        samples = reportable_samples(self._dataset, self._bundle.manifest)[0]
        step = max(1, len(samples) // _TIMED_IMAGES)
        self._images = [prepare(sample.read(), mode).images[:1] for sample in samples[::step]]

    def load(self) -> dict[str, Any]:
        return {"signature": asdict(self._engine.signature), "size_mb": self._size_mb}

    def time(self, repeats: int) -> dict[str, Any]:
        """Nanoseconds of single images, one after another, real ones in turn.

        Runs before that are not timed: threads and caches wake up, while the engine of the round before goes to sleep.
        """
        started = time.perf_counter()
        for index in itertools.count():
            if index >= _WARM_UP and time.perf_counter() - started > _WARM_UP_SECONDS:
                break
            self._engine.infer(self._images[index % len(self._images)])
        samples_ns = []
        for index in range(repeats):
            image = self._images[index % len(self._images)]
            started = time.perf_counter_ns()
            self._engine.infer(image)
            samples_ns.append(time.perf_counter_ns() - started)
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


def _worker(request: dict[str, Any]) -> Any:
    if request["backend"] == INTEGER_PEAK:
        from edgeleather.benchmarks.integer_floor import PeakWorker

        return PeakWorker(request["threads"])
    return Worker(**request)


def _load(bundle: Bundle, backend: str, precision: str, threads: int | None) -> tuple[Engine, str, int]:
    """An engine, the graph whose thresholds it takes, and its bytes on disk."""
    files = bundle.manifest.files
    if backend == "torch":
        from edgeleather.benchmarks.torch_engine import TorchEngine

        return (
            TorchEngine(bundle, threads),
            bundle.graph(precision),
            files[f"{ORIGINAL_FOLDER}/{WEIGHTS_FILE}"].size_bytes,
        )
    if backend == "onnxruntime":
        graph = answering_graph(bundle, precision, threads)
        return load_engine(backend, bundle.folder / graph, precision, threads), graph, files[graph].size_bytes
    (graph,) = graphs_to_open(bundle, precision, backend)
    built = read_built(bundle, backend, precision)
    assert built is not None
    size_bytes = engine_file(signature_file(bundle.folder, backend, precision), built.file_sha256).stat().st_size
    return open_engine(bundle, graph, precision, None, backend), graph, size_bytes


def main() -> None:
    """Serve until standard input ends. The first line is the constructor's arguments."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like an answer
    worker: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if worker is None:
                worker = _worker(request)
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
