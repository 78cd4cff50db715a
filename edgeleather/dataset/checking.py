"""`dataset check`: every problem of a dataset at once, by file name."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeleather.dataset.index import DatasetIndex, Problem, examine
from edgeleather.dataset.reading import GROUPS_FILE, Dataset, Sample, listed_name, read_dataset, read_groups
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import FEWEST_PICTURES
from edgeleather.imaging.images import is_image, read_image
from edgeleather.imaging.preprocess import check_depth

_FAINT = 32  # of 255; what a JPEG leaves of black beside white


@dataclass(frozen=True)
class Report:
    """The result of a check: the problems, how many pictures it read, and how many of the defective ones have a mask.

    `articles` counts the good training pictures of each article; it is empty where there is only one, without a name. `sizes_hw`
    counts them by size [height, width], the commonest first.
    """

    problems: tuple[Problem, ...]
    train_good: int
    articles: dict[str, int]
    sizes_hw: tuple[tuple[tuple[int, int], int], ...]
    test: dict[str, int]
    masks: int
    groups: int


def check_dataset(root: Path, white_level: int | None = None) -> Report:
    """Read every picture and mask of a dataset and list all that is wrong, what training refuses in the same words.

    `white_level` is the value of 16-bit pictures that is white; without one they are a problem.

    Raises:
        EdgeLeatherError: there is no dataset at all (no folder, no picture, or a malformed groups.csv).
    """
    dataset = read_dataset(root, needs="any")
    index, problems = examine(dataset)
    defective = [sample for sample in dataset.test if not sample.is_good]
    problems += [*_empty_classes(root), *_group_problems(dataset), *_orphan_masks(dataset), *_shared_masks(dataset)]
    problems += _article_problems(index)
    problems += [*_depth_problems(index, white_level), *_leaks(index)]
    problems += [problem for sample in defective for problem in _mask_problems(sample, root)]
    classes = sorted({sample.defect_class for sample in dataset.test})
    return Report(
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.message))),
        train_good=len(dataset.train_good),
        sizes_hw=index.sizes_hw,
        articles={name: len(dataset.of_article(name).train_good) for name in dataset.articles},
        test={name: sum(sample.defect_class == name for sample in dataset.test) for name in classes},
        masks=sum(bool(sample.mask_paths) for sample in defective),
        groups=len({sample.group for sample in (*dataset.train_good, *dataset.test)}),
    )


def _article_problems(index: DatasetIndex) -> Iterator[Problem]:
    """Articles of too few pictures, which training refuses, and test pictures of no article, which it passes over."""
    parts = index.by_article.values()
    for part in parts:
        count = len({one.digest for one in part.train_good})
        if len(parts) > 1 and count < FEWEST_PICTURES:
            folder = posixpath.dirname(part.train_good[0].name)
            yield Problem(
                folder, f"expected at least {FEWEST_PICTURES} different good pictures of an article, got {count}."
            )
    for sample in index.of_no_article:
        known = ", ".join(index.articles)
        yield Problem(sample.name, f"lies in no folder of an article ({known}), so that no model is tested on it.")


def _depth_problems(index: DatasetIndex, white_level: int | None) -> Iterator[Problem]:
    for sample in index.samples:
        try:
            check_depth(sample.pixel_type, white_level)
        except EdgeLeatherError as error:
            yield Problem(sample.name, str(error))


def _mask_problems(sample: Sample, root: Path) -> Iterator[Problem]:
    """What is odd about a mask that can be read: it is of use in training, and yet somebody should look at it."""
    if len(sample.mask_paths) != 1:
        return
    (path,) = sample.mask_paths
    try:
        mask = read_image(path)
    except EdgeLeatherError:
        return  # the index has said why
    name = path.relative_to(root).as_posix()
    brightest = mask.max(axis=2)
    faint = np.count_nonzero((brightest > 0) & (brightest < _FAINT))
    if not mask.any():
        yield Problem(name, "the mask marks no pixel of a defect.")
    elif mask.dtype == np.uint8 and faint and brightest.max() > 127:
        yield Problem(
            name,
            f"{faint} pixels of the mask are nearly black and count as defective, as all that are not black. A JPEG leaves such "
            "pixels around a defect: save the mask as a PNG of black and white.",
        )


def _shared_masks(dataset: Dataset) -> Iterator[Problem]:
    first: dict[Path, Sample] = {}
    for sample in dataset.test:
        for path in sample.mask_paths:
            other = first.setdefault(path, sample)
            if other is not sample:
                yield Problem(
                    sample.name,
                    f"its mask {path.name} could be that of {other.path.name} as well. Rename one picture and its mask.",
                )


def _empty_classes(root: Path) -> list[Problem]:
    folders = [root / "train" / "good"] if (root / "train").is_dir() else []
    folders += sorted(path for path in (root / "test").glob("[!.]*") if path.is_dir())
    return [
        Problem(folder.relative_to(root).as_posix(), "empty class: no picture in this folder.")
        for folder in folders
        if not (folder.is_dir() and any(is_image(path) for path in (*folder.glob("*"), *folder.glob("[!.]*/*"))))
    ]


def _orphan_masks(dataset: Dataset) -> list[Problem]:
    expected = {path for sample in dataset.test for path in sample.mask_paths}
    truth = dataset.root / "ground_truth"
    found = (path for path in sorted((*truth.glob("*/*"), *truth.glob("*/*/*"))) if is_image(path) and path.is_file())
    return [
        Problem(path.relative_to(dataset.root).as_posix(), "mask without image: no picture in test/ belongs to it.")
        for path in found
        if path not in expected
    ]


def _leaks(index: DatasetIndex) -> list[Problem]:
    digests: dict[str, list[Sample]] = {}
    for sample in index.samples:
        digests.setdefault(sample.digest, []).append(sample)
    train_names = {sample.name for sample in index.train_good}
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
    if not os.path.lexists(dataset.root / GROUPS_FILE):
        return []
    samples = (*dataset.train_good, *dataset.test)
    names = {listed_name(sample.name): sample.name for sample in samples}
    unnamed = [names[name] for name in names.keys() - listed.keys()]
    absent = listed.keys() - names.keys()
    problems = [Problem(name, "named in groups.csv, but there is no such picture.") for name in absent]
    problems += [Problem(name, "not named in groups.csv; training refuses that.") for name in unnamed]
    train_groups = {sample.group for sample in dataset.train_good}
    problems += [
        Problem(sample.name, f"photograph {sample.group!r} stands in train and in test.")
        for sample in dataset.test
        if sample.group in train_groups
    ]
    return problems
