"""stfpm: a student that learned to agree with a frozen teacher on good pictures disagrees on what it never saw.

Source: Wang et al., "Student-teacher feature pyramid matching for anomaly detection", BMVC 2021; the method that Soares et
al. 2023 recommend for leather of several colours.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from edgeleather.backbones.loading import build_backbone
from edgeleather.methods.method import Preset
from edgeleather.methods.smoothing import GaussianBlur, enlarged
from edgeleather.methods.teacher import TeacherMethod, half_squared_distance

_SMALLEST_PRODUCT = 1e-18  # of three distances: a map value of 1e-6


class Stfpm(TeacherMethod):
    """Distance between a teacher's and a student's feature pyramids, both of the same architecture.

    Ours differs from the paper in the standardised teacher, and in the map: the levels' product is taken at the finest level's
    grid instead of the image's, goes through the root that makes it their geometric mean, and a Gaussian blur.
    """

    presets: ClassVar = {
        "edge": Preset("efficientnet-lite0", epochs=40, learning_rate=0.1, batch_images=8),
        # Rate and batch are those of Wang et al., section 4.1.
        "paper": Preset("resnet18", epochs=300, learning_rate=0.4, batch_images=32, longer_side_px=256),
    }
    networks: ClassVar = ("teacher", "student")

    def __init__(self, backbone: str, image_size_hw: tuple[int, int]) -> None:
        super().__init__(backbone, image_size_hw)
        self.student = build_backbone(backbone, self.layers, trained=True)
        self.blur = GaussianBlur(sigma_px=4.0)

    def training_step(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """Half the squared distance of unit features, averaged over positions, summed over levels (equations 1 and 2)."""
        return torch.stack([level.mean() for level in self._distances(image, frozen)]).sum()

    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        return self.training_step(image, frozen)

    def build_optimizer(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """SGD with momentum 0.9 and weight decay 1e-4 (Wang et al. 2021, section 4.1)."""
        return torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, weight_decay=1e-4)

    def anomaly_map(self, image: Tensor) -> Tensor:
        """The geometric mean of the levels' maps at the finest level's grid, then enlarged and blurred by 4 pixels."""
        finest, *coarser = self._distances(image, self.frozen_features(image))
        product = finest
        for level in coarser:
            product = product * enlarged(level, (finest.shape[1], finest.shape[2]))
        # The root by way of logarithms, which engines take a third of the time of a power for.
        root = torch.exp(torch.log(product.clamp(min=_SMALLEST_PRODUCT)) / len(self.layers))
        return self.blur.enlarged(root, self.image_size_hw)

    def _distances(self, image: Tensor, frozen: list[Tensor]) -> list[Tensor]:
        """Half the squared distance of unit features [n, h, w] of each level."""
        pairs = zip(self.student(image), self.centred(frozen), strict=True)
        return [half_squared_distance(student, *teacher) for student, teacher in pairs]
