"""What a calibration came to, in words and as files: one line per fact, for a terminal, a log or a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeleather.bundle.bundle import Bundle
from edgeleather.bundle.manifest import Calibration
from edgeleather.calibration.calibrating import CalibrationResult, CalibrationSettings, lost_at_hand_over
from edgeleather.calibration.sensitivity import LayerError, picture_of
from edgeleather.files import write_atomically
from edgeleather.machine import is_installed

WORTH_A_WARNING = 0.005  # of image AUROC, of AUPRO
RANKING_FILE, RANKING_PICTURE = "sensitivity.json", "sensitivity.png"


def describe(result: CalibrationResult, settings: CalibrationSettings) -> list[str]:
    """What the new graphs are and what they cost, what was left out, and what `auto` chose."""
    lines = [line for record in result.records for line in describe_graph(result.bundle, record)]
    lines += [f"Left out: {reason}" for reason in result.refused]
    if settings.precision == "auto":
        lines.append(f"Fastest here of what holds the budget: {result.bundle.default_precision}.")
    return lines


def warnings(result: CalibrationResult) -> list[str]:
    """A line for each new graph that loses more on the test pictures than a user should overlook."""
    lines = []
    for record in result.records:
        losses = [
            f"{100 * loss:.1f} points of {name}"
            for name, loss in lost_at_hand_over(result.bundle.manifest, record.graph).items()
            if loss > WORTH_A_WARNING
        ]
        if losses:
            lines.append(
                f"Warning: {record.graph} loses {' and '.join(losses)} on the test pictures. Read the benchmark's report before "
                "you use it; inspect --precision fp32 takes the other graph."
            )
    return lines


def describe_graph(bundle: Bundle, record: Calibration) -> list[str]:
    """What a new graph is and what it cost, one line per fact."""
    lines = []
    if record.map_errors:
        errors = ", ".join(f"{100 * error:.2f} % from {shows}" for shows, error in record.map_errors.items())
        lines.append(
            f"{record.graph}: ranges ({record.range_rule}) from {record.images} {record.images_show}; map error {errors}."
        )
    drops = (("image AUROC", record.cost.auroc_drop), ("AUPRO", record.cost.aupro_drop))
    changes = "".join(f", {name} {0.0 - 100 * drop:+.2f} points" for name, drop in drops if drop is not None)
    lines.append(
        f"{record.graph} against fp32, on pictures that no report counts: map error {100 * record.cost.map_error:.2f} %, "
        f"{len(record.cost.flips)} flipped verdicts{changes}."
    )
    lines += [f"  flipped: {name}" for name in record.cost.flips]
    if record.float_layers:
        kept = f"{len(record.float_layers)} of {record.layers} layers in higher precision"
        lines.append(f"  {kept}: {', '.join(record.float_layers)}")
    if record.float32_nodes:
        lines.append(f"  {len(record.float32_nodes)} nodes stay float32, where FP16 overflows or loses the map")
    if record.median_ms is not None and record.fp32_median_ms is not None:
        times = record.fp32_median_ms / record.median_ms
        slower = f"NOT faster than fp32 ({record.fp32_median_ms:.2f} ms)"
        speed = f"{times:.2f} times as fast as fp32" if times > 1 else slower
        lines.append(f"  {record.median_ms:.2f} ms an image on this machine in ONNX Runtime: {speed}")
    lines.append(f"  verdict: {bundle.thresholds_of(record.graph).describe()}")
    return lines


def result_as_json(result: CalibrationResult, folder: Path) -> dict[str, Any]:
    """The result as values that JSON has; `folder` is the bundle as the user named it."""
    graphs = [
        asdict(record) | {"verdict_threshold": result.bundle.thresholds_of(record.graph).verdict.value}
        for record in result.records
    ]
    return {
        "bundle": str(folder),
        "default_precision": result.bundle.manifest.default_precision,
        "graphs": graphs,
        "refused": result.refused,
    }


def raised_layers(result: CalibrationResult) -> tuple[str, ...]:
    """The layers that the guard, or the dialect, keeps in higher precision in the first new graph."""
    return result.records[0].float_layers if result.records else ()


def write_ranking(ranking: Sequence[LayerError], raised: Sequence[str], folder: Path) -> None:
    """Write the ranking of the layers as JSON and, where matplotlib is installed, as a picture.

    Raises:
        EdgeLeatherError: the folder cannot be written.
    """
    rows = [asdict(error) | {"raised": error.name in raised} for error in ranking]
    write_atomically(folder / RANKING_FILE, (json.dumps(rows, indent=1) + "\n").encode())
    if ranking and is_installed("matplotlib"):
        write_atomically(folder / RANKING_PICTURE, picture_of(ranking, raised))
