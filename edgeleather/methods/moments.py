"""Channel statistics of features over any number of batches."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST_STD_OF_MEDIAN = 0.01


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
        """[c]; see `at_least_some`."""
        mean = torch.as_tensor(self._sum) / self._count
        variance = torch.as_tensor(self._squares) / self._count - mean.square()
        return at_least_some(variance.clamp(min=0.0).sqrt().float())


def at_least_some(std: Tensor) -> Tensor:
    """Channels' deviations [c], none below a hundredth of their median.

    A channel that is dead on every normal picture would else, divided by next to nothing, outweigh all others the first time
    that it says anything.
    """
    return std.clamp(min=max(_SMALLEST_STD_OF_MEDIAN * float(std.median()), 1e-6))
