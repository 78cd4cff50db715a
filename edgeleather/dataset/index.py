"""A dataset's index: each picture read once, what is wrong found at once, and handed on through every step that needs it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.dataset.reading import Dataset, Sample, read_dataset, require_groups, require_part
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.imaging.images import image_digest
from edgeleather.imaging.preprocess import InputMode, check_frame
from edgeleather.progress import track

KEPT_BYTES = 512 << 20  # of decoded pictures and masks; the others are decoded again each time
_TOLD_PROBLEMS = 10
_TOLD_FILES = 3  # of one problem

Pixels = TypeVar("Pixels", bound=AnyArray)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one file (a path inside the dataset)."""

    file: str
    message: str


class DecodedPictures:
    """Decoded pictures and masks by name, read only, until they take `most_bytes`; the first ones stay."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: dict[str, AnyArray] = {}

    def get(self, name: str, decode: Callable[[], Pixels]) -> Pixels:
        """The kept array of this name, or what `decode` gives."""
        if name in self._kept:
            return self._kept[name]  # type: ignore[return-value] # a name is of one picture or one mask
        pixels = decode()
        if self._bytes + pixels.nbytes <= self._most_bytes:
            pixels.flags.writeable = False
            self._kept[name] = pixels
            self._bytes += pixels.nbytes
        return pixels


@dataclass(frozen=True)
class IndexedSample(Sample):
    """A picture whose pixels are known by their digest, size [height, width] and type."""

    digest: str = field(kw_only=True)
    size_hw: tuple[int, int] = field(kw_only=True)
    pixel_type: str = field(default="uint8", kw_only=True)
    decoded: DecodedPictures = field(kw_only=True, repr=False, compare=False)

    def read(self) -> AnyArray:
        """The picture as BGR, the one that was indexed.

        Raises:
            EdgeLeatherError: the file cannot be read, or shows something else than when it was indexed.
        """
        return self.decoded.get(self.name, self._read_unchanged)

    def read_mask(self, frame_hw: tuple[int, int]) -> UInt8Array | None:
        """See `Sample.read_mask`."""
        mask = super().read_mask
        if not self.mask_paths:
            return mask(frame_hw)
        kept = self.decoded.get(f"mask of {self.name}", lambda: cast("UInt8Array", mask(frame_hw)))
        return kept if kept.shape == frame_hw else mask(frame_hw)

    def misfit(self, mode: InputMode) -> Problem | None:
        """Why an input mode does not take this picture; None where it does."""
        try:
            check_frame(self.size_hw, self.pixel_type, mode)
        except EdgeLeatherError as error:
            return Problem(self.name, str(error))
        return None

    def _read_unchanged(self) -> AnyArray:
        image = super().read()
        if image_digest(image) != self.digest:
            raise EdgeLeatherError(f"{self.path}: the picture has changed while it was being used. Start again.")
        return image


@dataclass(frozen=True)
class DatasetIndex(Dataset):
    """A dataset every picture of which was read."""

    train_good: tuple[IndexedSample, ...]
    test: tuple[IndexedSample, ...]

    @property
    def samples(self) -> tuple[IndexedSample, ...]:
        return (*self.train_good, *self.test)

    @property
    def sizes_hw(self) -> tuple[tuple[tuple[int, int], int], ...]:
        """The sizes [height, width] of the good training pictures, and how many have each, the commonest first."""
        return tuple(Counter(sample.size_hw for sample in self.train_good).most_common())

    def require_fit(self, mode: InputMode) -> None:
        """Refuse pictures that an input mode does not take, before hours of work with the others.

        Raises:
            EdgeLeatherError: pictures of another depth, aspect ratio or size: all of them are named.
        """
        refuse(self.root, [problem for sample in self.samples if (problem := sample.misfit(mode))])


def index_dataset(source: Path | Dataset, *, needs: str, kept_bytes: int = KEPT_BYTES) -> DatasetIndex:
    """Read every picture and mask of a dataset once; an index is returned as it is.

    With `needs` "test" the training pictures are left out: a report needs none. For "train" and "any" see `read_dataset`.

    Raises:
        EdgeLeatherError: no such dataset, a groups.csv that leaves pictures out, or pictures or masks that cannot be used: all
            of them are named.
    """
    dataset = read_dataset(source, needs=needs) if isinstance(source, Path) else source
    require_part(dataset, needs)
    if isinstance(dataset, DatasetIndex):
        return dataset
    if needs == "train":
        require_groups(dataset)
    if needs == "test":
        dataset = Dataset(dataset.root, (), dataset.test)
    index, problems = examine(dataset, kept_bytes)
    refuse(dataset.root, problems)
    return index


def refuse(root: Path, problems: Sequence[Problem]) -> None:
    """Refuse a dataset that has problems, with the files of each.

    Raises:
        EdgeLeatherError: there is a problem.
    """
    files: dict[str, list[str]] = {}
    for problem in problems:
        files.setdefault(problem.message, []).append(problem.file)
    if not problems:
        return
    told = [f"{_listed(files[message])}: {message}" for message in list(files)[:_TOLD_PROBLEMS]]
    untold = sum(len(files[message]) for message in list(files)[_TOLD_PROBLEMS:])
    told += [f"And {untold} more; all are listed by: edgeleather dataset check"] if untold else []
    raise EdgeLeatherError(f"{root}: {len(problems)} pictures or masks cannot be used. {' '.join(told)}")


def _listed(files: Sequence[str]) -> str:
    more = len(files) - _TOLD_FILES
    return ", ".join(files[:_TOLD_FILES]) + (f" and {more} more" if more > 0 else "")


def examine(dataset: Dataset, kept_bytes: int = 0) -> tuple[DatasetIndex, list[Problem]]:
    """The index of the pictures that can be read, and what is wrong with the others and with masks, in the dataset's order."""
    decoded = DecodedPictures(kept_bytes)
    problems: list[Problem] = []
    parts: tuple[list[IndexedSample], list[IndexedSample]] = ([], [])
    total = len(dataset.train_good) + len(dataset.test)
    both = ((sample, part) for part, samples in enumerate((dataset.train_good, dataset.test)) for sample in samples)
    for sample, part in track(both, "reading pictures", total):
        try:
            image = sample.read()
        except EdgeLeatherError as error:
            problems.append(Problem(sample.name, str(error).removeprefix(f"{printable(str(sample.path))}: ")))
            continue
        found = _indexed(sample, image, decoded)
        decoded.get(sample.name, lambda image=image: image)  # type: ignore[misc] # its default is its type
        parts[part].append(found)
        try:
            found.read_mask(found.size_hw)
        except EdgeLeatherError as error:
            problems.append(_mask_problem(sample, str(error)))
    return DatasetIndex(dataset.root, tuple(parts[0]), tuple(parts[1])), problems


