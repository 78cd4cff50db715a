"""`dataset check`: every problem of a dataset at once, by file name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeleather.dataset.index import Problem
from edgeleather.dataset.reading import Dataset, Sample, mask_name, read_dataset, read_groups
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.images import image_digest, is_image, read_image
from edgeleather.progress import track


@dataclass(frozen=True)
class Report:
    """What a check found: the problems, and how many pictures and masks it read."""

    problems: tuple[Problem, ...]
    train_good: int
    test: dict[str, int]
    masks: int
    groups: int


def check_dataset(root: Path) -> Report:
    """Read every picture and mask of a dataset and list all that is wrong.

    Raises:
        EdgeLeatherError: there is no dataset at all (no folder, no picture, or a malformed groups.csv).
    """
    dataset = read_dataset(root, needs="any")
    problems = [*_empty_classes(root), *_group_problems(dataset)]
    digests: dict[str, list[Sample]] = {}
    masks = 0
    for sample in track((*dataset.train_good, *dataset.test), "checking"):
        frame_hw, digest, found = _check_picture(sample)
        problems += found
        if digest:
            digests.setdefault(digest, []).append(sample)
        if not sample.is_good:
            masks += sample.mask_path is not None and sample.mask_path.is_file()
            problems += _check_mask(sample, frame_hw)
    problems += _orphan_masks(dataset)
    problems += _leaks(digests, {sample.name for sample in dataset.train_good})
    classes = sorted({sample.defect_class for sample in dataset.test})
    return Report(
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.message))),
        train_good=len(dataset.train_good),
        test={name: sum(sample.defect_class == name for sample in dataset.test) for name in classes},
        masks=masks,
        groups=len({sample.group for sample in (*dataset.train_good, *dataset.test)}),
    )


def _check_picture(sample: Sample) -> tuple[tuple[int, int] | None, str, list[Problem]]:
    try:
        image = sample.read()
    except EdgeLeatherError as error:
        return None, "", [Problem(sample.name, _without_path(error, sample.path))]
    problems = []
    if image.dtype != np.uint8:
        problems.append(Problem(sample.name, f"expected 8 bits a channel, got {image.dtype.itemsize * 8}; convert it."))
    return (image.shape[0], image.shape[1]), image_digest(image), problems


def _check_mask(sample: Sample, frame_hw: tuple[int, int] | None) -> list[Problem]:
    assert sample.mask_path is not None
    name = f"ground_truth/{mask_name(sample.name)}"
    if not sample.mask_path.is_file():
        return [Problem(sample.name, f"image without mask: {name} is missing.")]
    try:
        mask = read_image(sample.mask_path)
    except EdgeLeatherError as error:
        return [Problem(name, _without_path(error, sample.mask_path))]
    if mask.dtype != np.uint8:
        return [Problem(name, f"expected a mask of 8 bits, got {mask.dtype.itemsize * 8}.")]
    problems = []
    if frame_hw is not None and mask.shape[:2] != frame_hw:
        got = f"{mask.shape[1]} x {mask.shape[0]}"
        problems.append(
            Problem(name, f"mask of another size: expected {frame_hw[1]} x {frame_hw[0]} pixels, got {got}.")
        )
    if not mask.any():
        problems.append(Problem(name, "the mask marks no pixel of a defect."))
    elif not np.isin(mask, (0, 255)).all():
        problems.append(Problem(name, "expected only 0 and 255 in a mask, got other values."))
    return problems


def _empty_classes(root: Path) -> list[Problem]:
    folders = [root / "train" / "good"] if (root / "train").is_dir() else []
    folders += sorted(path for path in (root / "test").glob("[!.]*") if path.is_dir())
    return [
        Problem(folder.relative_to(root).as_posix(), "empty class: no picture in this folder.")
        for folder in folders
        if not (folder.is_dir() and any(is_image(path) for path in folder.iterdir()))
    ]


def _orphan_masks(dataset: Dataset) -> list[Problem]:
    expected = {sample.mask_path for sample in dataset.test if sample.mask_path}
    found = (path for path in sorted((dataset.root / "ground_truth").glob("*/*")) if is_image(path))
    return [
        Problem(path.relative_to(dataset.root).as_posix(), "mask without image: no picture in test/ belongs to it.")
        for path in found
        if path not in expected
    ]


def _leaks(digests: dict[str, list[Sample]], train_names: set[str]) -> list[Problem]:
    problems = []
    for samples in digests.values():
        train = [sample.name for sample in samples if sample.name in train_names]
        test = [sample.name for sample in samples if sample.name not in train_names]
        if train:
            problems += [Problem(name, f"the same picture stands in training: {train[0]}.") for name in test]
            problems += [Problem(name, f"the same picture stands in training twice: {train[0]}.") for name in train[1:]]
    return problems


def _group_problems(dataset: Dataset) -> list[Problem]:
    """A photograph must not stand on both sides, and groups.csv must name what there is."""
    listed = read_groups(dataset.root)
    if not os.path.lexists(dataset.root / "groups.csv"):
        return []
    samples = (*dataset.train_good, *dataset.test)
    names = {sample.name for sample in samples}
    problems = [Problem(name, "named in groups.csv, but there is no such picture.") for name in set(listed) - names]
    problems += [Problem(name, "not named in groups.csv; training refuses that.") for name in names - set(listed)]
    train_groups = {sample.group for sample in dataset.train_good}
    problems += [
        Problem(sample.name, f"photograph {sample.group!r} stands in train and in test.")
        for sample in dataset.test
        if sample.group in train_groups
    ]
    return problems


def _without_path(error: EdgeLeatherError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
