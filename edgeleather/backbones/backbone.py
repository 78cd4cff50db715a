"""What every backbone is, and the normalisation of its pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

# ImageNet's statistics for pixels 0 to 255. EfficientNet-Lite0 was trained on (x - 127) / 128, but leather has so little
# contrast that the stronger scaling serves both: image AUROC of memory-bank on mvtec_leather 1.00 against 0.98.
PIXEL_MEAN_RGB = (123.675, 116.28, 103.53)
PIXEL_STD_RGB = (58.395, 57.12, 57.375)
_WHITE = 255.0


class Backbone(nn.Module, ABC):
    """Images uint8 [n, h, w, 3] RGB to a list of features [n, channels, h / stride, w / stride], one for each layer.

    Frozen unless `trained` is set: a teacher's BatchNorm would drift with every batch in training mode.
    """

    channels: ClassVar[dict[str, int]]
    strides: ClassVar[dict[str, int]]
    white_kernel: Tensor
    white_bias: Tensor

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.trained = False
        self._takes_pixels = False

    @property
    @abstractmethod
    def stem(self) -> nn.Conv2d:
        """The convolution that reads the image; zero padding, no bias."""

    @abstractmethod
    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        """Features of what the stem reads."""

    def forward(self, image: Tensor) -> list[Tensor]:
        if not self._takes_pixels:
            return self.pyramid(normalise(image))
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)
        return self.pyramid(functional.conv2d(pixels, self.white_kernel, self.white_bias))

    def train(self, mode: bool = True) -> Self:
        """A frozen extractor stays in evaluation mode."""
        return super().train(mode and self.trained)

    def fold_normalisation(self) -> None:
        """Move the normalisation into the stem, which then reads pixels 0 to 255 and a fourth plane that is all 255.

        The fourth plane's weights take the mean off. A bias could not: at the edge, where padding stands for pixels of the
        mean, it would count them. INT8 gains twice: pixels are quantised without loss, and four channels fit its kernels.
        """
        stem = self.stem
        # The fourth plane is made by a 1 x 1 convolution, which engines do in no time, unlike padding by a channel.
        self.register_buffer("white_kernel", torch.eye(4, 3).view(4, 3, 1, 1))
        self.register_buffer("white_bias", torch.tensor([0.0, 0.0, 0.0, _WHITE]))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN_RGB, PIXEL_STD_RGB))
        with torch.no_grad():
            scaled = stem.weight / std
            minus_mean = -(scaled * mean).sum(1, keepdim=True) / _WHITE
            stem.weight = nn.Parameter(torch.cat([scaled, minus_mean], 1), requires_grad=False)
        stem.in_channels = 4
        self._takes_pixels = True

    def __call__(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = super().__call__(image)
        return features


def normalise(image: Tensor) -> Tensor:
    """Images uint8 [n, h, w, 3] RGB to float32 [n, 3, h, w] with ImageNet's mean and deviation."""
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (PIXEL_MEAN_RGB, PIXEL_STD_RGB))
    return (image.to(torch.float32).permute(0, 3, 1, 2) - mean) / std
