"""`dataset synth`: a whole data set of procedural leather in MVTec layout, and a strip of it as a film."""

from __future__ import annotations

import csv
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.leather import HIDES, PRESETS, leather
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write
from edgeleather.imaging.images import write_image
from edgeleather.progress import track

_PER_PHOTOGRAPH = 4  # good pictures cut from one procedural photograph: a quarter each; a defect has one to itself


@dataclass(frozen=True)
class SynthSettings:
    """How much to make: pictures of `size_px` square, good ones in train and test, defective ones a class."""

    preset: str = "single-colour"
    size_px: int = 256
    train_good: int = 40
    test_good: int = 12
    defects_per_class: int = 3
    seed: int = 0


def synthesize_dataset(out: Path, settings: SynthSettings) -> None:
    """Write a synthetic data set; the same settings give the same bytes.

    Raises:
        EdgeLeatherError: `out` exists and is not empty, or cannot be written (nothing half-made stays behind).
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EdgeLeatherError(f"expected a new or empty folder at {out}, found something there. Choose another --out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    try:
        groups = _write_pictures(staging, settings)
        with (staging / "groups.csv").open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("file", "group"))
            writer.writerows(sorted(groups.items()))
        staging.chmod(0o755)
        staging.replace(out)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def strip_with_defects(length_px: int, settings: SynthSettings) -> tuple[UInt8Array, UInt8Array]:
    """A strip of leather, [size, length, 3] RGB, with a defect every third window, and its mask [size, length]."""
    size = settings.size_px
    rng = np.random.default_rng((settings.seed, 77))
    strip = leather((size, length_px), HIDES[PRESETS[settings.preset][0]], rng)
    mask = np.zeros(strip.shape[:2], np.uint8)
    kinds = list(DEFECTS)
    for number, left in enumerate(range(2 * size, length_px - size, 3 * size)):
        window = np.ascontiguousarray(strip[:, left : left + size])
        strip[:, left : left + size], mask[:, left : left + size] = paste_defect(
            window, kinds[number % len(kinds)], rng
        )
    return strip, mask


def _write_pictures(root: Path, settings: SynthSettings) -> dict[str, str]:
    plan = [("train/good", settings.train_good), ("test/good", settings.test_good)]
    plan += [(f"test/{kind}", settings.defects_per_class) for kind in DEFECTS]
    jobs = [(place, index) for place, count in plan for index in range(count)]
    groups: dict[str, str] = {}
    for place, index in track(jobs, "synthetic leather"):
        kind = place.split("/")[1]
        per_photograph = _PER_PHOTOGRAPH if kind == "good" else 1
        number, quarter = divmod(index, per_photograph)
        if quarter == 0:
            photograph = _photograph(place, number, settings, 1 if kind != "good" else 2)
        picture = _cut_out(photograph, quarter, settings.size_px)
        name = f"{place}/{index:03d}.png"
        if kind != "good":
            rng = np.random.default_rng(_seed(settings, place, index, 1))
            picture, mask = paste_defect(picture, kind, rng)
            _write(root / "ground_truth" / kind / f"{index:03d}_mask.png", mask)
        _write(root / name, np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8))
        groups[name] = f"{place.replace('/', '-')}-{number:03d}"
    return groups


def _photograph(place: str, number: int, settings: SynthSettings, widths: int) -> UInt8Array:
    """A photograph as many pictures wide and high as `widths`; photographs take turns with the preset's hides."""
    side = widths * settings.size_px
    rng = np.random.default_rng(_seed(settings, place, number, 0))
    hides = PRESETS[settings.preset]
    turn = number + (list(DEFECTS).index(place.split("/")[1]) if place.split("/")[1] in DEFECTS else 0)
    return leather((side, side), HIDES[hides[turn % len(hides)]], rng)


def _cut_out(photograph: UInt8Array, quarter: int, size: int) -> UInt8Array:
    y, x = (size * n for n in divmod(quarter, 2))
    return np.ascontiguousarray(photograph[y : y + size, x : x + size])


def _seed(settings: SynthSettings, place: str, number: int, use: int) -> tuple[int, ...]:
    return (settings.seed, use, number, *place.encode())


def _write(path: Path, image: UInt8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)