def write_index(index: DatasetIndex) -> bytes:
    """An index as JSON, for another process on this machine; see `read_index`."""
    parts = {name: [_plain(sample) for sample in getattr(index, name)] for name in ("train_good", "test")}
    return json.dumps({"root": str(index.root), **parts}).encode()


def read_index(path: Path) -> DatasetIndex:
    """The index that another process wrote; it keeps no pictures, and each is checked when it is read."""
    data = json.loads(path.read_bytes())
    decoded = DecodedPictures(0)
    parts = (tuple(_from_plain(row, decoded) for row in data[name]) for name in ("train_good", "test"))
    return DatasetIndex(Path(data["root"]), *parts)


def _indexed(sample: Sample, image: AnyArray, decoded: DecodedPictures) -> IndexedSample:
    size_hw = (image.shape[0], image.shape[1])
    digest, pixel_type = image_digest(image), image.dtype.name
    return IndexedSample(**vars(sample), digest=digest, size_hw=size_hw, pixel_type=pixel_type, decoded=decoded)


def _mask_problem(sample: Sample, message: str) -> Problem:
    """The mask where a mask does not decode; for all else, the picture that the mask should belong to."""
    for path in sample.mask_paths:
        of_mask = message.removeprefix(f"{printable(str(path))}: ")
        if of_mask != message:
            return Problem(f"ground_truth/{sample.defect_class}/{path.name}", of_mask)
    return Problem(sample.name, message.removeprefix(f"{printable(sample.name)}: "))


def _plain(sample: IndexedSample) -> dict[str, Any]:
    paths = {"path": str(sample.path), "mask_paths": [str(path) for path in sample.mask_paths]}
    return {name: value for name, value in vars(sample).items() if name != "decoded"} | paths


def _from_plain(row: Mapping[str, Any], decoded: DecodedPictures) -> IndexedSample:
    mask_paths = tuple(Path(path) for path in row["mask_paths"])
    changed = {"path": Path(row["path"]), "mask_paths": mask_paths, "size_hw": tuple(row["size_hw"])}
    return IndexedSample(**{**row, **changed}, decoded=decoded)
