"""From a tensor's histogram to the range that its 8 bits cover: all of it, or without its outermost values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from edgeleather.arrays import Float64Array
from edgeleather.calibration.ranges import TensorRange

_TAIL_SHARE = 1e-4  # of the values, that the percentile rule leaves outside at each end
_LEVELS = 255
_SHARES = np.linspace(1.0, 0.3, 71)  # of the whole range, that the entropy rule tries


def minmax(found: TensorRange) -> TensorRange:
    """Everything that was seen."""
    return found


def percentile(found: TensorRange) -> TensorRange:
    """All but the 0.01 % lowest and the 0.01 % highest values, to the edge of a bin."""
    counts, edges = _histogram(found)
    below = np.cumsum(counts) / counts.sum()
    # As much as stays below the share whole bins at a time: a bin that pokes over it is kept.
    first = int(np.searchsorted(below, _TAIL_SHARE, side="right"))
    last = int(np.searchsorted(below, 1.0 - _TAIL_SHARE))
    return _within(found, float(edges[first]), float(edges[min(last, len(counts) - 1) + 1]))


def entropy(found: TensorRange) -> TensorRange:
    """The share of the range whose 255 levels lose the least information, by the Kullback-Leibler divergence.

    Source: Migacz, "8-bit inference with TensorRT", GTC 2017, for ranges with an end on each side of zero.
    """
    counts, edges = _histogram(found)
    centres = np.clip((edges[:-1] + edges[1:]) / 2, found.minimum, found.maximum)
    low, high = min(found.minimum, 0.0), max(found.maximum, 0.0)
    losses = [_divergence(counts, centres, low * share, high * share) for share in _SHARES]
    share = float(_SHARES[int(np.argmin(losses))])
    return _within(found, low * share, high * share)


RANGE_RULES: Mapping[str, Callable[[TensorRange], TensorRange]] = {
    "minmax": minmax,
    "percentile": percentile,
    "entropy": entropy,
}


def _divergence(counts: Float64Array, centres: Float64Array, low: float, high: float) -> float:
    """How far what a range's levels leave of a histogram is from the histogram with its outliers moved to the range's ends."""
    if not low < high:
        return np.inf
    level = np.clip(np.floor((centres - low) / (high - low) * _LEVELS), 0, _LEVELS - 1).astype(np.int64)
    inside = (centres >= low) & (centres <= high)
    if not inside.any():
        return np.inf
    expected = np.where(inside, counts, 0.0)
    first, last = np.flatnonzero(inside)[[0, -1]]
    # Zero, where ReLU piles values up, has a level to itself, and so have the ends, where Clip does.
    exact = np.zeros(len(counts), np.bool_)
    exact[[int(np.argmin(np.abs(centres))), 0, -1]] = True
    spread = np.where(exact, 0.0, expected)
    # What the levels hold comes from inside alone: so a level that outliers pile up in is told from one that is full.
    held = np.bincount(level, spread, _LEVELS)
    share = np.bincount(level, spread > 0, _LEVELS)
    kept = np.where(spread > 0, held[level] / np.maximum(share[level], 1), np.where(exact, expected, 0.0))
    expected[first] += counts[:first].sum()
    expected[last] += counts[last + 1 :].sum()
    used = expected > 0
    p, q = expected[used] / expected.sum(), np.maximum(kept[used], 1e-9) / max(kept.sum(), 1e-9)
    return float((p * np.log(p / q)).sum())


def _histogram(found: TensorRange) -> tuple[Float64Array, Float64Array]:
    counts = np.asarray(found.counts, np.float64)
    edges = (found.first_bin + np.arange(len(counts) + 1, dtype=np.float64)) * found.bin_width
    return counts, np.asarray(edges, np.float64)


def _within(found: TensorRange, low: float, high: float) -> TensorRange:
    return replace(found, minimum=max(found.minimum, low), maximum=min(found.maximum, high))
