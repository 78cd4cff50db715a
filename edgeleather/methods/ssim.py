"""Structural similarity of two images as a map, inside the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_C1, _C2 = 0.01**2, 0.03**2  # for values of 0 to 1


class Ssim(nn.Module):
    """SSIM [n, h, w] of images [n, c, h, w] of 0 to 1, averaged over channels, in Gaussian windows of 11 pixels.

    Both images are mirrored at the edge, so that windows there compare like with like. Source: Wang et al., "Image quality
    assessment: from error visibility to structural similarity", 2004, section III.B.
    """

    def __init__(self, window_px: int = 11, sigma_px: float = 1.5) -> None:
        super().__init__()
        self.window_px = window_px
        self.sigma_px = sigma_px

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        channels, edge = a.shape[1], self.window_px // 2
        # Around 0.5, where most values lie: the differences below would else be of numbers a hundred times as large.
        a, b = (functional.pad(x - 0.5, (edge, edge, edge, edge), mode="reflect") for x in (a, b))
        windowed = self._windowed(torch.cat([a, b, a * a, b * b, a * b], 1))
        mean_a, mean_b, aa, bb, ab = (windowed[:, i * channels : (i + 1) * channels] for i in range(5))
        covariance = ab - mean_a * mean_b
        variances = aa + bb - mean_a * mean_a - mean_b * mean_b
        mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
        brightness = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
        return (brightness * (2 * covariance + _C2) / (variances + _C2)).mean(1)

    def _windowed(self, planes: Tensor) -> Tensor:
        """Gaussian mean of every window of each plane, separably, by depthwise convolutions."""
        steps = torch.arange(self.window_px, dtype=torch.float32) - self.window_px // 2
        kernel = torch.exp(-0.5 * (steps / self.sigma_px) ** 2)
        kernel = (kernel / kernel.sum()).repeat(planes.shape[1], 1, 1)
        columns = functional.conv2d(planes, kernel.unsqueeze(3), groups=planes.shape[1])
        return functional.conv2d(columns, kernel.unsqueeze(2), groups=planes.shape[1])
