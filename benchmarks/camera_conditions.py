"""What a bundle says of pictures as a camera gives them that is blind, out of focus, badly exposed or moved.

`python -m edgeleather.benchmarks.camera_conditions BUNDLE... --data DATASET --out FOLDER` writes one table per bundle. The column
that matters is the last: defective pictures that are found as they are and called good under the condition.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import read_bundle
from edgeleather.dataset.index import index_dataset
from edgeleather.files import write_atomically
from edgeleather.inspection.inspector import Inspector, InspectorSettings
from edgeleather.inspection.opening import open_inspector
from edgeleather.machine import cpu_name
from edgeleather.progress import track

Condition = Callable[[UInt8Array], UInt8Array]


@dataclass(frozen=True)
class ConditionRow:
    """The verdicts of one bundle under one condition; `lost` were found as they are, and are called good now."""

    bundle: str
    method: str
    condition: str
    good_pictures: dict[str, int]
    found_pictures: dict[str, int]
    lost: int


def conditions() -> dict[str, Condition]:
    """Every condition by name: from a picture [h, w, 3] BGR to the one that the camera would give; noise is seeded."""
    return {
        "as it is": lambda image: image,
        "black": np.zeros_like,
        "black with noise of 2 levels": lambda image: _noisy(np.full_like(image, 4), 2),
        "white": lambda image: np.full_like(image, 255),
        "grey": lambda image: np.full_like(image, 128),
        "the mean colour of the leather": lambda image: np.full_like(image, image.mean((0, 1)).astype(np.uint8)),
        **{f"blur of {sigma} px": _blur(sigma) for sigma in (1, 2, 4, 20)},
        "motion of 15 px": lambda image: np.asarray(cv2.blur(image, (15, 1)), np.uint8),
        **{f"exposure times {factor:g}": _gain(factor) for factor in (0.8, 0.6, 0.4, 0.1, 1.3, 1.6, 4)},
        "a quarter covered, dark": lambda image: _covered(image, 0.25),
        "six tenths covered, dark": lambda image: _covered(image, 0.6),
        "twice as near": _nearer,
        "upside down": lambda image: np.ascontiguousarray(image[::-1]),
        "noise of 10 levels": lambda image: _noisy(image, 10),
        "haze of 50 %": _hazy,
        "contrast times 0.5": lambda image: _clipped((image - image.mean()) * 0.5 + image.mean()),
        "one dead line": _dead_line,
    }


# These show other leather than the untouched picture, or cover it, so that a defect may be gone with good reason.
MAY_REMOVE_THE_DEFECT = ("a quarter covered, dark", "six tenths covered, dark", "twice as near")


def measure(bundle: Path, data: Path, settings: InspectorSettings) -> list[ConditionRow]:
    """One row per condition for a bundle on the test pictures of a dataset.

    Raises:
        EdgeLeatherError: the bundle or a picture cannot be used.
    """
    test = index_dataset(data, needs="test").test
    good = [sample.read() for sample in test if sample.is_good]
    defective = [sample.read() for sample in test if not sample.is_good]
    rows = []
    method = read_bundle(bundle).manifest.method
    with open_inspector(bundle, settings) as inspector:
        found = [image for image in defective if inspector.inspect(image).verdict == "defect"]
        for name, condition in track(conditions().items(), f"conditions, {bundle.name}", len(conditions())):
            of_good, of_found = (_verdicts(inspector, images, condition) for images in (good, found))
            rows.append(ConditionRow(bundle.name, method, name, of_good, of_found, of_found.get("good", 0)))
    return rows


def markdown(rows: Sequence[ConditionRow]) -> str:
    """The rows as Markdown, one table per bundle."""
    lines = [
        "# Cameras that do not see",
        "",
        f"{cpu_name()}. Verdicts as good / unfamiliar / defect / failed. Lost: found as it is, called good under the condition.",
    ]
    head = "| condition | good pictures | defective pictures that are found as they are | lost |"
    for bundle in dict.fromkeys(row.bundle for row in rows):
        method = next(row.method for row in rows if row.bundle == bundle)
        lines += ["", f"## {bundle} ({method})", "", head, "|---|---:|---:|---:|"]
        for row in rows:
            if row.bundle == bundle:
                cells = [_cell(row.good_pictures), _cell(row.found_pictures), str(row.lost)]
                note = " (the defect may be gone)" if row.condition in MAY_REMOVE_THE_DEFECT else ""
                lines.append(f"| {row.condition}{note} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A dataset with test pictures.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for camera.json and camera.md.")
@click.option("--precision", default=None, help="Which of the bundles' graphs.  [default: the bundles' own]")
def main(bundles: tuple[Path, ...], data: Path, out: Path, precision: str | None) -> None:
    """Inspect DATA through cameras that do not see, with each of the BUNDLES."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for bundle in bundles for row in measure(bundle, data, InspectorSettings(precision=precision))]
    write_atomically(out / "camera.json", (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())
    write_atomically(out / "camera.md", markdown(rows).encode())
    click.echo(markdown(rows))


def _verdicts(inspector: Inspector, images: Sequence[UInt8Array], condition: Condition) -> dict[str, int]:
    return dict(Counter(inspector.inspect(condition(image)).verdict for image in images))


def _cell(verdicts: dict[str, int]) -> str:
    return " / ".join(str(verdicts.get(name, 0)) for name in ("good", "unfamiliar", "defect", "failed"))


def _clipped(image: np.ndarray) -> UInt8Array:
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _noisy(image: UInt8Array, levels: float) -> UInt8Array:
    return _clipped(image + np.random.default_rng(0).normal(0, levels, image.shape))


def _gain(factor: float) -> Condition:
    return lambda image: _clipped(image * factor)


def _blur(sigma_px: float) -> Condition:
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def _covered(image: UInt8Array, share: float) -> UInt8Array:
    covered = image.copy()
    covered[:, : int(image.shape[1] * share)] = 8
    return covered


def _nearer(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[:2]
    centre = image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    return np.asarray(cv2.resize(centre, (width, height)), np.uint8)


def _hazy(image: UInt8Array) -> UInt8Array:
    return _clipped(0.5 * image + 0.5 * cv2.GaussianBlur(image, (0, 0), 25))


def _dead_line(image: UInt8Array) -> UInt8Array:
    with_line = image.copy()
    with_line[len(image) * 2 // 5] = 0
    return with_line


if __name__ == "__main__":
    main()
