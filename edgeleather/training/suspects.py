"""Good pictures that may not be good: those with a part that stands out, and those that are unlike all others.

Real sets of good pictures hold unlabelled defects, dirt, and pictures that are the only one of their article. A Gaussian of
patch features (`methods.gaussian`) judges them, whatever is trained afterwards: it leaves a photograph out exactly and at once.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from edgeleather.arrays import BoolArray, Float32Array, Float64Array
from edgeleather.dataset.index import DatasetIndex, IndexedSample
from edgeleather.dataset.splitting import leave_out_copies
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import read_plain_file
from edgeleather.imaging.appearance import FEWEST_PICTURES
from edgeleather.imaging.preprocess import InputMode
from edgeleather.methods.gaussian import Gaussian, PatchSums, patch_sums, total_of
from edgeleather.progress import track
from edgeleather.training.examples import Examples
from edgeleather.training.loading import ModelImages
from edgeleather.training.run import DEFAULT_USES, Suspect, Use

_FAR_MADS = 4.0  # from the median of all pictures, in median absolute deviations that are scaled to standard deviations
_BATCH_IMAGES = 8
_MOST_ROUNDS = 6  # each without the suspects of the round before, which had made others look ordinary
_COLUMNS = ["file", "reason", "part_mads", "whole_mads", "use"]
_LARGEST_LIST_BYTES = 10_000_000
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgedSuspect:
    """A suspect with its sample and the map float32 [h, w] of the model image that speaks most against it."""

    suspect: Suspect
    sample: IndexedSample
    anomaly_map: Float32Array


class _Judge(Gaussian):
    """A Gaussian whose features are kept, since every round measures the same pictures again."""

    def frozen_features(self, image: Tensor) -> list[Tensor]:
        return [self.raw_features(image)]


def suspects_of(dataset: DatasetIndex, mode: InputMode) -> tuple[JudgedSuspect, ...]:
    """Judge the good training pictures of a dataset as model images of this input mode; see `find_suspects`.

    Raises:
        EdgeLeatherError: a picture cannot be read or does not fit the input mode.
    """
    good = leave_out_copies(dataset.train_good)
    return find_suspects(ModelImages(good, mode, "preparing good pictures"), good)


def find_suspects(images: ModelImages, samples: Sequence[IndexedSample]) -> tuple[JudgedSuspect, ...]:
    """Judge good pictures, each by a Gaussian without its photograph, until no further one is suspect.

    A picture is suspect where the peak of its map (maximum less median), or its map's median, lies more than four scaled
    median absolute deviations above that of the pictures that are not. Fewer than eight pictures are not judged.
    """
    if len(samples) < FEWEST_PICTURES:
        return ()
    judge = _Judge("efficientnet-lite0", images.image_size_hw)
    judge.load_backbone("imagenet")
    with torch.inference_mode():
        rounds = _Rounds(judge.eval(), images, samples)
        part, whole = np.zeros(len(samples), bool), np.zeros(len(samples), bool)
        for turn in range(1, _MOST_ROUNDS + 1):
            maps = rounds.maps(f"judging good pictures, round {turn}")
            peaks, medians = rounds.apart(maps, ~part & ~whole)
            more_part, more_whole = part | (peaks > _FAR_MADS), whole | (medians > _FAR_MADS)
            if np.array_equal(more_part, part) and np.array_equal(more_whole, whole):
                break
            rounds.leave_out(more_part & ~part)
            part, whole = more_part, more_whole
    found = []
    for number in np.flatnonzero(part | whole).tolist():
        sample = samples[number]
        reason = "a part stands out" if part[number] else "unlike all others"
        suspect = Suspect(
            sample.name,
            sample.group,
            sample.digest,
            reason,
            round(float(peaks[number]), 2),
            round(float(medians[number]), 2),
            DEFAULT_USES[reason],
        )
        found.append(JudgedSuspect(suspect, sample, maps[number].worst))
    return tuple(sorted(found, key=lambda one: -max(one.suspect.part_mads, one.suspect.whole_mads)))


@dataclass(frozen=True)
class _PictureMap:
    """What the judge answers to a picture: peak and median over all its model images, and the map with the highest value."""

    peak: float
    median: float
    worst: Float32Array


class _Rounds:
    """The pictures with their features and the sums of their photographs, of which suspects are taken away."""

    def __init__(self, judge: _Judge, images: ModelImages, samples: Sequence[IndexedSample]) -> None:
        self._judge, self._images, self._samples = judge, images, samples
        self._examples = Examples(judge, images)
        by_group = len({sample.group for sample in samples}) >= 3  # as the split does
        self._owners = [sample.group if by_group else sample.name for sample in samples]
        self._indices: list[list[int]] = [[] for _ in samples]
        for index in range(len(images)):
            self._indices[images.sample_of(index)].append(index)
        self._sums: dict[str, PatchSums] = {}
        for number in track(range(len(samples)), "looking at good pictures"):
            owner, sums = self._owners[number], self._sums_of(number)
            self._sums[owner] = self._sums[owner] + sums if owner in self._sums else sums

    def maps(self, label: str) -> list[_PictureMap]:
        """The answers to all pictures, each by a Gaussian without its photograph and without the suspects."""
        total = total_of(self._sums.values())
        found: dict[int, _PictureMap] = {}
        for owner in track(sorted(self._sums), label):
            self._judge.fit(total - self._sums[owner])
            found |= self._answers([number for number, one in enumerate(self._owners) if one == owner])
        return [found[number] for number in range(len(self._samples))]

    def leave_out(self, chosen: BoolArray) -> None:
        """Take pictures out of what the others are measured against."""
        for number in np.flatnonzero(chosen).tolist():
            owner = self._owners[number]
            self._sums[owner] = self._sums[owner] - self._sums_of(number)

    @staticmethod
    def apart(maps: Sequence[_PictureMap], ordinary: BoolArray) -> tuple[Float64Array, Float64Array]:
        """How far every picture's peak and median lie from the ordinary ones', in scaled median absolute deviations."""
        peaks, medians = np.array([one.peak for one in maps]), np.array([one.median for one in maps])
        return _mads(peaks, peaks[ordinary]), _mads(medians, medians[ordinary])

    def _sums_of(self, number: int) -> PatchSums:
        return total_of([patch_sums(features) for features in self._features(number)], pictures=1)

    def _answers(self, numbers: Sequence[int]) -> dict[int, _PictureMap]:
        """The answers of the Gaussian as it is to some pictures."""
        peaks: dict[int, float] = {}
        medians: dict[int, list[float]] = {}
        worst: dict[int, Float32Array] = {}
        owners = [number for number in numbers for _ in self._indices[number]]
        indices = [index for number in numbers for index in self._indices[number]]
        batches = self._examples.batches(_BATCH_IMAGES, indices)
        maps = (one for _, frozen in batches for one in self._judge.map_of(frozen[0]).numpy())
        for number, anomaly_map in zip(owners, maps, strict=True):
            peak = float(anomaly_map.max())
            medians.setdefault(number, []).append(float(np.median(anomaly_map)))
            if peak > peaks.get(number, -np.inf):
                peaks[number], worst[number] = peak, anomaly_map.copy()
        middle = {number: float(np.median(medians[number])) for number in numbers}
        return {one: _PictureMap(peaks[one] - middle[one], middle[one], worst[one]) for one in numbers}

    def _features(self, number: int) -> Iterator[Tensor]:
        for _, frozen in self._examples.batches(_BATCH_IMAGES, self._indices[number]):
            yield frozen[0]


def _mads(values: Float64Array, ordinary: Float64Array) -> Float64Array:
    middle = float(np.median(ordinary))
    deviation = 1.4826 * float(np.median(np.abs(ordinary - middle)))
    return (values - middle) / max(deviation, 1e-3 * abs(middle), 1e-9)  # pictures may be equal


def suspects_csv(suspects: Sequence[Suspect]) -> str:
    """The list as a file for the user to edit: what stands under `use` is done when it is given back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([one.name, one.reason, one.part_mads, one.whole_mads, one.use] for one in suspects)
    return text.getvalue()


