"""The paper's tables 2 to 8 with our figures, the paper's beside them in brackets, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgeleather.benchmarks.experiment.paper import TABLE_OF, paper_tables, paper_value

COLUMNS = (
    ("iou_t1", "IoU T1"), ("iou_t2", "IoU T2"), ("pro_t1", "PRO T1"), ("pro_t2", "PRO T2"), ("pixel_auroc", "AUROC"),
    ("f1_t1", "F1 T1"), ("f1_t3", "F1 T3"), ("image_auroc", "image AUROC"),
)  # fmt: skip
BETTER = (
    ("aupro", "AUPRO"), ("iou_t1_defective", "IoU T1, defective only"), ("iou_t2_defective", "IoU T2, defective only"),
    ("pixel_auroc_cleared", "AUROC, border left out"), ("image_auroc_cleared", "image AUROC, border left out"),
    ("image_auroc_same_scale", "image AUROC, pictures at one scale"),
)  # fmt: skip
INTERVALS = (
    ("image_auroc_interval", "image AUROC, 95 %"), ("iou_t2_interval", "IoU T2, 95 %"), ("f1_t3_interval", "F1 T3, 95 %")
)  # fmt: skip


def flat_rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record a method, training set, tested leather and precision."""
    shared = ("method", "trained_on", "backbone", "training_seconds", "training_images", "epochs")
    return [{key: result[key] for key in shared} | row for result in results for row in result["rows"]]


def pairs(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The pairs (trained on, tested on) that there are, in the order of the paper's tables."""
    there = {(row["trained_on"], row["tested_on"]) for row in rows}
    return [pair for pair in sorted(TABLE_OF, key=lambda pair: TABLE_OF[pair]) if pair in there]


def of_pair(rows: Iterable[dict[str, Any]], pair: tuple[str, str]) -> list[dict[str, Any]]:
    """The rows of a pair."""
    return [row for row in rows if (row["trained_on"], row["tested_on"]) == pair]


def title(pair: tuple[str, str], names: dict[str, str]) -> str:
    """What a table shows, in words."""
    paper = paper_tables()["tables"][TABLE_OF[pair]]["title"]
    return f"Table {TABLE_OF[pair]}: tested on {names[pair[1]]}, trained on {names[pair[0]]} (the paper: {paper})"


def protocol_table(rows: Sequence[dict[str, Any]], pair: tuple[str, str]) -> list[str]:
    """The paper's columns in percent, the paper's own figure in brackets."""
    lines = [
        "| method | precision | " + " | ".join(name for _, name in COLUMNS) + " |",
        "|---|---|" + "---:|" * len(COLUMNS),
    ]
    for row in rows:
        cells = [_with_paper(row, pair, key) for key, _ in COLUMNS]
        lines.append(f"| {row['method']} | {row['precision']} | " + " | ".join(cells) + " |")
    return lines


def better_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Beside the paper's columns: what they should have been, and how sure they are, in percent."""
    names = [name for _, name in (*BETTER, *INTERVALS)]
    lines = ["| method | precision | " + " | ".join(names) + " |", "|---|---|" + "---:|" * len(names)]
    for row in rows:
        cells = [percent(row[key]) for key, _ in BETTER]
        cells += [
            "-" if row[key] is None else f"{percent(row[key][0])} to {percent(row[key][1])}" for key, _ in INTERVALS
        ]
        lines.append(f"| {row['method']} | {row['precision']} | " + " | ".join(cells) + " |")
    return lines


def complexity_table(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> list[str]:
    """Table 4: the models of experiment 1, or of whatever was trained where that was not run."""
    lines = [
        "| method | precision | tested on | seconds, whole test set | FPS | engine alone, ms | MB | the paper: seconds | FPS |",
        "|---|---|---|" + "---:|" * 6,
    ]
    own = [row for row in rows if row["trained_on"] == row["tested_on"]] or list(rows)
    paper = paper_tables()["tables"]["4"]["rows"]
    for row in own:
        index = 0 if row["tested_on"] == "first" else 1
        theirs = paper.get(row["method"])
        cells = [
            f"{row['test_seconds']:.2f}",
            f"{row['test_fps']:.1f}",
            f"{row['engine_median_ms']:.2f}",
            f"{row['size_mb']:.1f}",
        ]
        cells += [f"{theirs[key][index]:.2f}" if theirs else "-" for key in ("seconds", "fps")]
        lines.append(
            f"| {row['method']} | {row['precision']} | {names[row['tested_on']]} | " + " | ".join(cells) + " |"
        )
    return lines


def paper_first_table() -> list[str]:
    """Table 1, which is the paper's alone."""
    lines = ["| method | image AUROC | pixel AUROC |", "|---|---:|---:|"]
    for method, row in paper_tables()["tables"]["1"]["rows"].items():
        cells = ["-" if value is None else f"{value:.2f}" for value in (row["image_auroc"], row["pixel_auroc"])]
        lines.append(f"| {method} | {cells[0]} | {cells[1]} |")
    return lines


def percent(share: float | None) -> str:
    """A share of 1 in percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


def _with_paper(row: dict[str, Any], pair: tuple[str, str], key: str) -> str:
    theirs = paper_value(*pair, row["method"], key)
    return percent(row[key]) + ("" if theirs is None else f" ({theirs:.2f})")
