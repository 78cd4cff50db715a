"""Engines in processes of their own, timed in rounds that alternate between them.

In one process the idle thread pools of one runtime spin and slow the next; and a machine's mood changes within minutes,
so that only neighbouring rounds can be compared.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeleather.dataset.index import DatasetIndex, write_index
from edgeleather.engines.table import capabilities
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import is_installed
from edgeleather.progress import track

ORIGINAL = "torch"  # what a report calls the bundle's original; it is no backend of the table, since it needs torch
Kind = Literal["engine", "original", "integer peak"]  # what a worker measures; see `worker.WORKERS`


@dataclass(frozen=True)
class Candidate:
    """What is to be measured: a bundle's graph of a precision in a backend, or the bundle's original."""

    bundle: Path
    backend: str
    precision: str
    kind: Kind = "engine"

    @property
    def is_reference(self) -> bool:
        """Whether it runs in the reference backend, whose fp32 graph the others are compared with."""
        return self.kind == "engine" and capabilities(self.backend).is_reference


@dataclass
class Measurement:
    """A candidate's raw single-image latencies, its size on disk, its peak memory, and its accuracy (`Evaluation`)."""

    candidate: Candidate
    signature: dict[str, Any]
    size_mb: float
    samples_ns: list[int] = field(default_factory=list)
    peak_rss_mb: float = 0.0
    evaluation: dict[str, Any] = field(default_factory=dict)


def measure(
    candidates: Sequence[Candidate],
    index: DatasetIndex,
    rounds: int,
    repeats: int,
    threads: int | None,
    white_level: int | None = None,
) -> tuple[list[Measurement], float | None]:
    """Load every candidate, time them in alternating rounds of `repeats` images, then test their accuracy.

    The second value is the highest rate of integer multiply-accumulates a second that a process between them reached, None
    where onnx is not installed to make its graphs.

    Raises:
        EdgeLeatherError: a candidate cannot be loaded or the data not be used.
    """
    with contextlib.ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index.json"
        file.write_bytes(write_index(index))  # each process would decode all pictures else
        engines = []
        for candidate in track(candidates, "loading engines"):
            process = stack.enter_context(_engine_process())
            request = {
                "kind": candidate.kind,
                "bundle": str(candidate.bundle),
                "index": str(file),
                "backend": candidate.backend,
                "precision": candidate.precision,
                "threads": threads,
                "white_level": white_level,
            }
            engines.append((process, Measurement(candidate, **_ask(process, request))))
        peak_process = stack.enter_context(_engine_process()) if is_installed("onnx") else None
        if peak_process:
            _ask(peak_process, {"kind": "integer peak", "threads": threads})
        peak: float | None = None
        for _ in track(range(rounds), "timing rounds"):
            for process, measured in engines:
                answer = _ask(process, {"do": "time", "repeats": repeats})
                measured.samples_ns += answer["samples_ns"]
                measured.peak_rss_mb = answer["peak_rss_mb"]
            if peak_process:
                answer = _ask(peak_process, {"do": "time", "repeats": repeats})
                peak = max(peak or 0.0, answer["macs_per_second"])
        for process, measured in track(engines, "testing accuracy"):
            measured.evaluation = _ask(process, {"do": "evaluate"})
        return [measured for _, measured in engines], peak


@contextlib.contextmanager
def _engine_process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgeleather.benchmarks.worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _ask(process: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise EdgeLeatherError(
            f"the process that measures an engine ended (exit code {process.wait()}); what it printed stands above."
        )
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise EdgeLeatherError(answer["error"])
    return answer
