from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.metrics.scores import best_image_f1_threshold, image_auroc, image_f1

labelled = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60)


def split(pairs):
    scores, defective = zip(*pairs, strict=True)
    return np.array(scores, np.float64), np.array(defective, bool)


@given(labelled)
def test_auroc_is_the_share_of_pairs_in_order(pairs):
    scores, defective = split(pairs)
    got = image_auroc(scores, defective)
    if defective.all() or not defective.any():
        assert got is None
        return
    difference = scores[defective][:, None] - scores[~defective][None, :]
    assert got == pytest.approx(np.mean((difference > 0) + 0.5 * (difference == 0)))


@given(labelled)
def test_the_best_f1_threshold_is_no_worse_than_any_score(pairs):
    scores, defective = split(pairs)
    if not defective.any():
        with pytest.raises(ValueError, match="no defective"):
            best_image_f1_threshold(scores, defective)
        return
    best = image_f1(scores, defective, best_image_f1_threshold(scores, defective))
    assert best >= max(image_f1(scores, defective, t - 0.5) for t in scores) - 1e-12


def test_f1_counts_what_lies_above():
    scores, defective = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])
    assert image_f1(scores, defective, 1.5) == pytest.approx(2 * 2 / (3 + 2))
    assert image_f1(scores, defective, 9.0) == 0.0
