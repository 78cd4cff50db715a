"""The record of a bundle's threshold: scores, thresholds against false alarms and hits, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any

import numpy as np

from edgeleather import __version__
from edgeleather.benchmarks.labelled_scores import (
    CONFIDENCE_PERCENT,
    LabelledScore,
    hit_rate_threshold,
    share,
    share_of,
)
from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import GRAPH_FILES
from edgeleather.bundle.thresholds import Thresholds, can_extrapolate

IN_USE = "in use"
_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)
_HIT_RATES = (0.9, 0.95, 0.99)
_BINS, _TICKS = 60, 5
_LOGARITHMIC_FROM = 4.0  # times the lowest score


@dataclass(frozen=True)
class _Candidate:
    """A threshold of the table: where it comes from, and its score for frames of any number of tiles."""

    origin: str
    of: Callable[[int], float]


def threshold_report(
    bundle: Bundle, graph: str, data: str | None, scored: Sequence[LabelledScore], odd: str | None = None
) -> dict[str, Any]:
    """The record behind the page and the text; `data` names the dataset of the labelled pictures, None without any.

    `odd` says why they seem to be of another leather.
    """
    thresholds = bundle.thresholds_of(graph)
    candidates = _candidates(thresholds, scored)
    rows = [_row(candidate, thresholds, scored) for candidate in candidates]
    rows.sort(key=lambda row: (row["threshold"], row["origin"]))
    in_use = candidates[0]
    wrong = [one for one in scored if _is_wrong(one, in_use.of(one.tiles))]
    return {
        "schema": 1,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgeleather": __version__,
        "bundle": bundle.folder.resolve().name,
        "method": bundle.manifest.method,
        "graph": graph,
        "precision": GRAPH_FILES[graph],
        "confidence_percent": CONFIDENCE_PERCENT,
        "threshold": _threshold(thresholds, scored),
        "good": {
            "pictures": len(thresholds.good_scores),
            "photographs": thresholds.good_groups,
            "supported_percent": 100 / (len(thresholds.good_scores) + 1),
            "scores": sorted(thresholds.good_scores),
        },
        "labelled": None if data is None else _labelled(data, scored),
        "distribution": _distribution(thresholds, scored, rows),
        "thresholds": rows,
        "classes": _classes(scored, in_use),
        "missed": [_told(one, in_use) for one in _by_score(wrong) if not one.sample.is_good],
        "false_alarms": [_told(one, in_use) for one in _by_score(wrong)[::-1] if one.sample.is_good],
        "notes": _notes(thresholds, scored, odd),
    }


def _threshold(thresholds: Thresholds, scored: Sequence[LabelledScore]) -> dict[str, Any]:
    choice = thresholds.choice
    return {
        **asdict(thresholds.verdict),
        "description": thresholds.describe(),
        "choice": None if choice is None else asdict(choice) | {"pictures": len(choice.pictures)},
        "chosen_on": _chosen_on(thresholds, scored),
    }


def _chosen_on(thresholds: Thresholds, scored: Sequence[LabelledScore]) -> int:
    """How many of the labelled pictures the threshold was chosen on."""
    pictures = frozenset(thresholds.choice.pictures if thresholds.choice else ())
    return sum(one.sample.digest in pictures for one in scored)


def _candidates(thresholds: Thresholds, scored: Sequence[LabelledScore]) -> list[_Candidate]:
    """The thresholds of the table, first the one in use."""

    def at(rate: float | None) -> Callable[[int], float]:
        return cache(lambda tiles: thresholds.verdict_for(tiles, rate).value)

    def fixed(value: float) -> Callable[[int], float]:
        return lambda tiles: value

    found = [_Candidate(IN_USE, at(None))]
    supported = 1 / (len(thresholds.good_scores) + 1)
    is_larger = any(one.tiles > thresholds.tiles_per_frame for one in scored)  # then its rate per tile is extrapolated
    for rate in _RATES:
        if can_extrapolate(thresholds.good_scores) or (rate >= supported and not is_larger):
            extrapolated = thresholds.verdict_for(thresholds.tiles_per_frame, rate).rule == "extrapolated"
            found.append(_Candidate(f"{100 * rate:g} % false alarms" + ", extrapolated" * extrapolated, at(rate)))
    for rate in _HIT_RATES if any(not one.sample.is_good for one in scored) else ():
        if (value := hit_rate_threshold(scored, thresholds.good_scores, rate)) is not None:
            found.append(_Candidate(f"{100 * rate:g} % hits on these pictures", fixed(value)))
    if thresholds.t3_image:
        found.append(_Candidate("T3, the best F1 on the pictures set aside for it", fixed(thresholds.t3_image.value)))
    return found


def _row(candidate: _Candidate, thresholds: Thresholds, scored: Sequence[LabelledScore]) -> dict[str, Any]:
    good, value = thresholds.good_scores, candidate.of(thresholds.tiles_per_frame)
    above = share(sum(score > value for score in good), len(good), min(thresholds.good_groups, len(good)))
    return {"threshold": value, "origin": candidate.origin, "good_above": asdict(above), **_counts(scored, candidate)}


def _counts(scored: Sequence[LabelledScore], candidate: _Candidate) -> dict[str, Any]:
    """False alarms (an unfamiliar good picture is one) and hits (an unfamiliar defect is none)."""
    goods = [one for one in scored if one.sample.is_good]
    defects = [one for one in scored if not one.sample.is_good]
    alarms = share_of([one.verdict(candidate.of(one.tiles)) != "good" for one in goods], goods)
    hits = share_of([one.verdict(candidate.of(one.tiles)) == "defect" for one in defects], defects)
    return {"false_alarms": alarms and asdict(alarms), "hits": hits and asdict(hits)}


def _is_wrong(one: LabelledScore, threshold: float) -> bool:
    verdict = one.verdict(threshold)
    return verdict != "good" if one.sample.is_good else verdict != "defect"


def _labelled(data: str, scored: Sequence[LabelledScore]) -> dict[str, Any]:
    return {
        "data": data,
        "pictures": len(scored),
        "photographs": len({one.sample.group for one in scored}),
        "scores": [{"name": one.sample.name, "class": one.sample.defect_class, "score": one.score} for one in scored],
    }


def _by_class(scored: Sequence[LabelledScore]) -> dict[str, list[LabelledScore]]:
    names = sorted({one.sample.defect_class for one in scored}, key=lambda name: (name != "good", name))
    return {name: [one for one in scored if one.sample.defect_class == name] for name in names}


def _classes(scored: Sequence[LabelledScore], in_use: _Candidate) -> list[dict[str, Any]]:
    """By class, good pictures first: how many are called what."""
    rows = []
    for name, of_class in _by_class(scored).items():
        verdicts = [one.verdict(in_use.of(one.tiles)) for one in of_class]
        counts = {verdict: verdicts.count(verdict) for verdict in ("defect", "good", "unfamiliar")}
        rows.append({"class": name, "pictures": len(of_class), **counts, **_counts(of_class, in_use)})
    return rows


def _by_score(scored: Sequence[LabelledScore]) -> list[LabelledScore]:
    return sorted(scored, key=lambda one: one.score)


def _told(one: LabelledScore, in_use: _Candidate) -> dict[str, Any]:
    threshold = in_use.of(one.tiles)
    return {
        "name": one.sample.name,
        "class": one.sample.defect_class,
        "score": one.score,
        "threshold": threshold,
        "verdict": one.verdict(threshold),
        "reason": one.reason(threshold),
    }


def _distribution(
    thresholds: Thresholds, scored: Sequence[LabelledScore], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Counts of scores in bins, one row for the good pictures behind the threshold and one for each labelled class."""
    parts = {"good, left out of the model": list(thresholds.good_scores)}
    for name, of_class in _by_class(scored).items():
        parts["good, labelled" if name == "good" else name] = [one.score for one in of_class]
    values = [*(score for part in parts.values() for score in part), *(row["threshold"] for row in rows)]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    is_logarithmic = low > 0 and high > _LOGARITHMIC_FROM * low
    spaced = np.geomspace if is_logarithmic else np.linspace
    edges = spaced(low, high, _BINS + 1)
    return {
        "is_logarithmic": bool(is_logarithmic),
        "edges": edges.tolist(),
        "ticks": spaced(low, high, _TICKS).tolist(),
        "rows": [
            {"name": name, "pictures": len(part), "counts": _histogram(part, edges.tolist())}
            for name, part in parts.items()
        ],
    }


