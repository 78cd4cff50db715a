"""What is to be run: the trials, one a method and training set, and what a budget allows each."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeleather.backbones.loading import build_backbone
from edgeleather.dataset.reading import Dataset, read_dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, write_atomically
from edgeleather.methods.table import METHODS
from edgeleather.records import read_record

LEATHERS = ("first", "second")
IMAGE_SIDE_PX = 256  # section 3.4
# Epochs of the budget "quick", for a training in well under a minute on two cores; "full" is the preset's own.
QUICK_EPOCHS = {
    "cflow": 5,
    "draem": 3,
    "gaussian": 1,
    "memory-bank": 1,
    "reverse-distillation": 12,
    "ssim-ae": 16,
    "stfpm": 10,
}


@dataclass(frozen=True)
class ExperimentSettings:
    """What a user chooses of an experiment; paths are absolute."""

    first: str
    second: str
    methods: tuple[str, ...]
    experiments: tuple[int, ...]
    precisions: tuple[str, ...]
    preset: str
    budget: str
    backbone: str | None
    weights: str
    seed: int
    threads: int


@dataclass(frozen=True)
class Trial:
    """One training, and the leathers ("first", "second") it is tested on."""

    method: str
    trained_on: str
    tested_on: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.method}-{self.trained_on}"


def trials(settings: ExperimentSettings) -> list[Trial]:
    """The trainings that the chosen experiments need, each once: experiment 2 tests the models of experiment 1.

    Raises:
        EdgeLeatherError: no such method or experiment.
    """
    if unknown := [name for name in settings.methods if name not in METHODS]:
        raise EdgeLeatherError(f"expected methods of {', '.join(METHODS)}, got {', '.join(unknown)}.")
    chosen = set(settings.experiments)
    found = []
    for method in settings.methods:
        for leather, other in (LEATHERS, LEATHERS[::-1]):
            tested = [*([leather] if 1 in chosen else []), *([other] if 2 in chosen else [])]
            if tested:
                found.append(Trial(method, leather, tuple(sorted(tested))))
        if 3 in chosen:
            found.append(Trial(method, "both", LEATHERS))
    return found


def data_folder(settings: ExperimentSettings, out: Path, name: str) -> Path:
    """Where a training or test set lies: the user's folders, or the one that joins them."""
    return {"first": Path(settings.first), "second": Path(settings.second)}.get(name, out / "both")


def prepare_folder(settings: ExperimentSettings, out: Path) -> None:
    """Make the output folder, or go on in it; with experiment 3 also the data set that joins both leathers, of links.

    Raises:
        EdgeLeatherError: a data set cannot be used, or `out` holds an experiment of other settings.
    """
    if settings.backbone is not None:
        build_backbone(settings.backbone, ())
    if settings.weights not in ("imagenet", "random") and not Path(settings.weights).is_file():
        raise EdgeLeatherError(f"expected weights imagenet, random or a file, got {settings.weights}.")
    for folder in (settings.first, settings.second):
        read_dataset(Path(folder), needs="train")
        read_dataset(Path(folder), needs="test")
    plan = (json.dumps(asdict(settings), indent=1) + "\n").encode()
    file = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if file.exists() and _same_but_threads(file) != replace(settings, threads=0):
            raise EdgeLeatherError(f"{out} holds an experiment of other settings. Choose another --out, or delete it.")
        if not file.exists() and any(out.iterdir()):
            raise EdgeLeatherError(
                f"expected a new or empty folder at {out}, found something there. Choose another --out."
            )
        write_atomically(file, plan)
        if 3 in settings.experiments and not (out / "both" / "groups.csv").is_file():
            _join(settings, out / "both")
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error


def _same_but_threads(file: Path) -> ExperimentSettings:
    """The settings of the experiment that is here; how many threads a trial took is no part of what it found."""
    return replace(read_record(ExperimentSettings, file, "Choose another --out."), threads=0)


def _join(settings: ExperimentSettings, folder: Path) -> None:
    """One data set of both, of links; its groups.csv comes last and says that it is whole."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = []
    for prefix, root in zip(LEATHERS, (settings.first, settings.second), strict=True):
        for target, name, group in _files(read_dataset(Path(root), needs="any")):
            place, file = os.path.split(name)
            link = folder / place / f"{prefix}-{file}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.resolve())
            if group is not None:
                rows.append((f"{place}/{prefix}-{file}", f"{prefix}/{group}"))
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([("file", "group"), *rows])
    write_atomically(folder / "groups.csv", stream.getvalue().encode())


def _files(dataset: Dataset) -> Iterator[tuple[Path, str, str | None]]:
    """Every picture and mask of a data set with its name in it; a mask has no group."""
    for sample in dataset.train_good:
        yield sample.path, f"train/good/{sample.path.name}", sample.group
    for sample in dataset.test:
        yield sample.path, sample.name, sample.group
        for path in sample.mask_paths:
            yield path, f"ground_truth/{sample.defect_class}/{path.name}", None
