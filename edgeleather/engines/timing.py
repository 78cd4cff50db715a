"""The one loop that times: runs that warm up, then runs that count."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np


def sample_ns(run: Callable[[int], object], repeats: int, warm_up_runs: int, warm_up_seconds: float = 0.0) -> list[int]:
    """Nanoseconds of each of `repeats` runs, after at least so many runs and seconds that are not timed.

    `run` is given the number of the run, which starts at 0 for the warm-up and again for what is timed.
    """
    started = time.perf_counter()
    for index in itertools.count():
        if index >= warm_up_runs and time.perf_counter() - started >= warm_up_seconds:
            break
        run(index)
    samples_ns = []
    for index in range(repeats):
        started_ns = time.perf_counter_ns()
        run(index)
        samples_ns.append(time.perf_counter_ns() - started_ns)
    return samples_ns


def median_ms(samples_ns: Sequence[int]) -> float:
    """The median of samples in nanoseconds, as milliseconds."""
    return float(np.median(samples_ns)) / 1e6
