"""The pictures that a bundle was made with, found again by their pixels, and turned into what calibration runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.bundle.bundle import Bundle
from edgeleather.dataset.defects import DEFECTS, paste_defect
from edgeleather.dataset.index import DatasetIndex, IndexedSample, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import Prepared, prepare, resize_mask


@dataclass(frozen=True)
class CalibrationPictures:
    """A dataset's pictures by the digest of their pixels."""

    by_digest: dict[str, IndexedSample]
    dataset: DatasetIndex

    def find(self, digests: Sequence[str], use: str) -> list[IndexedSample]:
        """The pictures of these digests, in their order.

        Raises:
            EdgeLeatherError: some are not there, or have changed.
        """
        found = [self.by_digest[digest] for digest in digests if digest in self.by_digest]
        if len(found) < len(digests):
            raise EdgeLeatherError(
                f"{self.dataset.root}: expected the {len(digests)} pictures that this bundle used for {use}, found "
                f"{len(found)} of them unchanged. Say where the dataset that trained it is with --data."
            )
        return found


def find_pictures(data: Path | Dataset) -> CalibrationPictures:
    """Index a dataset (a folder, or its index as it is) by the digests of its pictures.

    Raises:
        EdgeLeatherError: no dataset, or a picture cannot be read.
    """
    dataset = index_dataset(data, needs="train")
    by_digest: dict[str, IndexedSample] = {}
    for sample in dataset.samples:
        by_digest.setdefault(sample.digest, sample)
    return CalibrationPictures(by_digest, dataset)


def taking_turns(
    samples: Sequence[IndexedSample], digests: Sequence[str], most: int
) -> list[tuple[str, IndexedSample]]:
    """At most so many pictures, one of each photograph before a second of any."""
    seen: dict[str, int] = {}
    turns = []
    for digest, sample in zip(digests, samples, strict=True):
        seen[sample.group] = seen.get(sample.group, 0) + 1
        turns.append((seen[sample.group], sample.name, digest, sample))
    return [(digest, sample) for _, _, digest, sample in sorted(turns, key=lambda turn: turn[:2])[:most]]


def with_defect(prepared: Prepared, rng: np.random.Generator) -> tuple[Prepared, UInt8Array]:
    """The same frame with a synthetic defect on one of its images, and that image's mask [h, w] of 0 and 1."""
    images = prepared.images.copy()
    chosen = int(rng.integers(len(images)))
    images[chosen], mask = paste_defect(images[chosen], str(rng.choice(sorted(DEFECTS))), rng)
    return replace(prepared, other_images=images), np.asarray(mask > 0, np.uint8)


@dataclass(frozen=True)
class ComparedFrames:
    """Prepared frames by name, whether each shows a defect, and where; none of them measured a range.

    A mask [h, w] of 0 and 1 is of the frame's map; None for a good frame, for a defect that nobody has marked, and for synthetic
    defects on frames of several tiles, which overlap.
    """

    names: tuple[str, ...]
    frames: tuple[Prepared, ...]
    defective: tuple[bool, ...]
    masks: tuple[UInt8Array | None, ...]


def compared_frames(bundle: Bundle, pictures: CalibrationPictures, most: int) -> ComparedFrames:
    """What quantisation is judged on: validation pictures, the same with synthetic defects, and the pictures of T2 and T3.

    None of them is a test picture that a report counts, and none measured a range.
    """
    used, mode = bundle.manifest.images, bundle.manifest.input_mode
    rng = np.random.default_rng(6)
    rows: list[tuple[str, Prepared, bool, UInt8Array | None]] = []
    for _, sample in taking_turns(pictures.find(used.validation, "validation"), used.validation, most):
        frame = prepare(sample.read(), mode)
        spoiled, mask = with_defect(frame, rng)
        name = f"{sample.name} with a defect"
        rows += [(sample.name, frame, False, None), (name, spoiled, True, mask if frame.count == 1 else None)]
    for _, sample in taking_turns(pictures.find(used.t2_t3, "T2 and T3"), used.t2_t3, most):
        image = sample.read()
        frame = prepare(image, mode)
        truth = None if sample.is_good else sample.read_mask((image.shape[0], image.shape[1]))
        shown = None if truth is None else resize_mask(truth, frame)
        rows.append((sample.name, frame, not sample.is_good, shown))
    names, frames, defective, masks = zip(*rows, strict=True)
    return ComparedFrames(names, frames, defective, masks)
