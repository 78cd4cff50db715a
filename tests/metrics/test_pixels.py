"""Against scikit-learn and a plain per-region reference, to 1e-3, as the issue asks."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleather.metrics.pixels import PixelCounts, _bin_values, _bins


def made_maps(seed, count=12, spread=1.0, offset=0.0):
    """Maps in which defects score higher, more or less."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(count):
        mask = np.zeros((48, 56), np.uint8)
        if index % 3:
            for _ in range(1 + index % 4):
                y, x = rng.integers(0, 40, 2)
                mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 12)] = 1
        noise = cv2.GaussianBlur(rng.normal(0, 1, mask.shape), (0, 0), 1.5)
        maps.append((offset + spread * (noise + 0.8 * mask * rng.uniform(0, 1))).astype(np.float32))
        masks.append(mask)
    return maps, masks


def counted(maps, masks):
    counts = PixelCounts()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        counts.add(anomaly_map, mask)
    return counts


def reference_pro(maps, masks, threshold):
    overlaps = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        overlaps += [np.mean(anomaly_map[labels == label] > threshold) for label in range(1, count)]
    return np.mean(overlaps)


def reference_aupro(maps, masks, limit=0.3):
    normal = np.concatenate([m[k == 0] for m, k in zip(maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in np.quantile(normal, np.linspace(1, 0, 3001)):
        points.append((float(np.mean(normal > threshold)), float(reference_pro(maps, masks, threshold))))
    x, y = np.array(sorted(points)).T
    fine = np.linspace(0, limit, 6001)
    return np.trapezoid(np.interp(fine, x, y), fine) / limit if hasattr(np, "trapezoid") else None


@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (1e-3, 5.0), (1e4, -3.0)])
def test_auroc_agrees_with_scikit_learn(spread, offset):
    metrics = pytest.importorskip("sklearn.metrics", reason="the reference is scikit-learn")
    maps, masks = made_maps(1, spread=spread, offset=offset)
    expected = metrics.roc_auc_score(np.concatenate(masks).ravel(), np.concatenate(maps).ravel())
    assert counted(maps, masks).curve().auroc() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", [2, 3])
def test_aupro_agrees_with_the_plain_definition(seed):
    maps, masks = made_maps(seed)
    expected = reference_aupro(maps, masks)
    if expected is None:
        pytest.skip("this numpy has no trapezoid for the reference")
    assert counted(maps, masks).curve().aupro() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_iou_and_pro_at_a_threshold_agree_with_counting(quantile):
    maps, masks = made_maps(4)
    threshold = float(np.quantile(np.concatenate(maps), quantile))
    predicted, truth = np.concatenate(maps) > threshold, np.concatenate(masks) > 0
    hits = (predicted & truth).sum()
    curve = counted(maps, masks).curve()
    assert curve.iou_at(threshold) == pytest.approx(hits / (predicted | truth).sum(), abs=1e-3)
    assert curve.pro_at(threshold) == pytest.approx(reference_pro(maps, masks, threshold), abs=1e-3)


def test_the_best_f1_threshold_is_no_worse_than_any_on_a_grid():
    maps, masks = made_maps(5)
    curve = counted(maps, masks).curve()
    grid = np.quantile(np.concatenate(maps), np.linspace(0, 1, 500))

    def f1(threshold):
        iou = curve.iou_at(threshold)
        return 2 * iou / (1 + iou)

    assert f1(curve.best_f1_threshold()) >= max(f1(float(t)) for t in grid) - 1e-3


def test_t1_is_the_quantile_of_normal_pixels():
    maps, masks = made_maps(6)
    normal = np.concatenate([m[k == 0] for m, k in zip(maps, masks, strict=True)])
    assert counted(maps, masks).normal_quantile(0.99) == pytest.approx(np.quantile(normal, 0.99), rel=1e-3)


def test_memory_does_not_grow_with_the_number_of_maps():
    maps, masks = made_maps(7, count=3)
    counts = PixelCounts()
    counts.add(maps[1], masks[1])
    before = sum(sys.getsizeof(value) for value in vars(counts).values())
    for _ in range(50):
        counts.add(maps[1], masks[1])
    assert sum(sys.getsizeof(value) for value in vars(counts).values()) == before
    assert counts.images == 51


def test_one_kind_of_pixel_alone_has_no_curve_and_nan_is_refused():
    counts = PixelCounts()
    counts.add(np.ones((4, 4), np.float32))
    curve = counts.curve()
    assert curve.auroc() is None and curve.aupro() is None and curve.best_f1_threshold() is None
    assert curve.iou_at(0.5) is None and curve.pro_at(0.5) is None
    assert PixelCounts().curve().iou_at(0.5) is None
    with pytest.raises(ValueError, match="NaN"):
        counts.add(np.full((4, 4), np.nan, np.float32))


def test_a_perfect_map_is_perfect():
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9, 4:9] = 1
    counts = PixelCounts()
    counts.add(mask.astype(np.float32), mask)
    curve = counts.curve()
    assert curve.auroc() == pytest.approx(1.0) and curve.aupro() == pytest.approx(1.0)
    assert curve.iou_at(0.5) == 1.0 and curve.pro_at(0.5) == pytest.approx(1.0)


@settings(max_examples=200)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=50))
def test_bins_keep_the_order_and_nearly_the_value(values):
    array = np.array(sorted(values), np.float64)
    bins = _bins(array)
    assert np.all(np.diff(bins) >= 0)
    kept = _bin_values(bins)
    normal = np.abs(array) > 1e-30
    assert np.allclose(kept[normal], array[normal], rtol=2.5e-4)
