"""Splits that keep a photograph together (Soares et al. 2023, section 3.4: 70/15/15 of the good, 15 % of the test)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from edgeleather.dataset.index import IndexedSample
from edgeleather.dataset.reading import Sample
from edgeleather.errors import EdgeLeatherError

Picture = TypeVar("Picture", bound=Sample)


@dataclass(frozen=True)
class GoodSplit(Generic[Picture]):
    """Good pictures for training, for validation (early stopping) and for thresholds; `by` says what was kept whole."""

    training: tuple[Picture, ...]
    validation: tuple[Picture, ...]
    threshold: tuple[Picture, ...]
    by: str  # "group", or "image" where there are fewer than three photographs


def leave_out_copies(samples: Sequence[IndexedSample]) -> list[IndexedSample]:
    """The different pictures, with one group for all photographs that share one: a copy is no evidence of its own."""
    group_of: dict[str, str] = {sample.group: sample.group for sample in samples}
    first: dict[str, str] = {}
    for sample in samples:
        group = group_of[sample.group]
        other = group_of[first.setdefault(sample.digest, sample.group)]
        if group != other:
            group_of = {name: other if held == group else held for name, held in group_of.items()}
    different = {sample.digest: sample for sample in reversed(samples)}  # the first of each, last first
    return [replace(sample, group=group_of[sample.group]) for sample in reversed(different.values())]


def split_good(samples: Sequence[Picture], seed: int) -> GoodSplit[Picture]:
    """Split good pictures 70/15/15 by photograph, or by picture where there are fewer than three photographs.

    Raises:
        EdgeLeatherError: fewer than three pictures.
    """
    if len(samples) < 3:
        raise EdgeLeatherError(
            f"expected at least 3 different good pictures (training, validation, threshold), got {len(samples)}. Add more."
        )
    grouped = len({sample.group for sample in samples}) >= 3
    groups: dict[str, list[Picture]] = {}
    for sample in samples:
        groups.setdefault(sample.group if grouped else sample.name, []).append(sample)
    order = np.random.default_rng(seed).permutation(sorted(groups))
    targets = np.array([0.70, 0.15, 0.15]) * len(samples)
    parts: tuple[list[Picture], list[Picture], list[Picture]] = ([], [], [])
    for index, name in enumerate(order):
        # The first three photographs go one to each part, so that none is empty; then the part furthest from its share.
        sizes = np.array([len(part) for part in parts])
        part = (2, 1, 0)[index] if index < 3 else int(np.argmax((targets - sizes) / targets))
        parts[part].extend(groups[str(name)])
    training, validation, threshold = (tuple(sorted(part, key=lambda sample: sample.name)) for part in parts)
    return GoodSplit(training, validation, threshold, "group" if grouped else "image")


def split_test(samples: Sequence[Picture], seed: int, fraction: float = 0.15) -> tuple[Picture, ...]:
    """Choose the test pictures that fit T2 and T3: whole photographs, about `fraction` of every class.

    A class of two or more photographs gives at least one. Empty where that leaves no good or no defective picture on
    either side (T2 and T3 cannot be fitted then).
    """
    wanted = {name: max(1, round(fraction * n)) for name, n in Counter(s.defect_class for s in samples).items()}
    groups: dict[str, list[Picture]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(groups))]
    chosen: list[str] = []
    missing = Counter(wanted)
    for name in order:
        classes = Counter(sample.defect_class for sample in groups[name])
        gain = sum(min(max(missing[key], 0), count) for key, count in classes.items())
        if gain > sum(max(count - max(missing[key], 0), 0) for key, count in classes.items()):
            chosen.append(name)
            missing.subtract(classes)
    for key, count in wanted.items():
        if missing[key] == count:  # every photograph of the class is larger than its share: take the smallest
            holders = [name for name in order if any(s.defect_class == key for s in groups[name])]
            if len(holders) >= 2:
                chosen.append(min(holders, key=lambda name: len(groups[name])))
    picked = tuple(sorted((s for name in chosen for s in groups[name]), key=lambda sample: sample.name))
    rest = [sample for sample in samples if sample.group not in chosen]
    both_sides = all({s.is_good for s in side} == {True, False} for side in (picked, rest))
    return picked if both_sides else ()
