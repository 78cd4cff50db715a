"""A part's model images as training takes them: in batches, with what the method's frozen part gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from edgeleather.methods.method import Method
from edgeleather.training.loading import ModelImages

_CACHED_BYTES = 1 << 30  # for each of the training and the validation part


class Examples:
    """A part's model images in batches, each with what the method's frozen part gives for it: computed once, kept up to 1 GiB."""

    def __init__(self, method: Method, images: ModelImages) -> None:
        self._method = method
        self._images = images
        self._cache: dict[int, list[Tensor]] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Batches uint8 [n, h, w, 3] of the images in this order (default: as read), and their frozen features."""
        chosen = range(len(self)) if order is None else order
        for start, batch in zip(range(0, len(chosen), size), self._images.batches(size, chosen), strict=True):
            images = torch.from_numpy(batch)
            indices = chosen[start : start + size]
            each = [self._features(index, images[i : i + 1]) for i, index in enumerate(indices)]
            yield images, [torch.cat(level) for level in zip(*each, strict=True)]

    def _features(self, index: int, image: Tensor) -> list[Tensor]:
        if index in self._cache:
            return self._cache[index]
        with torch.no_grad():
            features = self._method.frozen_features(image)
        size = sum(level.nbytes for level in features)
        if self._cached_bytes + size <= _CACHED_BYTES:
            self._cache[index] = features
            self._cached_bytes += size
        return features
