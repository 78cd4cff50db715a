"""cflow: conditional normalizing flows give the likelihood of a teacher's features at their place in the picture.

Source: Gudovskiy et al., "CFLOW-AD: Real-time unsupervised anomaly detection with localization via conditional normalizing
flows", WACV 2022. The couplings after Dinh et al., "Density estimation using Real NVP", ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeleather.methods.method import Preset
from edgeleather.methods.moments import Moments
from edgeleather.methods.smoothing import GaussianBlur
from edgeleather.methods.teacher import TeacherMethod, channel_sum, pooled

_BLOCKS = 8
_CONDITION_CHANNELS = 128
_CLAMP = 1.9
_FIBRE_POSITIONS = 256


class Cflow(TeacherMethod):
    """Negative log-likelihood of a teacher's features under one conditional flow a level.

    Scores are absolute. The public implementations subtract the maximum over a batch or the whole test set, so that a picture's
    score depends on its neighbours; here each level's mean and deviation over the training pictures are frozen at the end
    of training. The flow runs on all positions at once, as 1 x 1 convolutions, and what the position adds is a constant.
    """

    presets: ClassVar = {
        "edge": Preset("efficientnet-lite0", epochs=20, learning_rate=0.001, batch_images=8),
        # The rate is that of Gudovskiy et al., section 5.1; the batch is ours.
        "paper": Preset("resnet18", epochs=300, learning_rate=2e-4, batch_images=16, longer_side_px=256),
    }
    networks: ClassVar = ("teacher",)
    steps_per_batch: ClassVar = 4

    def __init__(self, backbone: str, image_size_hw: tuple[int, int]) -> None:
        super().__init__(backbone, image_size_hw)
        self.flows = nn.ModuleList(ConditionalFlow(self.teacher.channels[layer]) for layer in self.layers)
        self.register_buffer("normal_mean", torch.zeros(len(self.layers)))
        self.register_buffer("normal_std", torch.ones(len(self.layers)))
        self.blur = GaussianBlur(sigma_px=4.0)

    normal_mean: Tensor
    normal_std: Tensor

    def frozen_features(self, image: Tensor) -> list[Tensor]:
        return pooled(super().frozen_features(image))

    def training_step(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """Mean negative log-likelihood of a fibre of 256 positions of each picture and level, drawn anew (section 4.2)."""
        losses = []
        for flow, level in zip(self.flows, self.standardised(frozen), strict=True):
            height, width = level.shape[2:]
            drawn = torch.randperm(height * width)[:_FIBRE_POSITIONS]
            condition = position_codes(height, width).flatten(2)[:, :, drawn].unsqueeze(3)
            losses.append(flow(level.flatten(2)[:, :, drawn].unsqueeze(3), condition).mean())
        return torch.stack(losses).sum()

    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        return torch.stack([level.mean() for level in self._likelihoods(frozen)]).sum()

    def finish(self, batches: Iterable[tuple[Tensor, list[Tensor]]]) -> None:
        """Freeze each level's mean and deviation of the negative log-likelihood."""
        found = [Moments() for _ in self.layers]
        for _, frozen in batches:
            for moments, level in zip(found, self._likelihoods(frozen), strict=True):
                moments.add(level.unsqueeze(1))
        self.normal_mean.copy_(torch.cat([moments.mean for moments in found]))
        self.normal_std.copy_(torch.cat([moments.std for moments in found]))

    def anomaly_map(self, image: Tensor) -> Tensor:
        total = torch.zeros(())
        for index, level in enumerate(self._likelihoods(self.frozen_features(image))):
            standard = (level - self.normal_mean[index]) / self.normal_std[index]
            total = total + self.blur.enlarged(standard, self.image_size_hw)
        return total

    def _likelihoods(self, frozen: list[Tensor]) -> list[Tensor]:
        """Negative log-likelihood a channel [n, h, w] of each level."""
        pairs = zip(self.flows, self.standardised(frozen), strict=True)
        return [flow(level, position_codes(level.shape[2], level.shape[3])) for flow, level in pairs]


class ConditionalFlow(nn.Module):
    """Eight affine couplings conditioned on the position, with channels that change places between them.

    Source: Gudovskiy et al. 2022, section 4.1: eight blocks, a condition of 128 channels, clamp 1.9.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.changed = channels - self.kept
        hidden = 2 * channels
        generator = torch.Generator().manual_seed(channels)
        for block in range(_BLOCKS):
            self.register_buffer(f"order_{block}", torch.randperm(channels, generator=generator))
        self.from_features = nn.ModuleList(nn.Conv2d(self.kept, hidden, 1) for _ in range(_BLOCKS))
        self.from_position = nn.ModuleList(
            nn.Conv2d(_CONDITION_CHANNELS, hidden, 1, bias=False) for _ in range(_BLOCKS)
        )
        self.to_affine = nn.ModuleList(nn.Conv2d(hidden, 2 * self.changed, 1) for _ in range(_BLOCKS))
        for layer in self.to_affine:  # the flow starts near the identity
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, 0.0, 1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Features [n, c, h, w] and codes [1, 128, h, w] to negative log-likelihoods a channel [n, h, w]."""
        latent, log_determinant = self.transformed(features, condition)
        channels = self.kept + self.changed
        energy = 0.5 * channel_sum(latent * latent) / channels + 0.5 * math.log(2 * math.pi)
        return energy - log_determinant / channels

    def transformed(self, features: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The features in the space where they are normally distributed, and the logarithm of the volume's change [n, h, w]."""
        log_determinant = torch.zeros(())
        for block in range(_BLOCKS):
            features = features[:, self.get_buffer(f"order_{block}")]
            kept, moved = features[:, : self.kept], features[:, self.kept :]
            hidden = functional.relu(self.from_features[block](kept) + self.from_position[block](condition))
            affine = self.to_affine[block](hidden)
            # An arctangent bends the scale so that no coupling stretches by more than e^1.9, as in FrEIA.
            log_scale = _CLAMP * 0.636 * torch.atan(affine[:, : self.changed] / _CLAMP)
            features = torch.cat([kept, moved * torch.exp(log_scale) + affine[:, self.changed :]], 1)
            log_determinant = log_determinant + channel_sum(log_scale)
        return features, log_determinant


def position_codes(height: int, width: int) -> Tensor:
    """Sine and cosine codes of every position [1, 128, height, width], half of the channels for the row, half for the column."""
    quarter = _CONDITION_CHANNELS // 4
    rates = torch.exp(torch.arange(quarter) * (-math.log(10_000.0) / quarter))
    row, column = (torch.outer(rates, torch.arange(size, dtype=torch.float32)) for size in (height, width))
    row_code, column_code = (torch.cat([angles.sin(), angles.cos()]) for angles in (row, column))
    spread = [row_code.unsqueeze(2).expand(-1, -1, width), column_code.unsqueeze(1).expand(-1, height, -1)]
    return torch.cat(spread).unsqueeze(0)
