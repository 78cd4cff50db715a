"""The README's table of results, from a report: `python -m edgeleather.benchmarks.results_table REPORT.json README.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeleather.benchmarks.rounds import ORIGINAL
from edgeleather.engines.table import REFERENCE_BACKEND
from edgeleather.errors import EdgeLeatherError

_METRICS = (
    ("image_auroc", 4), ("pixel_auroc", 3), ("aupro", 3), ("f1", 3), ("flips", 0), ("latency_p50_ms", 1), ("size_mb", 1),
)  # fmt: skip


def results_table(report: dict[str, Any]) -> str:
    """One row per bundle, with fp32 and INT8 of ONNX Runtime in each cell, as Markdown."""
    lines = [
        "| method | backbone | preset, epochs | training | image AUROC | pixel AUROC | AUPRO | F1 | flips | p50 ms | MB "
        "| torch p50 ms |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {(row["bundle"], row["backend"], row["precision"]): row for row in report["rows"]}
    for bundle in dict.fromkeys(row["bundle"] for row in report["rows"]):
        fp32, int8 = (rows.get((bundle, REFERENCE_BACKEND, precision)) for precision in ("fp32", "int8"))
        torch = rows.get((bundle, ORIGINAL, "fp32"))
        if fp32 is None:
            raise EdgeLeatherError(f"expected an ONNX Runtime fp32 row of {bundle} in the report, found none.")
        seconds = "-" if fp32["training_seconds"] is None else f"{fp32['training_seconds']:.0f} s"
        preset = f"{fp32['preset']}, {fp32['epochs']}" if fp32["preset"] else "-"
        cells = [f"`{fp32['method']}`", fp32["backbone"], preset, seconds]
        cells += [" / ".join(_number(row, key, digits) for row in (fp32, int8)) for key, digits in _METRICS]
        cells.append(_number(torch, "latency_p50_ms", 1))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def marks(data: str) -> tuple[str, str]:
    """Between which lines of the README the table of a dataset stands."""
    return f"<!-- results {data}: begin -->", f"<!-- results {data}: end -->"


def write_into(readme: str, report: dict[str, Any]) -> str:
    """The README's text with the report's table between its two marks.

    Raises:
        EdgeLeatherError: the marks are not there.
    """
    begin, end = marks(report["data"])
    before, found_begin, rest = readme.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise EdgeLeatherError(f"expected a page with {begin} and {end}, where the table goes; found none.")
    return f"{before}{begin}\n{results_table(report)}{end}{after}"


def _number(row: dict[str, Any] | None, key: str, digits: int) -> str:
    return "-" if row is None or row[key] is None else f"{row[key]:.{digits}f}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("expected two files: REPORT.json README.md")
    report_file, readme_file = map(Path, sys.argv[1:])
    page = write_into(readme_file.read_text(), json.loads(report_file.read_text()))
    readme_file.write_text(page)
