from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.bundle.thresholds import verdict_threshold
from edgeleather.errors import EdgeLeatherError

scores_lists = st.lists(st.floats(0, 100), min_size=1, max_size=300)


def test_enough_scores_give_the_conformal_rank():
    scores = list(range(1, 200))  # n = 199: rank ceil(200 x 0.99) = 198
    verdict = verdict_threshold(scores, 0.01)
    assert verdict.value == 198 and verdict.rule == "conformal" and verdict.false_alarm_rate == 0.01


def test_too_few_scores_give_the_largest_and_say_the_rate_they_support():
    verdict = verdict_threshold([1.0, 3.0, 2.0], 0.01)
    assert verdict.value == 3.0
    assert verdict.false_alarm_rate == pytest.approx(1 / 4)
    assert "too few good pictures" in verdict.describe()


def test_conformal_coverage_holds_on_exchangeable_scores():
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(2000):
        scores = rng.gumbel(size=60)
        alarms.append(rng.gumbel() > verdict_threshold(scores.tolist(), 0.05).value)
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("draw", ["exponential", "uniform", "pareto"])
def test_the_extrapolated_tail_is_near_the_true_one(draw):
    rng = np.random.default_rng(1)
    samples = {"exponential": rng.exponential, "uniform": rng.uniform, "pareto": lambda size: rng.pareto(4, size)}[draw]
    truth = {"exponential": -np.log(1e-3), "uniform": 1 - 1e-3, "pareto": 1e-3**-0.25 - 1}[draw]
    found = [verdict_threshold(samples(size=200).tolist(), 1e-3, extrapolate=True).value for _ in range(60)]
    assert np.median(found) == pytest.approx(truth, rel=0.25)


def test_extrapolation_is_marked_and_needs_twenty_scores():
    verdict = verdict_threshold(list(range(50)), 1e-4, extrapolate=True)
    assert verdict.rule == "extrapolated" and verdict.value >= 49
    assert "extrapolated" in verdict.describe()
    with pytest.raises(EdgeLeatherError, match="at least 20"):
        verdict_threshold(list(range(19)), 1e-4, extrapolate=True)


@given(scores_lists, st.floats(1e-4, 0.5), st.floats(1e-4, 0.5))
def test_a_rarer_rate_never_lowers_the_threshold(scores, rate_a, rate_b):
    low, high = sorted((rate_a, rate_b))
    assert verdict_threshold(scores, low).value >= verdict_threshold(scores, high).value


def test_more_tiles_a_frame_never_lower_the_threshold():
    scores = np.random.default_rng(2).exponential(size=80).tolist()
    values = [verdict_threshold(scores, 0.2, units=k).value for k in (1, 2, 9, 25, 100)]
    assert values == sorted(values)
    # 9 tiles at 1 - 0.8 ** (1 / 9) = 2.4 % a tile: rank ceil(81 x 0.9755) = 80
    assert values[2] == sorted(scores)[79]


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0])
def test_a_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(EdgeLeatherError, match="between 0 and 1"):
        verdict_threshold([1.0], rate)


def test_no_scores_are_refused():
    with pytest.raises(EdgeLeatherError, match="got none"):
        verdict_threshold([], 0.01)
