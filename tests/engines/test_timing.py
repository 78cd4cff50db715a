from __future__ import annotations

from edgeleather.engines.timing import median_ms, sample_ns


def test_runs_that_warm_up_are_not_counted_and_runs_are_numbered_from_0_twice():
    runs = []
    samples = sample_ns(runs.append, 3, warm_up_runs=2)
    assert runs == [0, 1, 0, 1, 2] and len(samples) == 3 and all(taken >= 0 for taken in samples)


def test_a_warm_up_lasts_as_long_as_it_is_asked_to():
    import time

    runs = []
    started = time.perf_counter()
    sample_ns(runs.append, 1, warm_up_runs=1, warm_up_seconds=0.02)
    assert time.perf_counter() - started >= 0.02 and len(runs) > 2


def test_the_median_is_in_milliseconds():
    assert median_ms([1_000_000, 9_000_000, 2_000_000]) == 2.0
