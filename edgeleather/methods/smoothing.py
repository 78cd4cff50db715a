"""Smoothing of anomaly maps inside the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GaussianBlur(nn.Module):
    """Separable Gaussian blur of maps [n, 1, h, w], reflected at the edges and cut at 4 sigma, or less in small maps."""

    def __init__(self, sigma_px: float) -> None:
        super().__init__()
        self.sigma_px = sigma_px

    def forward(self, maps: Tensor) -> Tensor:
        radius = min(round(4 * self.sigma_px), min(maps.shape[-2:]) - 1)
        steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (steps / self.sigma_px) ** 2)
        kernel = kernel / kernel.sum()
        padded = functional.pad(maps, (radius, radius, radius, radius), mode="reflect")
        columns = functional.conv2d(padded, kernel.view(1, 1, -1, 1))
        return functional.conv2d(columns, kernel.view(1, 1, 1, -1))