def _histogram(scores: Sequence[float], edges: Sequence[float]) -> list[int]:
    places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    return [int(count) for count in np.bincount(places, minlength=len(edges) - 1)]


def position_percent(value: float, distribution: dict[str, Any]) -> float:
    """Where a score lies on the distribution's axis, from 0 at its left to 100 at its right."""
    edges: list[float] = distribution["edges"]
    low, high = edges[0], edges[-1]
    if distribution["is_logarithmic"]:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return 100 * (value - low) / (high - low)


def _notes(thresholds: Thresholds, scored: Sequence[LabelledScore], odd: str | None) -> list[str]:
    notes = [f"These pictures may be of another leather: {odd}."] if odd else []
    if chosen_on := _chosen_on(thresholds, scored):
        notes.append(
            f"The threshold in use was chosen on {chosen_on} of these {len(scored)} pictures: its false alarms and hits here "
            "are no measurement."
        )
    if scored and not any(one.sample.is_good for one in scored):
        notes.append("No labelled picture is good, so nothing is known of false alarms beside the left-out scores.")
    if not can_extrapolate(thresholds.good_scores):
        notes.append(f"{len(thresholds.good_scores)} good pictures are too few to extrapolate to rarer rates.")
    if thresholds.tiles_per_frame > 1 or thresholds.input_kind == "tiles":
        notes.append(
            f"Thresholds are for frames of {thresholds.tiles_per_frame} images; frames of more get higher ones, unless the "
            "threshold was chosen as a score or by its hit rate."
        )
    return notes
