from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleather.calibration.range_rules import RANGE_RULES, entropy, minmax, percentile
from edgeleather.calibration.ranges import _Histogram


def found(values):
    histogram = _Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram.range()


def relu_with_outliers(outlier):
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(0, 1, 200_000), 0)
    values[:5] = outlier
    return values


def test_minmax_covers_everything_that_was_seen():
    assert minmax(found(relu_with_outliers(40.0))).maximum == 40.0


@pytest.mark.parametrize("rule", [percentile, entropy])
def test_a_few_outliers_do_not_stretch_the_range(rule):
    plain = rule(found(relu_with_outliers(4.0)))
    stretched = rule(found(relu_with_outliers(12.0)))
    assert plain.minimum == stretched.minimum == 0.0
    assert 3.0 < stretched.maximum < 6.0


def test_percentile_leaves_one_in_ten_thousand_outside_at_each_end():
    values = np.linspace(-1, 1, 1_000_001)
    clipped = percentile(found(values))
    outside = ((values < clipped.minimum).mean(), (values > clipped.maximum).mean())
    bin_share = 1 / 1024
    assert max(outside) <= 1e-4 + bin_share and clipped.maximum <= 1.0
    narrow = percentile(found(np.concatenate([np.linspace(-1, 1, 99_990), np.linspace(50, 60, 5)])))
    assert narrow.maximum < 1.1


def test_entropy_keeps_a_flat_distribution_whole():
    assert entropy(found(np.linspace(0, 5, 100_000))).maximum > 4.9


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=1, max_size=200),
    st.sampled_from(sorted(RANGE_RULES)),
)
def test_a_rule_never_leaves_what_was_seen_and_keeps_the_order(values, rule):
    whole = found(values)
    kept = RANGE_RULES[rule](whole)
    assert whole.minimum <= kept.minimum and kept.maximum <= whole.maximum
    assert min(kept.minimum, 0.0) <= max(kept.maximum, 0.0)
