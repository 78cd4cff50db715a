"""What the figures say, computed from them: thresholds, rankings, generalisation, more training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeleather.benchmarks.experiment.tables import percent


def findings(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[str]:
    """Sentences, each with the figures behind it; of the first precision only, that nothing is counted twice."""
    first = [row for row in rows if row["precision"] == rows[0]["precision"]]
    found = _thresholds(first)
    for leather in ("first", "second"):
        found += _ranking([row for row in first if row["trained_on"] == row["tested_on"] == leather], leather, names)
    found += _advice(first, names)
    found += _changes(first, names, "generalisation")
    found += _changes(first, names, "more data")
    found += _confound(first, names)
    found += _precisions(rows)
    return found


def _thresholds(rows: Sequence[dict[str, Any]]) -> list[str]:
    sentences = []
    for metric, one, other in (("IoU", "iou_t1", "iou_t2"), ("PRO", "pro_t1", "pro_t2"), ("F1", "f1_t1", "f1_t3")):
        known = [row for row in rows if row[one] is not None and row[other] is not None]
        if not known:
            continue
        wins = sum(row[other] > row[one] for row in known)
        rule = other[-2:].upper()
        means = [sum(row[key] for row in known) / len(known) for key in (one, other)]
        sentences.append(
            f"{metric} is higher at {rule} than at T1 in {wins} of {len(known)} rows; on average {percent(means[1])} % against "
            f"{percent(means[0])} %."
        )
    return sentences


def _ranking(rows: Sequence[dict[str, Any]], leather: str, names: dict[str, str]) -> list[str]:
    sentences = []
    for key, label in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC")):
        ranked = sorted((row for row in rows if row[key] is not None), key=lambda row: -row[key])
        if ranked:
            order = ", ".join(f"{row['method']} {percent(row[key])}" for row in ranked)
            sentences.append(f"On {names[leather]}, trained on it, by {label} in percent: {order}.")
    return sentences


def _advice(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[str]:
    """The paper's: DRAEM for one colour, STFPM for several (section 5); the first leather is its one, the second its several."""
    sentences = []
    for leather, method, case in (("first", "draem", "one colour"), ("second", "stfpm", "several colours")):
        own = [
            row for row in rows if row["trained_on"] == row["tested_on"] == leather and row["image_auroc"] is not None
        ]
        mine = [row["image_auroc"] for row in own if row["method"] == method]
        if mine:
            best = max(row["image_auroc"] for row in own)
            leaders = [row["method"] for row in own if row["image_auroc"] == best]
            place = 1 + sum(row["image_auroc"] > mine[0] for row in own)
            shared = (
                f"first, with {', '.join(name for name in leaders if name != method)}"
                if len(leaders) > 1
                else "the first"
            )
            told = shared if place == 1 else f"number {place}; the first is {', '.join(leaders)} at {percent(best)} %"
            verdict = (
                "not confirmed" if place > 1 else "confirmed" if len(leaders) == 1 else "neither confirmed nor refuted"
            )
            sentences.append(
                f"The paper's advice for {case}, {method}, is {verdict} on {names[leather]}: of {len(own)} methods it is by "
                f"image AUROC {told}."
            )
    return sentences


def _changes(rows: Sequence[dict[str, Any]], names: dict[str, str], kind: str) -> list[str]:
    """Image AUROC under another training set, against that of the leather's own."""
    table = {(row["method"], row["trained_on"], row["tested_on"]): row["image_auroc"] for row in rows}
    sentences = []
    for leather, other in (("first", "second"), ("second", "first")):
        trained = other if kind == "generalisation" else "both"
        changes = {}
        for method in dict.fromkeys(row["method"] for row in rows):
            own, changed = table.get((method, leather, leather)), table.get((method, trained, leather))
            if own is not None and changed is not None:
                changes[method] = 100 * (changed - own)
        if changes:
            listed = ", ".join(
                f"{method} {round(change, 1) + 0.0:+.1f}"
                for method, change in sorted(changes.items(), key=lambda x: -x[1])
            )
            source = names[other] if trained == other else "both leathers"
            sentences.append(
                f"Tested on {names[leather]} but trained on {source}, image AUROC changes by (points): {listed}."
            )
    return sentences


def _confound(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[str]:
    by_leather = {row["tested_on"]: row["sharpness_auroc"] for row in rows if row["sharpness_auroc"] is not None}
    return [
        f"On {names[leather]} the sharpness of a picture alone (variance of its Laplacian at the model's size) tells good from "
        f"defective with an image AUROC of {percent(auroc)} %: a figure near "
        "that may owe it to the scale of the pictures."
        for leather, auroc in sorted(by_leather.items())
    ]


def _precisions(rows: Sequence[dict[str, Any]]) -> list[str]:
    sentences = []
    key = ("method", "trained_on", "tested_on")
    base = {tuple(row[k] for k in key): row for row in rows if row["precision"] == "fp32"}
    for precision in dict.fromkeys(row["precision"] for row in rows if row["precision"] != "fp32"):
        changes = [
            (row["image_auroc"] - same["image_auroc"], row)
            for row in rows
            if row["precision"] == precision
            and (same := base.get(tuple(row[k] for k in key)))
            and row["image_auroc"] is not None
        ]
        if changes:
            worst, row = min(changes, key=lambda change: change[0])
            mean = sum(change for change, _ in changes) / len(changes)
            where = f"{row['method']}, trained on {row['trained_on']}, tested on {row['tested_on']}"
            sentences.append(
                f"{precision} against fp32: image AUROC changes by {100 * mean:+.2f} points on average; the most it loses is "
                f"{-100 * min(worst, 0.0):.2f} ({where})."
            )
    return sentences
