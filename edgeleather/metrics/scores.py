"""Image metrics from one score a picture."""

from __future__ import annotations

import numpy as np

from edgeleather.arrays import BoolArray, Float64Array


def image_auroc(scores: Float64Array, defective: BoolArray) -> float | None:
    """Area under the image ROC curve, ties counted half; None where one kind of picture is missing."""
    positives = int(defective.sum())
    negatives = len(defective) - positives
    if not (positives and negatives):
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    return float((ranks[defective].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def image_f1(scores: Float64Array, defective: BoolArray, threshold: float) -> float:
    """F1 of "score above threshold is a defect"."""
    predicted = scores > threshold
    hits = int((predicted & defective).sum())
    return 2 * hits / max(int(predicted.sum()) + int(defective.sum()), 1)


def best_image_f1_threshold(scores: Float64Array, defective: BoolArray) -> float:
    """The score threshold with the best F1, midway between two scores (T3 of Soares et al. 2023, section 3.3).

    Raises:
        ValueError: there is no defective picture.
    """
    if not defective.any():
        raise ValueError("no defective picture among the scores")
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(defective[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + defective.sum())
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    best = int(np.argmax(np.where(last_of_ties, f1, -1.0)))
    lower = ordered[best + 1] if best + 1 < len(ordered) else ordered[best] - 1.0
    return float((ordered[best] + lower) / 2)
