from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeleather.bundle.thresholds import FittedThreshold, PeakShare, ThresholdChoice, Thresholds, verdict_threshold
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
    assert verdict.rule == "extrapolated" and verdict.value > 49
    assert "extrapolated" in verdict.describe()
    with pytest.raises(EdgeLeatherError, match="at least 20"):
        verdict_threshold(list(range(19)), 1e-4, extrapolate=True)


@given(scores_lists, st.floats(1e-4, 0.5), st.floats(1e-4, 0.5))
def test_a_rarer_rate_never_lowers_the_threshold(scores, rate_a, rate_b):
    low, high = sorted((rate_a, rate_b))
    assert verdict_threshold(scores, low).value >= verdict_threshold(scores, high).value


many_scores = st.lists(st.floats(-100, 100), min_size=20, max_size=100)
rarities = st.floats(1.01, 1e6)


@given(many_scores, st.floats(1e-9, 1.0), rarities)
@example([0.0] * 19 + [5e-324], 1.0, 2.0)
def test_a_rarer_rate_that_is_extrapolated_is_always_higher(scores, share, rarer):
    """The pictures support 1 / (n + 1), which the largest score stands for."""
    rate = share / (len(scores) + 1)
    values = [verdict_threshold(scores, one, extrapolate=True).value for one in (rate, rate / rarer)]
    assert max(scores) <= values[0] < values[1] < np.inf


@given(many_scores, st.integers(1, 1000), st.integers(1, 1000), st.floats(1e-9, 1.0))
def test_more_tiles_at_a_rate_that_is_not_supported_are_always_higher(scores, fewer, more, share):
    rate = share * 0.999 / (len(scores) + 1)
    values = [verdict_threshold(scores, rate, units=units, extrapolate=True).value for units in (fewer, fewer + more)]
    assert max(scores) < values[0] < values[1] < np.inf


def test_the_rate_and_the_number_of_tiles_matter_on_sixty_pictures():
    scores = np.random.default_rng(0).gumbel(size=60).tolist()
    rates = [verdict_threshold(scores, rate, extrapolate=True).value for rate in (0.0163, 0.01, 1e-3, 1e-6)]
    tiles = [verdict_threshold(scores, 0.01, units=units).value for units in (1, 2, 25)]
    assert max(scores) < rates[0] < rates[1] < rates[2] < rates[3] and tiles[0] < tiles[1] < tiles[2]


def test_the_extrapolated_rate_holds_on_scores_that_are_maxima():
    """Scores are the highest of many pixels. Over many draws the mean rate stays within twice the wished one."""
    rng = np.random.default_rng(0)
    values = [verdict_threshold(rng.gumbel(size=60).tolist(), 1e-3, extrapolate=True).value for _ in range(500)]
    assert np.mean(1 - np.exp(-np.exp(-np.array(values)))) < 2e-3


def thresholds_of(scores, **changes):
    fitted = FittedThreshold(1.0, 1, 1)
    verdict = verdict_threshold(scores, 0.05)
    made = Thresholds("fp32.onnx", "", "resize", 1, tuple(scores), {}, 3, verdict, fitted, None, None, None, None)
    return dataclasses.replace(made, **changes)


def test_regions_begin_at_t1_where_a_share_of_their_peak_bounds_them_and_else_at_t2():
    t2, share = FittedThreshold(2.0, 1, 1), PeakShare(0.4, 0.5, 1, 3)
    assert thresholds_of([1, 2]).pixel_threshold == 1.0
    assert thresholds_of([1, 2], t2_pixel=t2).pixel_threshold == 2.0
    assert thresholds_of([1, 2], t2_pixel=t2, peak_share=share).pixel_threshold == 1.0
    assert share.limit_below(np.array([10.5, 0.5])).tolist() == pytest.approx([4.5, 0.5])


def test_a_chosen_score_is_moved_to_another_graph_by_the_difference_of_their_good_scores():
    scores = list(range(1, 40))
    choice = ThresholdChoice("value", 37.5, "fp32.onnx", "now", "photos", ("digest",))
    chosen = thresholds_of(scores).chosen(choice, 37.5)
    assert chosen.verdict.value == 37.5 and chosen.verdict.rule == "chosen"
    assert chosen.verdict.false_alarm_rate == pytest.approx(3 / 40)
    assert chosen.verdict_for(25).value == 37.5 and chosen.verdict_for(1, 0.3).rule == "conformal"
    assert (
        "chosen as a score on 1 labelled pictures of photos: figures on these are no measurement" in chosen.describe()
    )
    other = thresholds_of([score + 2 for score in scores]).chosen_like(chosen)
    assert other.verdict.value == 39.5 and other.choice == choice
    again = chosen.refitted([score + 1 for score in scores], {})
    assert again.verdict.value == 38.5 and again.choice == choice


def test_a_chosen_rate_is_that_of_each_graphs_own_scores():
    scores = np.random.default_rng(3).gumbel(size=60).tolist()
    choice = ThresholdChoice("false_alarm_rate", 1e-3, "fp32.onnx", "now", None, ())
    chosen = thresholds_of(scores).chosen(choice)
    assert chosen.verdict == verdict_threshold(scores, 1e-3, extrapolate=True)
    other = thresholds_of([2 * score for score in scores]).chosen_like(chosen)
    assert other.verdict.value == pytest.approx(2 * chosen.verdict.value)
    assert other.refitted(scores, {}).verdict == chosen.verdict


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
