"""The base of methods that judge every patch by its features alone: pooled features of some layers, and a map of distances."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from edgeleather.backbones.loading import build_backbone, load_weights
from edgeleather.methods.method import Method, Preset
from edgeleather.methods.smoothing import GaussianBlur, pooled

FINE_LAYER = {"efficientnet-lite0": "stage2", "resnet18": "layer1"}
LAYERS = {"efficientnet-lite0": ("stage3", "stage5"), "resnet18": ("layer2", "layer3")}


class PatchMethod(Method):
    """A method that fits a model of normal patches in one pass over the pictures, and whose map is each patch's distance to it.

    The 3 x 3 pooling counts the padded zeros: it draws the patches at a picture's edge, which have fewer neighbours and so
    vary more, towards each other. Pooled without that, they are the most novel patches of every normal picture.
    """

    presets: ClassVar = {
        "edge": Preset("efficientnet-lite0", epochs=1, learning_rate=0.0, batch_images=8),
        "paper": Preset("resnet18", epochs=1, learning_rate=0.0, batch_images=8, longer_side_px=256),
    }
    networks: ClassVar = ("backbone",)

    def __init__(self, backbone: str, image_size_hw: tuple[int, int], with_fine_layer: bool = False) -> None:
        super().__init__(backbone, image_size_hw)
        layers = (FINE_LAYER.get(backbone, ""),) * with_fine_layer + LAYERS.get(backbone, ())
        self.grid_layer = int(with_fine_layer)  # that one at the finer layer's grid would make four times the patches
        self.backbone = build_backbone(backbone, layers)
        self.channels = sum(self.backbone.channels[layer] for layer in layers)
        self.blur = GaussianBlur(sigma_px=4.0)

    def load_backbone(self, weights: str) -> None:
        load_weights(self.backbone, self.backbone_name, weights)

    def raw_features(self, image: Tensor) -> Tensor:
        """Pooled features of all layers [n, channels, h, w] at one layer's grid."""
        layers = self.backbone(image)
        height, width = layers[self.grid_layer].shape[2:]
        return torch.cat([pooled(layer, (height, width)) for layer in layers], dim=1)

    @abstractmethod
    def patch_distances(self, image: Tensor) -> Tensor:
        """Distance of every patch to the normal ones [n, h, w] at the features' grid, in standard deviations of a channel."""

    def anomaly_map(self, image: Tensor) -> Tensor:
        return self.blur.enlarged(self.patch_distances(image), self.image_size_hw)

    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        return self.patch_distances(image).mean()
