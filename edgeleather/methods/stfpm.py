"""stfpm: a student that learned to agree with a frozen teacher on good pictures disagrees on what it never saw.

Source: Wang et al., "Student-teacher feature pyramid matching for anomaly detection", BMVC 2021; the method that Soares et
al. 2023 recommend for leather of several colours.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeleather.backbones.loading import build_backbone, load_weights
from edgeleather.methods.method import Method
from edgeleather.methods.moments import Moments
from edgeleather.methods.smoothing import GaussianBlur

LAYERS = {"efficientnet-lite0": ("stage2", "stage3", "stage5"), "resnet18": ("layer1", "layer2", "layer3")}


class Stfpm(Method):
    """Distance between a teacher's and a student's feature pyramids, both of the same architecture.

    Ours differs from the paper in the teacher's features, whose channels are standardised with the training pictures'
    statistics, since the few largest channels of a network with linear bottlenecks would else be all that the student
    learns (image AUROC on mvtec_leather 0.70 without, 0.99 with), and in the map: the levels' product goes through a cube
    root, or whatever makes it their geometric mean, and a Gaussian blur.
    """

    default_epochs = 40
    default_learning_rate = 0.1
    networks = ("teacher", "student")

    def __init__(self, backbone: str, image_size_hw: tuple[int, int]) -> None:
        super().__init__(backbone, image_size_hw)
        self.layers = LAYERS.get(backbone, ())
        self.teacher = build_backbone(backbone, self.layers)
        self.student = build_backbone(backbone, self.layers, trained=True)
        for layer in self.layers:
            channels = self.teacher.channels[layer]
            self.register_buffer(f"{layer}_mean", torch.zeros(channels, 1, 1))
            self.register_buffer(f"{layer}_std", torch.ones(channels, 1, 1))
        self.blur = GaussianBlur(sigma_px=4.0)

    def load_backbone(self, weights: str) -> None:
        """Fill the teacher; the student starts from random weights (Wang et al. 2021, section 3.2)."""
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

    def training_step(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """Half the squared distance of unit features, averaged over positions, summed over levels (equations 1 and 2)."""
        return torch.stack([level.mean() for level in self._distances(image, frozen)]).sum()

    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        return self.training_step(image, frozen)

    def build_optimizer(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """SGD with momentum 0.9 and weight decay 1e-4 (Wang et al. 2021, section 4.1)."""
        return torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, weight_decay=1e-4)

    def anomaly_map(self, image: Tensor) -> Tensor:
        product = torch.ones(())
        for level in self._distances(image, self.frozen_features(image)):
            product = product * functional.interpolate(level.unsqueeze(1), size=self.image_size_hw, mode="bilinear")
        blurred: Tensor = self.blur(product.pow(1.0 / len(self.layers)))
        return blurred.squeeze(1)

    def _distances(self, image: Tensor, frozen: list[Tensor]) -> list[Tensor]:
        """Half the squared distance of unit features [n, h, w] of each level."""
        return [
            _half_squared_distance(
                student, (level - self.get_buffer(f"{layer}_mean")) / self.get_buffer(f"{layer}_std")
            )
            for layer, student, level in zip(self.layers, self.student(image), frozen, strict=True)
        ]


def _half_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Of the unit vectors along channels of features [n, c, h, w]: [n, h, w]; a vector of zeros stays one.

    By sums alone, since no engine needs to write the unit vectors then.
    """
    aa, bb, ab = (_channel_sum(product) for product in (a * a, b * b, a * b))
    per_a, per_b = (torch.rsqrt(square.clamp(min=1e-12)) for square in (aa, bb))
    distance = 0.5 * (aa * per_a * per_a + bb * per_b * per_b) - ab * per_a * per_b
    return distance.clamp(min=0.0)  # rounding can leave less


def _channel_sum(features: Tensor) -> Tensor:
    """[n, c, h, w] to [n, h, w], as a product with ones: ONNX Runtime's ReduceSum over channels takes ten times as long."""
    n, c, h, w = features.shape
    return torch.matmul(torch.ones(1, c), features.flatten(2)).view(n, h, w)
