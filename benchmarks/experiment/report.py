"""`edgeleather experiment`: run the trials, then results.json, report.md and one page with everything in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeleather import __version__
from edgeleather.benchmarks.experiment import tables
from edgeleather.benchmarks.experiment.figures import class_samples, maps_of_methods
from edgeleather.benchmarks.experiment.findings import findings
from edgeleather.benchmarks.experiment.paper import paper_tables
from edgeleather.benchmarks.experiment.plan import LEATHERS, ExperimentSettings, Trial, prepare_folder, trials
from edgeleather.benchmarks.experiment.running import run_trials
from edgeleather.benchmarks.experiment.trial import trial_folder
from edgeleather.benchmarks.page import to_page
from edgeleather.dataset.reading import read_dataset
from edgeleather.files import write_atomically
from edgeleather.machine import cpu_name, usable_cores


def run_experiment(settings: ExperimentSettings, out: Path, workers: int) -> dict[str, Any]:
    """Run what is not done yet and write the report; returns results.json.

    Raises:
        EdgeLeatherError: a data set cannot be used, a trial failed, or `out` cannot be written.
    """
    todo = trials(settings)
    prepare_folder(settings, out)
    results = run_trials(settings, todo, out, workers)
    report = assemble(settings, results, workers)
    pictures = _pictures(settings, todo, out)
    for name, content in pictures.items():
        write_atomically(out / name, content)
    text = markdown(report, pictures)
    write_atomically(out / "report.md", text.encode())
    write_atomically(out / "index.html", to_page(text, pictures).encode())
    write_atomically(out / "results.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    return report


def assemble(settings: ExperimentSettings, results: Sequence[dict[str, Any]], workers: int) -> dict[str, Any]:
    """Everything that the page shows, as one record."""
    names = {"first": Path(settings.first).name, "second": Path(settings.second).name, "both": "both leathers"}
    rows = tables.flat_rows(results)
    return {
        "schema": 1,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgeleather": __version__,
        "machine": {"cpu": cpu_name(), "usable_cores": usable_cores(), "python": platform.python_version()},
        "settings": asdict(settings)
        | {"first": names["first"], "second": names["second"], "weights": Path(settings.weights).name},
        "workers": workers,
        "names": names,
        "trials": [_trial_record(result) for result in results],
        "rows": rows,
        "findings": findings(rows, names),
        "paper": paper_tables(),
    }


def _trial_record(result: dict[str, Any]) -> dict[str, Any]:
    """A trial without its rows, and without paths of this machine."""
    kept = {key: value for key, value in result.items() if key != "rows"}
    return kept | {"settings": kept["settings"] | {"weights": Path(kept["settings"]["weights"]).name}}


def markdown(report: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """The report as a Markdown page."""
    rows, names = report["rows"], report["names"]
    blocks = [["# Three experiments on two leathers"], [_what_differs(report)], _how(report)]
    blocks += [["## Findings"], [f"- {sentence}" for sentence in report["findings"]]]
    for pair in tables.pairs(rows):
        chosen = tables.of_pair(rows, pair)
        blocks += [
            [f"## {tables.title(pair, names)}"],
            ["In percent; the paper's figure in brackets."],
            tables.protocol_table(chosen, pair),
            [_BESIDE],
        ]
        blocks.append(tables.better_table(chosen))
        one, sharp = chosen[0], tables.percent(chosen[0]["sharpness_auroc"])
        counts = f"{one['scored_images']} pictures scored, {one['fitted_images']} fitted T2 and T3."
        blocks.append([f"{counts} Sharpness alone: {sharp} %."])
    blocks += [["## Table 4: complexity"], tables.complexity_table(rows, names)]
    blocks.append([
        "Seconds and FPS are the paper's measure: reading, resizing and inferring the whole test set, one picture at a time; the "
        f"engine alone is ONNX Runtime's median. {_others_ran(report['workers'])}"
    ])  # fmt: skip
    blocks += [["## Table 1: the methods' own papers, on MVTec leather"], tables.paper_first_table()]
    for name in pictures:
        blocks += [[f"## {_TITLES[name].format(**names)}"], [f"![{_TITLES[name].format(**names)}]({name})"]]
    blocks += [["## Where the paper contradicts itself"], [f"- {text}" for text in report["paper"]["discrepancies"]]]
    blocks += [["## Trainings"], _trainings(report)]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


_BESIDE = (
    "The same rows as they should be judged: IoU over defective pictures alone (over all, it falls with every good one), AUROC "
    "without a border of 5 % (left out of map and truth, not painted over), and 95 % intervals of a bootstrap over photographs: "
    "of the scored ones for AUROC, of those that fitted T2 and T3 for the rest."
)
_TITLES = {
    "figure-1.png": "Figure 1: defects of {first}",
    "figure-2.png": "Figure 2: defects of {second}",
    "figure-3.png": "Figure 3: maps and contours at T2, {first}",
    "figure-4.png": "Figure 4: maps and contours at T2, {second}",
}


def _others_ran(workers: int) -> str:
    return (
        "No other trial ran at the time." if workers == 1 else f"Up to {workers - 1} other trials ran at the same time."
    )


def _what_differs(report: dict[str, Any]) -> str:
    settings = report["settings"]
    backbones = ", ".join(sorted({trial["backbone"] for trial in report["trials"]} - {"none"})) or "none"
    backbone = "" if backbones == "resnet18" else f"backbone {backbones} instead of ResNet18, "
    first, second = report["names"]["first"], report["names"]["second"]
    return (
        f"These are not the paper's figures: other pixels ({first} and {second} as they lie here), {backbone}weights "
        f"{settings['weights']}, preset {settings['preset']}, budget {settings['budget']}, on {report['machine']['cpu']} with "
        f"{settings['threads']} threads instead of a GTX 1080 Ti."
    )


def _how(report: dict[str, Any]) -> list[str]:
    settings = report["settings"]
    options = f"--first {settings['first']} --second {settings['second']} --methods {','.join(settings['methods'])}"
    options += (
        f" --experiments {','.join(map(str, settings['experiments']))} --precision {','.join(settings['precisions'])}"
    )
    options += f" --preset {settings['preset']} --budget {settings['budget']} --weights {settings['weights']}"
    options += f" --backbone {settings['backbone']}" if settings["backbone"] else ""
    options += f" --seed {settings['seed']} --workers {report['workers']} --out OUT"
    return [
        f"Made by `edgeleather experiment {options}` (EdgeLeather {report['edgeleather']}, {report['created_at']})."
    ]


def _trainings(report: dict[str, Any]) -> list[str]:
    lines = ["| method | trained on | pictures | epochs | training |", "|---|---|---:|---:|---:|"]
    for trial in report["trials"]:
        name = report["names"][trial["trained_on"]]
        lines.append(
            f"| {trial['method']} | {name} | {trial['training_images']} | {trial['epochs']} | {trial['training_seconds']:.0f} s |"
        )
    return lines


def _pictures(settings: ExperimentSettings, todo: Sequence[Trial], out: Path) -> dict[str, bytes]:
    """Figures 1 and 2 of both leathers; 3 and 4 of those that experiment 1 tested."""
    pictures = {}
    for number, folder in ((1, settings.first), (2, settings.second)):
        pictures[f"figure-{number}.png"] = class_samples(read_dataset(Path(folder), needs="test"))
    for number, leather in zip((3, 4), LEATHERS, strict=True):
        own = [
            (trial.method, trial_folder(out, trial) / f"map-{leather}.npz")
            for trial in todo
            if trial.trained_on == leather
        ]
        there = [(method, file) for method, file in own if file.is_file()]
        if there:
            pictures[f"figure-{number}.png"] = maps_of_methods(there)
    return pictures
