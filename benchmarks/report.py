"""The accuracy-against-speed report: `report.json`, `report.md`, raw latencies."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeleather import __version__
from edgeleather.benchmarks.rounds import ORIGINAL, Candidate, Measurement, measure
from edgeleather.bundle.articles import ARTICLES_FILE, bundle_folders
from edgeleather.bundle.bundle import Bundle, read_bundle
from edgeleather.bundle.manifest import FP32_GRAPH, ORIGINAL_FOLDER, describe_suspects
from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.engines.built import signature_file
from edgeleather.engines.engine import MOST_THREADS, backend_module
from edgeleather.engines.table import BACKENDS
from edgeleather.errors import EdgeLeatherError, require_number
from edgeleather.files import require_folder, write_atomically
from edgeleather.machine import cpu_name, is_installed, usable_cores
from edgeleather.training.run import RUN_FILE, read_run

ROUNDS, REPEATS = 5, 20
PICTURE_FILE = "accuracy-speed.png"


def benchmark_bundles(
    bundles: Sequence[Path | str],
    data: Path | str | Dataset,
    out: Path | str,
    rounds: int = ROUNDS,
    repeats: int = REPEATS,
    threads: int | None = None,
    white_level: int | None = None,
) -> dict[str, Any]:
    """Compare each bundle's torch original with its engines and write the report; returns report.json.

    A `white_level` for 16-bit pictures counts instead of the bundles' own.

    Raises:
        EdgeLeatherError: a bundle or the data cannot be used, or `out` cannot be written.

    >>> import edgeleather as el
    >>> report = el.benchmark(["bundle"], "photos", "report", rounds=1, repeats=1)
    >>> sorted({row["precision"] for row in report["rows"]})
    ['fp32', 'int8']
    """
    _require_numbers(rounds, repeats, threads)
    data, out = Path(data) if isinstance(data, str) else data, Path(out)
    opened = _opened(bundles, white_level)
    require_report_folder(out, data if isinstance(data, Path) else data.root)
    index = index_dataset(data, needs="test")
    opened, untested = _with_tests(opened, index)
    measured, peak = _measured(opened, index, rounds, repeats, threads, white_level)
    trained = {bundle.folder: _trained(bundle) for bundle in opened}
    rows = [trained[one.candidate.bundle] | _row(one, measured, peak) for one in measured]
    report = {
        "schema": 1,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgeleather": __version__,
        "machine": {"cpu": cpu_name(), "usable_cores": usable_cores(), "python": platform.python_version()},
        "threads": threads or usable_cores(),
        "data": index.root.name,
        **_tested(_first_of_each_article(rows, measured)),  # of the first bundle; each row has its own
        "rounds": rounds,
        "repeats": repeats,
        "integer_peak_gmacs_per_second": None if peak is None else peak / 1e9,
        "rows": rows,
        "notes": [*_suspects(opened), *untested, *_missing(opened, peak)],
    }
    _write(out, report, measured)
    return report


def _measured(
    bundles: Sequence[Bundle],
    index: DatasetIndex,
    rounds: int,
    repeats: int,
    threads: int | None,
    white_level: int | None,
) -> tuple[list[Measurement], float | None]:
    """The bundles of one article at a time, side by side, on its test pictures; and the machine's integer peak."""
    measured: list[Measurement] = []
    peaks: list[float] = []
    for article in dict.fromkeys(bundle.article for bundle in bundles):
        candidates = [one for bundle in bundles if bundle.article == article for one in _candidates(bundle)]
        found, peak = measure(candidates, index.of_article(article), rounds, repeats, threads, white_level)
        measured += found
        peaks += [] if peak is None else [peak]
    return measured, max(peaks, default=None)


