"""Channel statistics of features over any number of batches."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST_STD = 1e-6


class Moments:
    """Mean and standard deviation of every channel of features [n, c, h, w], in double precision."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, features: Tensor) -> None:
        values = features.detach().double()
        self._count += values.numel() // values.shape[1]
        self._sum = self._sum + values.sum((0, 2, 3))
        self._squares = self._squares + values.square().sum((0, 2, 3))

    @property
    def mean(self) -> Tensor:
        """[c]; needs at least one batch."""
        return (torch.as_tensor(self._sum) / self._count).float()

    @property
    def std(self) -> Tensor:
        """[c], at least 1e-6."""
        mean = torch.as_tensor(self._sum) / self._count
        variance = torch.as_tensor(self._squares) / self._count - mean.square()
        return variance.clamp(min=0.0).sqrt().clamp(min=_SMALLEST_STD).float()
