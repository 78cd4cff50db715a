"""What every backbone is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import Self


class Backbone(nn.Module):
    """Normalised images [n, 3, h, w] to a list of features [n, channels, h / stride, w / stride], one for each layer; frozen."""

    channels: ClassVar[dict[str, int]]
    strides: ClassVar[dict[str, int]]

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = layers

    def train(self, mode: bool = True) -> Self:
        """A frozen extractor stays in evaluation mode: in training mode its BatchNorm would drift with every batch."""
        return super().train(False)

    def __call__(self, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = super().__call__(images)
        return features
