"""The MVTec-layout reader: which pictures there are, their class, article, mask and photograph. Pixels are read on demand."""

from __future__ import annotations

import csv
import io
import logging
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.files import read_plain_file
from edgeleather.imaging.images import is_image, read_image

if TYPE_CHECKING:
    from typing_extensions import Self  # Python 3.10 has none

LAYOUT = "train/good/*.png, test/<class>/*.png and, where there are masks, ground_truth/<class>/<stem>_mask.png"
ARTICLE_LAYOUT = (
    "one subfolder per article with its pictures, in train/good and in every folder of test and ground_truth"
)
GROUPS_FILE = "groups.csv"
_REPORT_FILES = frozenset(
    {"report.md", "suspects.csv"}
)  # `teach photos --out photos/bundle` leaves its report among them
_MOST_GROUPS_BYTES = 64_000_000  # a million pictures

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture: `name` is its path inside the dataset, `group` the photograph it was cut from.

    `mask_paths` are the files that are named like a mask of it: none where nobody has marked its defects; more than one are
    refused when they are read. `article` is "" where the dataset has only one.
    """

    path: Path
    name: str
    defect_class: str  # "good" for normals
    group: str
    mask_paths: tuple[Path, ...] = ()
    article: str = ""

    @property
    def is_good(self) -> bool:
        return self.defect_class == "good"

    @property
    def has_truth(self) -> bool:
        """Whether it is known which of its pixels are defective: a good picture, or a defect with a mask."""
        return self.is_good or bool(self.mask_paths)

    def read(self) -> AnyArray:
        """The picture as BGR; see `read_image`."""
        return read_image(self.path)

    def read_mask(self, frame_hw: tuple[int, int]) -> UInt8Array | None:
        """The ground truth [h, w] as 0 or 255, all 0 for a good picture; None for a defect without a mask.

        Every pixel of the mask's file that is not black is defective, whatever its colour.

        Raises:
            EdgeLeatherError: there are several masks, or the mask is unreadable or of another size than the picture.
        """
        if self.is_good:
            return np.zeros(frame_hw, np.uint8)
        if not self.mask_paths:
            return None
        if len(self.mask_paths) > 1:
            names = ", ".join(path.name for path in self.mask_paths)
            raise EdgeLeatherError(f"{self.name}: expected one mask, got {len(self.mask_paths)} ({names}). Keep one.")
        path = self.mask_paths[0]
        mask = read_image(path)
        if mask.dtype != np.uint8:
            raise EdgeLeatherError(
                f"{self.name}: expected a mask of 8 bits, got {8 * mask.dtype.itemsize} ({path.name})."
            )
        if mask.shape[:2] != frame_hw:
            raise EdgeLeatherError(
                f"{self.name}: expected a mask of {frame_hw[1]} x {frame_hw[0]} pixels, "
                f"got {mask.shape[1]} x {mask.shape[0]} ({path.name})."
            )
        return np.where(mask.any(axis=2), 255, 0).astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """The pictures of a folder, sorted by name."""

    root: Path
    train_good: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def articles(self) -> tuple[str, ...]:
        """The articles of its good pictures in alphabetical order; empty where it has only one, without a name."""
        return tuple(sorted({sample.article for sample in self.train_good if sample.article}))

    @property
    def by_article(self) -> dict[str, Self]:
        """The dataset of each article, by name; the whole one under "" where there is only one, without a name."""
        return {article: self.of_article(article) for article in self.articles or ("",)}

    @property
    def of_no_article(self) -> tuple[Sample, ...]:
        """The test pictures that lie in no folder of an article of the good pictures: no model is tested on them."""
        known = self.articles
        return tuple(sample for sample in self.test if known and sample.article not in known)

    def of_article(self, article: str) -> Self:
        """The pictures of one article alone; all of them for an article without a name or a dataset without articles.

        Test pictures that lie in no article's folder are of none of them.
        """
        if not article or not any(sample.article for sample in (*self.train_good, *self.test)):
            return self
        good, test = (tuple(one for one in part if one.article == article) for part in (self.train_good, self.test))
        return replace(self, train_good=good, test=test)


def read_dataset(root: Path, *, needs: str) -> Dataset:
    """List a dataset's pictures without opening them; a folder of pictures alone counts as `train/good`.

    Subfolders of `train/good`, and of the folders of `test` and `ground_truth`, are articles.

    `needs` is "train", "test" or "any": the part that must not be empty.

    Raises:
        EdgeLeatherError: the folder is absent, holds no such part, or its groups.csv is malformed.
    """
    if not root.is_dir():
        found = "something else" if os.path.lexists(root) else "none"
        raise EdgeLeatherError(f"expected a dataset folder at {root}, found {found}. Its layout is {LAYOUT}.")
    groups = read_groups(root)
    if (root / "train").is_dir() or (root / "test").is_dir():
        _warn_of_strays(root, ("train", "test", "ground_truth"))
        _warn_of_strays(root / "train", ("good",))
        _warn_of_strays(root / "test")
        train = tuple(_samples(root, root / "train" / "good", "good", groups))
        test = tuple(
            sample
            for folder in (sorted((root / "test").iterdir()) if (root / "test").is_dir() else [])
            if folder.is_dir() and not folder.name.startswith(".")
            for sample in _samples(root, folder, folder.name, groups)
        )
    else:
        train, test = tuple(_samples(root, root, "good", groups)), ()
    dataset = Dataset(root, train, test)
    if needs == "train" and (astray := dataset.of_no_article):
        _LOGGER.warning(
            "%s: passed over %d test pictures (%s first), which lie in no folder of an article (%s)",
            root, len(astray), astray[0].name, ", ".join(dataset.articles),
        )  # fmt: skip
    require_part(dataset, needs)
    return dataset


def require_part(dataset: Dataset, needs: str) -> None:
    """Refuse a dataset that lacks "train" or "test" pictures, or with "any" both.

    Raises:
        EdgeLeatherError: the part is empty.
    """
    there = {"train": dataset.train_good, "test": dataset.test}.get(needs, (*dataset.train_good, *dataset.test))
    if not there:
        part = {"train": "good pictures in train/good", "test": "pictures in test/<class>"}.get(needs, "pictures")
        raise EdgeLeatherError(f"{dataset.root}: expected {part}, found none. The layout is {LAYOUT}.")


def read_groups(root: Path) -> dict[str, str]:
    """The photograph of each picture from `groups.csv` (columns `file,group`); empty where there is no such file.

    Raises:
        EdgeLeatherError: other columns, or a row without a group.
    """
    path = root / GROUPS_FILE
    if not os.path.lexists(path):
        return {}
    try:
        # A file name may hold bytes that are no UTF-8; they are read as Python reads them in a folder.
        text = read_plain_file(path, _MOST_GROUPS_BYTES).decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise EdgeLeatherError(f"{path}: expected a CSV file, got something unreadable ({reason}).") from error
    if not rows or [cell.strip() for cell in rows[0]] != ["file", "group"]:
        raise EdgeLeatherError(f"{path}: expected the header 'file,group', got {','.join(rows[0]) if rows else ''!r}.")
    groups: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise EdgeLeatherError(f"{path}, line {number}: expected 'file,group', got {','.join(row)!r}.")
        name, group = listed_name(row[0]), row[1].strip()
        if groups.setdefault(name, group) != group:
            raise EdgeLeatherError(f"{path}, line {number}: {name} is in {groups[name]!r} already, got {group!r}.")
    return groups


def listed_name(name: str) -> str:
    """The form in which names are compared: a list and a disk may write the same name in different ways.

    macOS takes accents apart (NFD), Windows has backslashes, and spreadsheets add blanks.
    """
    return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/")))


def require_groups(dataset: Dataset) -> None:
    """Refuse a groups.csv that leaves pictures out: unnamed, they would count as photographs of their own.

    Raises:
        EdgeLeatherError: a picture is not named in the groups.csv that is there.
    """
    groups = read_groups(dataset.root)
    samples = (*dataset.train_good, *dataset.test)
    unnamed = [sample.name for sample in samples if listed_name(sample.name) not in groups]
    if unnamed and os.path.lexists(dataset.root / GROUPS_FILE):
        raise EdgeLeatherError(
            f"{dataset.root / GROUPS_FILE}: expected every picture by its path in the dataset, but {len(unnamed)} of "
            f"{len(samples)} are not named, {unnamed[0]} first. Add them, or remove the file."
        )


def _samples(root: Path, folder: Path, defect_class: str, groups: dict[str, str]) -> Iterator[Sample]:
    """The pictures in a class's folder, or in its subfolders, which are articles."""
    if not folder.is_dir():
        return
    truth = root / "ground_truth" / folder.name
    articles = [path for path in sorted(folder.iterdir()) if _has_pictures(path)]
    if articles and _has_pictures(folder):
        raise EdgeLeatherError(
            f"{folder}: expected pictures of one article, or {ARTICLE_LAYOUT}; got both, with subfolders "
            f"{', '.join(printable(path.name) for path in articles[:3])}. Move the pictures beside them into a subfolder of "
            "their own, or these subfolders to another place."
        )
    if not articles:
        yield from _samples_in(root, folder, truth, defect_class, "", groups)
    for path in articles:
        article = unicodedata.normalize("NFC", printable(path.name))
        yield from _samples_in(root, path, truth / path.name, defect_class, article, groups)