def _first_of_each_article(rows: Sequence[dict[str, Any]], measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The first evaluation of each article."""
    first = {row["article"]: one.evaluation for row, one in reversed(list(zip(rows, measured, strict=True)))}
    return list(first.values())


def _suspects(bundles: Sequence[Bundle]) -> list[str]:
    told = ((_name(bundle.folder), describe_suspects(bundle.manifest.suspects)) for bundle in bundles)
    return [f"{name}: {text}." for name, text in told if text]


def _tested(evaluations: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {
        "tested_images": sum(len(one["images"]) for one in evaluations),
        "tested_defective": sum(image["defective"] for one in evaluations for image in one["images"]),
        "tested_masks": sum(one["tested_masks"] for one in evaluations),
        "left_out_images": sum(len(one["left_out"]) for one in evaluations),
    }


def _name(folder: Path) -> str:
    """The name of a bundle in the report: its folder's, and for one of several articles the outer folder's before it."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}" if (folder.parent / ARTICLES_FILE).is_file() else folder.name


def _require_different_names(bundles: Sequence[Bundle]) -> None:
    if len({_name(bundle.folder) for bundle in bundles}) < len(bundles):
        raise EdgeLeatherError(
            "expected bundles of different names, got two of the same; the report tells them apart by it."
        )


def _with_tests(bundles: Sequence[Bundle], index: DatasetIndex) -> tuple[list[Bundle], list[str]]:
    """The bundles whose article has test pictures, which must fit them; and a note on each of the others.

    Raises:
        EdgeLeatherError: no article has test pictures, or some do not fit.
    """
    tested = [bundle for bundle in bundles if index.of_article(bundle.article).test]
    if not tested:
        folders = ", ".join(dict.fromkeys(f"test/<class>/{bundle.article}" for bundle in bundles))
        raise EdgeLeatherError(
            f"{index.root}: expected test pictures of the bundle's articles in {folders}, found none there."
        )
    for bundle in tested:
        index.of_article(bundle.article).require_fit(bundle.manifest.input_mode)
    without = [bundle for bundle in bundles if bundle not in tested]
    return tested, [
        f"{_name(bundle.folder)}: no test pictures in test/<class>/{bundle.article}, so its hits and false alarms are unmeasured."
        for bundle in without
    ]


def _require_numbers(rounds: int, repeats: int, threads: int | None) -> None:
    require_number("number of rounds", rounds, 1)
    require_number("number of repeats", repeats, 1)
    require_number("number of threads", threads, 1, MOST_THREADS)


def _opened(bundles: Sequence[Path | str], white_level: int | None) -> list[Bundle]:
    if isinstance(bundles, str | Path):  # a text is a sequence, too: of its letters
        raise EdgeLeatherError(f"expected a list of bundles, got {str(bundles)!r}. Put it into a list of one.")
    if not bundles:
        raise EdgeLeatherError("expected at least one bundle to measure, got none.")
    folders = bundle_folders([Path(folder) for folder in bundles])
    opened = [read_bundle(folder).with_white_level(white_level) for folder in folders]
    _require_different_names(opened)
    return opened


def require_report_folder(out: Path, data: Path) -> None:
    """Make the report's folder, before hours of work and not after; its picture must not come among the dataset's.

    Raises:
        EdgeLeatherError: it cannot be made, or holds pictures of the dataset.
    """
    place, root = out.resolve(), data.resolve()
    if place == root or any(place.is_relative_to(root / part) for part in ("train", "test", "ground_truth")):
        raise EdgeLeatherError(
            f"expected a folder for the report that holds none of the dataset's pictures, got {out}. Choose another place."
        )
    require_folder(out)


def _missing(bundles: Sequence[Bundle], peak: float | None) -> list[str]:
    """What the report lacks, and why."""
    notes = [
        f"{_name(bundle.folder)}: exported without its original, so the torch row is missing and flips are unknown."
        for bundle in bundles
        if not _has_original(bundle)
    ]
    if not is_installed("torch"):
        notes.append("torch is not installed here, so the torch row is missing and flips are unknown.")
    if peak is None:
        notes.append(
            "onnx is not installed here, so there is no integer floor. Get it with: pip install 'edgeleather[train]'"
        )
    if not is_installed("matplotlib"):
        notes.append(
            "matplotlib is not installed here, so there is no picture. Get it with: pip install 'edgeleather[report]'"
        )
    return notes


def _write(out: Path, report: dict[str, Any], measured: Sequence[Measurement]) -> None:
    """Write the raw figures, the picture, the page and last the report, to which the picture's name is added."""
    latencies = {_label(one.candidate): one.samples_ns for one in measured}
    scores = {_label(one.candidate): one.evaluation["images"] for one in measured}
    write_atomically(out / "latencies_ns.json", json.dumps(latencies).encode())
    write_atomically(out / "scores.json", json.dumps(scores).encode())
    if is_installed("matplotlib"):
        from edgeleather.benchmarks.picture import accuracy_against_speed

        write_atomically(out / PICTURE_FILE, accuracy_against_speed(report["rows"]))
        report["picture"] = PICTURE_FILE
    write_atomically(out / "report.md", markdown(report).encode("utf-8", "backslashreplace"))
    write_atomically(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())


def markdown(report: dict[str, Any]) -> str:
    """The report as a Markdown page."""
    articles = " article |" if any(row["article"] for row in report["rows"]) else ""
    lines = [
        "# Accuracy against speed",
        "",
        f"{report['tested_images']} test pictures of `{report['data']}`, {_defective(report)}; "
        f"{report['left_out_images']} more were left out, because training or a threshold had seen them.",
        f"{report['machine']['cpu']}, {report['threads']} threads, batch 1; "
        f"{report['rounds']} rounds of {report['repeats']} images alternating between the engines.",
        "",
        f"| bundle |{articles} backend | precision | image AUROC | pixel AUROC | AUPRO | F1 | IoU | hits | false alarms | flips "
        "| p50 ms | p95 ms | p99 ms | FPS | times torch | times fp32 | floor ms | p50 / floor | MB | peak MB |",
        "|---|---|---|" + "---|" * bool(articles) + "---:|" * 18,
    ]
    lines += [_table_line(row, bool(articles)) for row in report["rows"]]
    lines += ["", *_explanation(report)]
    if "picture" in report:
        lines += ["", f"![accuracy against speed]({report['picture']})"]
    lines.append("")
    for row in report["rows"]:
        lines += [
            f"- flipped in {row['bundle']} {row['backend']} {row['precision']}: {text}" for text in row["flipped"]
        ]
    for row in report["rows"]:
        if row["unfamiliar"]:
            where = f"{row['bundle']} {row['backend']} {row['precision']}"
            lines.append(
                f"- unlike the good pictures of the training (unfamiliar) in {where}: {', '.join(row['unfamiliar'])}"
            )
    if len({(row["tested_images"], row["left_out_images"]) for row in report["rows"]}) > 1:
        counts = {row["bundle"]: row["tested_images"] for row in report["rows"]}
        lines.append(f"- tested pictures differ, since each bundle has seen others: {counts}")
    lines += [
        f"- the verdict's threshold of {row['bundle']} {row['backend']} {row['precision']} was chosen on {row['chosen_on']} of "
        "these pictures: its F1, hits and false alarms here are no measurement"
        for row in report["rows"]
        if row["chosen_on"]
    ]
    lines += [f"- {note}" for note in report["notes"]]
    return "\n".join(lines) + "\n"


def _defective(report: dict[str, Any]) -> str:
    """How many pictures are defective and how many of those have masks, and what follows for the figures of pixels."""
    defective, masks = report["tested_defective"], report["tested_masks"]
    told = f"{defective} of them defective"
    if not defective or masks == defective:
        return told
    if not masks:
        return f"{told}, none with a mask, so that there are no pixel AUROC, AUPRO and IoU"
    return f"{told}, {masks} with a mask (pixel AUROC, AUPRO and IoU are of these and the good ones)"


def _table_line(row: dict[str, Any], with_article: bool) -> str:
    cells = [row["bundle"], *[row["article"] or "-"] * with_article, row["backend"], row["precision"]]
    cells += [_cell(row[key], 4) for key in ("image_auroc", "pixel_auroc", "aupro", "f1", "iou")]
    cells += [_cell(row[key], 1, " %") for key in ("hit_percent", "false_alarm_percent")]
    cells.append(_cell(row["flips"], 0))
    cells += [_cell(row[f"latency_p{p}_ms"], 2) for p in (50, 95, 99)]
    cells.append(_cell(row["fps"], 1))
    cells += [_cell(row[key], 2) for key in ("times_torch", "times_fp32", "floor_ms", "times_floor", "size_mb")]
    cells.append(_cell(row["peak_rss_mb"], 0))
    return "| " + " | ".join(cells) + " |"


def _explanation(report: dict[str, Any]) -> list[str]:
    """What the columns mean, in one paragraph."""
    thresholds = sorted({row["pixel_threshold"] for row in report["rows"]})
    text = (
        "F1, hits and false alarms are of the default verdict (set on good pictures only); IoU is over all pixels at "
        f"{' or '.join(thresholds)}; AUPRO is up to a false-positive rate of 30 %. Latency is the engine's alone: one image at "
        "the model's size in, map and score out. A flip is a picture whose verdict differs from the torch original's, each "
        "at its own threshold."
    )
    if report["integer_peak_gmacs_per_second"]:
        text += (
            " Times torch and times fp32 are ratios of p50 to the torch original's and to ONNX Runtime fp32's, in this run. The "
            "floor is the graph's multiply-accumulates at the highest integer rate that 3 x 3 convolutions reached between the "
            f"rounds, {report['integer_peak_gmacs_per_second']:.0f} billion a second: the time if nothing else took any."
        )
    return [text]


def _has_original(bundle: Bundle) -> bool:
    return f"{ORIGINAL_FOLDER}/{RUN_FILE}" in bundle.manifest.files


def _trained(bundle: Bundle) -> dict[str, Any]:
    """What was trained and how; preset and time only where the bundle has its original."""
    run = read_run(bundle.folder / ORIGINAL_FOLDER) if _has_original(bundle) else None
    return {
        "article": bundle.article,
        "method": bundle.manifest.method,
        "backbone": bundle.manifest.backbone,
        "preset": run.settings.preset if run else None,
        "epochs": len(run.losses) if run else None,
        "training_seconds": run.training_seconds if run else None,
    }


def _candidates(bundle: Bundle) -> list[Candidate]:
    """The original, then by backend the bundle's graphs that run here as they are, or the engines that were built here."""
    found = []
    if _has_original(bundle) and is_installed("torch"):
        found.append(Candidate(bundle.folder, ORIGINAL, "fp32", kind="original"))
    for backend, can in BACKENDS.items():
        if can.needs_build:
            precisions = [one for one in can.graphs if signature_file(bundle.folder, backend, one).exists()]
        else:
            precisions = [one for one, names in can.graphs.items() if bundle.manifest.files.keys() & set(names)]
        if precisions and not backend_module(backend).can_run():
            found += [Candidate(bundle.folder, backend, precision) for precision in precisions]
    return found


def _row(one: Measurement, everything: Sequence[Measurement], peak: float | None) -> dict[str, Any]:
    of_bundle = [other for other in everything if other.candidate.bundle == one.candidate.bundle]
    original = next((other for other in of_bundle if other.candidate.kind == "original"), None)
    reference = [other for other in of_bundle if other.candidate.is_reference]
    fp32 = next((other for other in reference if other.candidate.precision == "fp32"), None)
    floor_ms = None
    if peak and one.candidate.precision == "int8":
        from edgeleather.benchmarks.integer_floor import graph_multiply_accumulates

        floor_ms = 1e3 * graph_multiply_accumulates(one.candidate.bundle / FP32_GRAPH) / peak
    flipped = None if original is None else _flips(original, one)
    samples_ms = np.array(one.samples_ns) / 1e6
    p50, p95, p99 = np.percentile(samples_ms, [50, 95, 99])
    metrics = {key: value for key, value in one.evaluation.items() if key not in ("images", "left_out")}
    return {
        "bundle": _name(one.candidate.bundle),
        "tested_images": len(one.evaluation["images"]),
        "left_out_images": len(one.evaluation["left_out"]),
        "backend": one.candidate.backend,
        "precision": one.candidate.precision,
        **metrics,
        "flips": None if flipped is None else len(flipped),
        "flipped": flipped or [],
        "unfamiliar": [image["name"] for image in one.evaluation["images"] if image["verdict"] == "unfamiliar"],
        "latency_p50_ms": float(p50),
        "latency_p95_ms": float(p95),
        "latency_p99_ms": float(p99),
        "fps": float(1e3 / samples_ms.mean()),
        "times_torch": _times(original, p50),
        "times_fp32": _times(fp32, p50),
        "floor_ms": floor_ms,
        "times_floor": None if floor_ms is None else float(p50 / floor_ms),
        "size_mb": one.size_mb,
        "peak_rss_mb": one.peak_rss_mb,
        "device": one.signature["device"],
        "versions": one.signature["versions"],
    }


def _times(reference: Measurement | None, p50_ms: float) -> float | None:
    return None if reference is None else float(np.median(reference.samples_ns) / 1e6 / p50_ms)


def _flips(original: Measurement, one: Measurement) -> list[str]:
    pairs = zip(original.evaluation["images"], one.evaluation["images"], strict=True)
    return [
        f"{a['name']} ({a['verdict']} at {a['score']:.4f} in torch, {b['verdict']} at {b['score']:.4f})"
        for a, b in pairs
        if a["verdict"] != b["verdict"]
    ]


def _label(candidate: Candidate) -> str:
    return f"{_name(candidate.bundle)} {candidate.backend} {candidate.precision}"


def _cell(value: float | None, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"
