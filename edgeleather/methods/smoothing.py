"""Smoothing and enlarging of anomaly maps and features inside the graph, as products with matrices.

Both are linear along each axis, so that a map goes through one matrix per side; where a map is enlarged and blurred, through
one for both. Convolutions with a single channel and 33 taps, pooling of channels that fill no block of its kernels, and resizing
take ONNX Runtime several times as long.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from edgeleather.arrays import Float32Array


class GaussianBlur(nn.Module):
    """Separable Gaussian blur, reflected at the edges and cut at 4 sigma, or less in small maps."""

    def __init__(self, sigma_px: float) -> None:
        super().__init__()
        self.sigma_px = sigma_px

    def forward(self, maps: Tensor) -> Tensor:
        """Blurred maps [n, h, w]."""
        height, width = maps.shape[1:]
        return _through(maps, *(blurring(size, self._radius(height, width), self.sigma_px) for size in (height, width)))

    def enlarged(self, maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Maps [n, h, w] enlarged as by `enlarged` and then blurred: [n, height, width]."""
        radius = self._radius(*size_hw)
        sides = zip(size_hw, maps.shape[1:], strict=True)
        return _through(maps, *(enlarging_blurred(size, to, radius, self.sigma_px) for to, size in sides))

    def _radius(self, height: int, width: int) -> int:
        return min(round(4 * self.sigma_px), min(height, width) - 1)


def enlarged(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Maps [n, h, w] at another size [n, height, width], bilinearly between the centres of pixels."""
    return _through(maps, *(enlarging(size, to) for to, size in zip(size_hw, maps.shape[1:], strict=True)))


def pooled(features: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Features [n, c, h, w] averaged over 3 x 3, zeros around them counted, and brought to another size [n, c, height, width]."""
    sides = zip(size_hw, features.shape[2:], strict=True)
    return _through(features, *(pooling_resized(size, to) for to, size in sides))


@cache
def blurring(size: int, radius_px: int, sigma_px: float) -> Float32Array:
    """The matrix [size, size] of a Gaussian blur along one side."""
    taps = np.arange(-radius_px, radius_px + 1)
    kernel = np.exp(-0.5 * (taps / sigma_px) ** 2)
    matrix = np.zeros((size, size))
    for tap, weight in zip(taps, kernel / kernel.sum(), strict=True):
        reached = np.abs(np.arange(size) + tap)
        reached = np.where(reached >= size, 2 * (size - 1) - reached, reached)
        np.add.at(matrix, (np.arange(size), reached), weight)
    return np.asarray(matrix, np.float32)


@cache
def enlarging(size: int, to: int) -> Float32Array:
    """The matrix [to, size] of linear interpolation along one side."""
    place = np.clip((np.arange(to) + 0.5) * size / to - 0.5, 0.0, size - 1.0)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, size - 1)
    matrix = np.zeros((to, size))
    np.add.at(matrix, (np.arange(to), left), 1.0 - (place - left))
    np.add.at(matrix, (np.arange(to), right), place - left)
    return np.asarray(matrix, np.float32)


@cache
def enlarging_blurred(size: int, to: int, radius_px: int, sigma_px: float) -> Float32Array:
    """The matrix [to, size] of both, enlarging first."""
    return np.asarray(blurring(to, radius_px, sigma_px) @ enlarging(size, to), np.float32)


@cache
def shrinking(size: int, to: int) -> Float32Array:
    """The matrix [to, size] of the mean over what every one of fewer pixels covers along one side."""
    left = np.arange(to)[:, None] * size / to
    covered = np.minimum(left + size / to, np.arange(size) + 1.0) - np.maximum(left, np.arange(size))
    return np.asarray(np.maximum(covered, 0.0) * to / size, np.float32)


@cache
def pooling_resized(size: int, to: int) -> Float32Array:
    """The matrix [to, size] of the mean over three neighbours along one side, then of enlarging or shrinking."""
    averaging = sum(np.eye(size, k=offset) for offset in (-1, 0, 1)) / 3.0
    resizing = shrinking(size, to) if to < size else enlarging(size, to)
    return np.asarray(resizing @ averaging, np.float32)


def _through(maps: Tensor, rows: Float32Array, columns: Float32Array) -> Tensor:
    """[height, h] times maps [..., h, w] times [w, width]."""
    return torch.matmul(torch.matmul(torch.from_numpy(rows), maps), torch.from_numpy(np.ascontiguousarray(columns.T)))
