"""Pictures of a dataset as model images, in batches, the same way for training, thresholds and calibration."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np

from edgeleather.arrays import AnyArray, UInt8Array
from edgeleather.dataset.index import IndexedSample
from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.preprocess import InputMode, prepare
from edgeleather.progress import track
from edgeleather.training.run import ImageRecord

_CACHED_BYTES = 2 << 30


class ModelImages:
    """The model images of some pictures: read once, kept in memory up to 2 GiB, else read again each time."""

    def __init__(self, samples: Sequence[IndexedSample], mode: InputMode, label: str) -> None:
        """Read every picture once.

        Raises:
            EdgeLeatherError: a picture cannot be read or does not fit the input mode; its name is in the message.
        """
        self._mode = mode
        self._samples = samples
        self._cache: dict[int, UInt8Array] = {}
        self._cached_bytes = 0
        self._index: list[tuple[int, int]] = []  # (sample, tile) of each model image
        for number, sample in enumerate(track(samples, label)):
            images = _prepare(sample, sample.read(), mode)
            self._index += [(number, tile) for tile in range(len(images))]
            self._keep(number, images)
        self.records: tuple[ImageRecord, ...] = records_of(samples)

    def part(self, samples: Sequence[IndexedSample]) -> ModelImages:
        """The model images of some of these pictures, which are not read again."""
        part = copy.copy(self)
        numbers = {sample.digest: number for number, sample in enumerate(self._samples)}
        chosen = [numbers[sample.digest] for sample in samples]
        tiles: dict[int, list[int]] = {}
        for number, tile in self._index:
            tiles.setdefault(number, []).append(tile)
        part._samples, part.records = samples, records_of(samples)
        part._index = [(new, tile) for new, number in enumerate(chosen) for tile in tiles[number]]
        part._cache = {new: self._cache[number] for new, number in enumerate(chosen) if number in self._cache}
        return part

    @property
    def image_size_hw(self) -> tuple[int, int]:
        """Of every model image, in pixels."""
        return self._mode.image_size_hw

    def __len__(self) -> int:
        return len(self._index)

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[UInt8Array]:
        """Model images uint8 [n, h, w, 3] RGB, `size` at a time, in this order of indices (default: as read)."""
        chosen = range(len(self._index)) if order is None else order
        for start in range(0, len(chosen), size):
            yield np.stack([self._one(index) for index in chosen[start : start + size]])

    def of_group(self, group: str) -> list[int]:
        """The indices of one photograph's model images."""
        return [index for index, (number, _) in enumerate(self._index) if self._samples[number].group == group]

    def sample_of(self, index: int) -> int:
        """The number, in `records`, of the picture that a model image was made of."""
        return self._index[index][0]

    def _one(self, index: int) -> UInt8Array:
        number, tile = self._index[index]
        return np.asarray(self._read(number)[tile], np.uint8)

    def _read(self, number: int) -> UInt8Array:
        if number in self._cache:
            return self._cache[number]
        sample = self._samples[number]
        return _prepare(sample, sample.read(), self._mode)

    def _keep(self, number: int, images: UInt8Array) -> None:
        if self._cached_bytes + images.nbytes <= _CACHED_BYTES:
            self._cache[number] = images
            self._cached_bytes += images.nbytes


def records_of(samples: Sequence[IndexedSample]) -> tuple[ImageRecord, ...]:
    """The run's records of some pictures."""
    return tuple(ImageRecord(sample.name, sample.group, sample.digest) for sample in samples)


def _prepare(sample: IndexedSample, image: AnyArray, mode: InputMode) -> UInt8Array:
    try:
        return prepare(image, mode).images
    except EdgeLeatherError as error:
        raise EdgeLeatherError(f"{sample.name}: {error}") from error
