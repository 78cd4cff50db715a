from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.benchmarks.labelled_scores import (
    LabelledScore,
    hit_rate_threshold,
    share,
    share_of,
    why_another_leather,
)
from edgeleather.dataset.index import DecodedPictures, IndexedSample


def scored(score, defect_class="cut", group="", odd_above=None, odd_below=None):
    name = f"{defect_class}/{score}.png"
    sample = IndexedSample(
        Path(name), name, defect_class, group or name, digest=name, size_hw=(8, 8), decoded=DecodedPictures(0)
    )
    return LabelledScore(sample, score, 1, odd_above, odd_below)


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263 and 15 of 148, method 3."""
    found = share(81, 263, 263)
    assert (found.low_percent, found.high_percent) == pytest.approx((25.53, 36.62), abs=0.01)
    found = share(15, 148, 148)
    assert (found.low_percent, found.high_percent) == pytest.approx((6.24, 16.05), abs=0.01)


@given(st.integers(1, 200), st.data())
def test_the_interval_holds_the_share_and_widens_with_fewer_photographs(pictures, data):
    count, photographs = data.draw(st.integers(0, pictures)), data.draw(st.integers(1, pictures))
    few, many = share(count, pictures, photographs), share(count, pictures, pictures)
    assert 0 <= few.low_percent <= many.low_percent <= many.percent <= many.high_percent <= few.high_percent <= 100


def test_photographs_are_counted_and_no_pictures_give_no_share():
    goods = [scored(1.0 + i, "good", group=f"photograph {i % 2}") for i in range(32)]
    found = share_of([False] * 32, goods)
    assert (found.pictures, found.of, found.photographs) == (0, 32, 2) and found.high_percent > 60
    assert share_of([], []) is None


def test_a_picture_is_unfamiliar_only_where_its_score_lies():
    one = scored(2.0, odd_below="dark")
    assert [one.verdict(threshold) for threshold in (1.0, 3.0)] == ["defect", "unfamiliar"]
    assert one.reason(1.0) is None and one.reason(3.0) == "dark"
    assert scored(2.0, odd_above="black").verdict(1.0) == "unfamiliar"


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=40),
    st.lists(st.floats(0, 10), max_size=40),
    st.floats(0.01, 0.99),
)
def test_a_hit_rate_is_reached_by_the_threshold_and_by_no_much_higher_one(defects, good, rate):
    pictures = [scored(score) for score in defects]
    threshold = hit_rate_threshold(pictures, good, rate)
    assert sum(score > threshold for score in defects) >= rate * len(defects) - 1e-6
    next_one = min(score for score in defects if score > threshold)
    assert sum(score > next_one for score in defects) < rate * len(defects)


def test_the_threshold_lies_midway_to_the_next_lower_score():
    pictures = [*(scored(score) for score in (2.0, 3.0, 4.0)), scored(2.5, "good")]
    assert hit_rate_threshold(pictures, [1.0], 0.6) == 2.75
    assert hit_rate_threshold(pictures, [1.0, 2.8], 0.6) == pytest.approx(2.9)
    assert hit_rate_threshold(pictures, [1.0], 0.99) == 1.5


def test_defects_that_look_too_odd_are_found_at_no_threshold():
    pictures = [scored(9.0, odd_above="black"), scored(2.0)]
    assert hit_rate_threshold(pictures, [1.0], 0.9) is None
    assert hit_rate_threshold(pictures, [1.0], 0.5) == 1.5


def test_another_leather_is_told_by_most_of_its_good_pictures():
    odd = [scored(float(i), "good", odd_below="colour is higher") for i in range(3)]
    fine = [scored(float(i), "good") for i in range(3)]
    assert why_another_leather([*odd, *fine]) is None
    assert "3 of 5 good pictures" in why_another_leather([*odd, *fine[:2]])
    assert "colour is higher" in why_another_leather(odd)
    assert "1 of 1 pictures" in why_another_leather([scored(1.0, odd_above="black")])