def _has_pictures(folder: Path) -> bool:
    """Whether pictures lie in a folder that is neither hidden nor a report."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    names = [path.name for path in folder.iterdir() if path.is_file()]
    return any(is_image(folder / name) for name in names) and not _REPORT_FILES.intersection(names)


def _samples_in(
    root: Path, folder: Path, truth: Path, defect_class: str, article: str, groups: dict[str, str]
) -> Iterator[Sample]:
    masks = {} if defect_class == "good" else _masks(truth)
    orphans = {mask for paths in masks.values() for mask in paths}
    passed_over = []
    for path in sorted(folder.iterdir()):
        if not (path.is_file() and is_image(path)):
            if not path.name.startswith(".") and (folder, path.name) != (root, GROUPS_FILE):
                passed_over.append(path.name)
            continue
        name = path.relative_to(root).as_posix()
        own = tuple(mask for stem in (f"{path.stem}_mask", path.stem) for mask in masks.get(listed_name(stem), ()))
        orphans.difference_update(own)
        yield Sample(path, name, defect_class, groups.get(listed_name(name), name), own, article)
    if orphans:
        _LOGGER.warning(
            "%s: passed over %d masks that belong to no picture (%s first); dataset check lists them all",
            truth, len(orphans), min(orphans).name,
        )  # fmt: skip
    if passed_over:
        names = ", ".join(passed_over[:3]) + (", ..." if len(passed_over) > 3 else "")
        _LOGGER.warning("%s: passed over %d entries that are no picture files (%s)", folder, len(passed_over), names)


def _warn_of_strays(folder: Path, known: Sequence[str] | None = None) -> None:
    """Say that pictures lie where the layout has none: in the folder itself, or in folders of it that are not among `known`."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    strays = [path.name for path in entries if is_image(path) and not path.is_dir()]
    if strays:
        _LOGGER.warning(
            "%s: passed over %d pictures (%s first); the layout is %s", folder, len(strays), strays[0], LAYOUT
        )
    unknown = [path for path in entries if path.is_dir() and path.name not in known] if known else []
    if others := [path.name for path in unknown if not path.name.startswith(".") and _holds_pictures(path)]:
        _LOGGER.warning("%s: passed over the pictures in %s; the layout is %s", folder, ", ".join(others), LAYOUT)


def _holds_pictures(folder: Path) -> bool:
    return any(is_image(Path(name)) for _, _, files in os.walk(folder) for name in files)


def _masks(folder: Path) -> Mapping[str, list[Path]]:
    """The masks of a class by the stems of their names: any format that pictures have will do."""
    masks: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and is_image(path):
            masks.setdefault(listed_name(path.stem), []).append(path)
    return masks
