"""The distance of a frame from the good pictures, and its limit."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleather.bundle.familiarity import Familiarity, familiarity_of
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import FEWEST_PICTURES
from edgeleather.records import decode

PER_GROUP, GROUPS = 6, 10


@pytest.fixture(scope="module")
def good():
    """Statistics of sixty pictures from ten photographs, whose columns are correlated, and their photographs."""
    rng = np.random.default_rng(0)
    photographs = rng.normal(0, 0.1, (GROUPS, 7)).repeat(PER_GROUP, axis=0)
    looks = 4.0 + photographs + rng.normal(0, 0.05, (GROUPS * PER_GROUP, 7))
    looks[:, 3] = looks[:, 0] + rng.normal(0, 0.01, len(looks))  # contrast follows brightness
    answers = rng.normal(0, 0.1, (len(looks), 4))
    return looks, answers, [f"photograph {index // PER_GROUP}" for index in range(len(looks))]


def test_the_good_pictures_lie_within_the_limit(good):
    found = familiarity_of(*good)
    measure = found.whole.measure()
    distances = [measure.distance([*looks, *answer]) for looks, answer in zip(good[0], good[1], strict=True)]
    assert np.mean(np.array(distances) <= found.whole.limit) >= 0.97
    assert (found.pictures, found.groups) == (60, 10)


def test_what_breaks_a_correlation_is_far_although_each_value_is_ordinary(good):
    found = familiarity_of(*good)
    looks, answers, _ = good
    ordinary = [*looks.mean(0), *answers.mean(0)]
    odd = list(ordinary)
    odd[0] += 1.5 * looks[:, 0].std()
    odd[3] -= 1.5 * looks[:, 3].std()
    assert found.whole.measure().distance(odd) > found.whole.limit > found.whole.measure().distance(ordinary)


def test_the_limit_comes_from_pictures_without_their_photograph(good):
    """Photographs that differ a lot from each other give a wider limit than the same pictures taken as ten of one kind."""
    looks, answers, groups = good
    shuffled = list(np.random.default_rng(1).permutation(groups))
    assert familiarity_of(looks, answers, groups).whole.limit > familiarity_of(looks, answers, shuffled).whole.limit


def test_too_few_pictures_give_none(good):
    looks, answers, groups = (part[: FEWEST_PICTURES - 1] for part in good)
    assert familiarity_of(looks, answers, groups) is None


def test_equal_pictures_do_not_divide_by_zero():
    found = familiarity_of(np.ones((12, 7)), np.ones((12, 4)), [str(index) for index in range(12)])
    assert np.isfinite(found.whole.measure().distance([1.0] * 11))


def test_statistics_that_are_not_finite_are_refused(good):
    looks, answers, groups = good
    with pytest.raises(EdgeLeatherError, match="finite"):
        familiarity_of(np.where(looks == looks[0, 0], np.nan, looks), answers, groups)


def test_it_is_a_record(good):
    import dataclasses
    import json

    found = familiarity_of(*good)
    assert decode(Familiarity, json.loads(json.dumps(dataclasses.asdict(found))), "") == found
