"""What methods with a frozen, pretrained teacher share: its standardised feature pyramid, and distances between pyramids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgeleather.backbones.loading import build_backbone, load_weights
from edgeleather.methods.method import Method
from edgeleather.methods.moments import Moments

LAYERS = {"efficientnet-lite0": ("stage2", "stage3", "stage5"), "resnet18": ("layer1", "layer2", "layer3")}


class TeacherMethod(Method):
    """A method that learns to agree with a teacher's features at three levels.

    The channels are standardised with the training pictures' statistics, which the papers do not do: else the few largest
    channels of a network with linear bottlenecks are all that is learned (`stfpm`'s image AUROC on mvtec_leather: 0.70
    without, 0.99 with).
    """

    def __init__(self, backbone: str, image_size_hw: tuple[int, int]) -> None:
        super().__init__(backbone, image_size_hw)
        self.layers = LAYERS.get(backbone, ())
        self.teacher = build_backbone(backbone, self.layers)
        for layer in self.layers:
            channels = self.teacher.channels[layer]
            self.register_buffer(f"{layer}_mean", torch.zeros(channels, 1, 1))
            self.register_buffer(f"{layer}_std", torch.ones(channels, 1, 1))

    def load_backbone(self, weights: str) -> None:
        """Fill the teacher; what learns from it starts from random weights."""
        load_weights(self.teacher, self.backbone_name, weights)

    def frozen_features(self, image: Tensor) -> list[Tensor]:
        return self.teacher(image)

    def begin(self, batches: Iterable[tuple[Tensor, list[Tensor]]]) -> None:
        """Measure mean and standard deviation of the teacher's channels."""
        moments = [Moments() for _ in self.layers]
        for _, frozen in batches:
            for found, level in zip(moments, frozen, strict=True):
                found.add(level)
        for layer, found in zip(self.layers, moments, strict=True):
            self.get_buffer(f"{layer}_mean").copy_(found.mean.view(-1, 1, 1))
            self.get_buffer(f"{layer}_std").copy_(found.std.view(-1, 1, 1))

    def centred(self, frozen: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The teacher's features [n, c, h, w] of each level with mean 0, and the scale [c] that makes their deviation 1."""
        return [
            (level - self.get_buffer(f"{layer}_mean"), 1.0 / self.get_buffer(f"{layer}_std").flatten())
            for layer, level in zip(self.layers, frozen, strict=True)
        ]

    def standardised(self, frozen: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's features [n, c, h, w] of each level with mean 0 and deviation 1 over the training pictures."""
        return [
            (level - self.get_buffer(f"{layer}_mean")) / self.get_buffer(f"{layer}_std")
            for layer, level in zip(self.layers, frozen, strict=True)
        ]


def pooled(levels: Sequence[Tensor]) -> list[Tensor]:
    """Features [n, c, h, w] of each level, averaged over 3 x 3: more of the leather, less of single grains."""
    return [functional.avg_pool2d(level, 3, 1, 1) for level in levels]


def half_squared_distance(a: Tensor, b: Tensor, b_scale: Tensor) -> Tensor:
    """1 - cosine [n, h, w] of the unit vectors along channels of features [n, c, h, w]; a vector of zeros stays one.

    The channels of `b` count times `b_scale` [c]. By sums alone: no engine needs to write the scaled or the unit vectors then.
    """
    n, _, h, w = a.shape
    a, b, scale = a.flatten(2), b.flatten(2), b_scale.view(1, -1)
    # As powers: of a product of a tensor with itself ONNX Runtime dequantises both sides.
    aa = torch.matmul(torch.ones_like(scale), a.pow(2))
    bb = torch.matmul(scale.pow(2), b.pow(2))
    ab = torch.matmul(scale, a * b)
    per_a, per_b = (torch.rsqrt(square.clamp(min=1e-12)) for square in (aa, bb))
    distance = 0.5 * (aa * per_a * per_a + bb * per_b * per_b) - ab * per_a * per_b
    return distance.clamp(min=0.0).view(n, h, w)  # rounding can leave less


def channel_sum(features: Tensor) -> Tensor:
    """[n, c, h, w] to [n, h, w], as a product with ones: ONNX Runtime's ReduceSum over channels takes ten times as long."""
    n, c, h, w = features.shape
    return torch.matmul(torch.ones(1, c), features.flatten(2)).view(n, h, w)