def listed_suspects(
    path: Path, samples: Sequence[IndexedSample], elsewhere: Collection[str] = ()
) -> tuple[Suspect, ...]:
    """The pictures of an edited list, with what shall be done with them; pictures that it does not name are good.

    What it says of pictures `elsewhere`, which are of other articles, does not matter.

    Raises:
        EdgeLeatherError: the file cannot be read, lacks a column, or has a picture that there is not or an unknown use.
    """
    try:
        text = read_plain_file(path, _LARGEST_LIST_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EdgeLeatherError(
            f"cannot read {path}: {error}. Make one with: edgeleather dataset suspects DATASET"
        ) from error
    known = {sample.name: sample for sample in samples}
    found = []
    for line, row in enumerate(rows, 2):
        name, use = row.get("file"), row.get("use")
        if name is None or use is None:
            raise EdgeLeatherError(f"{path}: expected the columns file and use, got {', '.join(map(str, row))}.")
        if use not in get_args(Use):
            raise EdgeLeatherError(f"{path}, line {line}: expected a use of {', '.join(get_args(Use))}, got {use!r}.")
        if name not in known and name in elsewhere:
            continue
        if name not in known:
            raise EdgeLeatherError(f"{path}, line {line}: {name} is no good training picture of this dataset.")
        found.append(
            Suspect(name, known[name].group, known[name].digest, row.get("reason") or "listed", 0.0, 0.0, _use(use))
        )
    return tuple(found)


def _use(text: str) -> Use:
    return next(use for use in get_args(Use) if use == text)


def log_suspects(suspects: Sequence[Suspect], pictures: int) -> None:
    """Say how many good pictures are not used, and how to have it otherwise."""
    out, unlike = (sum(one.use == use for one in suspects) for use in ("leave out", "not for the threshold"))
    if out or unlike:
        _LOGGER.warning(
            "%d of %d good pictures are left out, since a part of them stands out, and %d more set no threshold, since they "
            "are unlike all others. Look at them with: edgeleather dataset suspects DATASET; take all with --suspects keep",
            out,
            pictures,
            unlike,
        )
