"""draem: one network gives back the good picture beneath a pasted texture, a second one sees where the two differ.

Source: Zavrtanik et al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeleather.arrays import UInt8Array
from edgeleather.dataset.textures import FolderTextures, MadeTextures, Textures, paste_texture
from edgeleather.methods.blocks import ConvBlock, enlarge
from edgeleather.methods.method import NO_BACKBONE, Method, Preset
from edgeleather.methods.settings import MethodSettings, choice
from edgeleather.methods.ssim import Ssim

_ORIGINAL_WIDTH = 128  # of the reconstructive network's first level; the discriminative one's is half of it
_CROP_PX = 128
_FOCUS = 2.0  # gamma of the focal loss
_POOL_PX = 21


@dataclass(frozen=True)
class DraemSettings(MethodSettings):
    """What a user chooses of draem."""

    width: int = choice(
        _ORIGINAL_WIDTH,
        "Channels of its networks' first level; the original's 128 is for GPUs.",
        at_least=1,
        at_most=512,
    )
    textures: str | None = choice(
        None, "Folder of pictures to paste in training (DTD, say); without it they are made.", is_path=True
    )


class Draem(Method):
    """The probability that a pixel is none of the good leather's, averaged over 21 x 21 pixels (sections 3.1 to 3.4).

    Ours differs from the paper in four things:

    - `width` scales both networks; the original's 128 is for GPUs.
    - Training takes crops of 128 pixels from the pictures, at their own scale: both networks are convolutional, and a step
      costs a quarter.
    - The textures are made by rule unless a folder is given.
    - Repeated pixels instead of bilinear enlarging, which INT8 just copies; one output with a sigmoid instead of two
      with a softmax, which is the same.
    """

    presets: ClassVar = {
        "edge": Preset(NO_BACKBONE, epochs=40, learning_rate=0.001, batch_images=8, own=DraemSettings(width=16)),
        # Rate and batch are those of Zavrtanik et al., section 4.
        "paper": Preset(
            NO_BACKBONE, epochs=300, learning_rate=1e-4, batch_images=8, longer_side_px=256, own=DraemSettings()
        ),
    }
    settings: ClassVar = DraemSettings
    # Not the first layer of the discriminative network: it tells picture from reconstruction, whose small differences drown in
    # 8 bits (of the map error that INT8 made on mvtec_leather, 99 % was this one layer's).
    networks: ClassVar = (
        "reconstructive",
        "discriminative.down.levels.0.1",
        *(f"discriminative.down.levels.{level}" for level in range(1, 6)),
        "discriminative.up",
    )
    steps_per_batch: ClassVar = 4

    def __init__(self, backbone: str, image_size_hw: tuple[int, int], own: DraemSettings | None = None) -> None:
        super().__init__(backbone, image_size_hw)
        self._own = own or DraemSettings()
        width = self._own.width
        self.reconstructive = _Reconstructive(width)
        discriminative_width = max(1, width // 2)
        self.discriminative = _Discriminative(discriminative_width)
        # Apart, since it stays float: in 8 bits the small probabilities, by which AUPRO ranks pixels, would be a few steps.
        self.to_logit = nn.Conv2d(discriminative_width, 1, 3, 1, 1)
        self.ssim = Ssim()
        self._textures: Textures = MadeTextures()

    @classmethod
    def built(cls, backbone: str, image_size_hw: tuple[int, int], own: MethodSettings) -> Method:
        """With networks of the chosen width."""
        assert isinstance(own, DraemSettings)
        return cls(backbone, image_size_hw, own)

    def load_backbone(self, weights: str) -> None:
        """Nothing is pretrained."""

    def prepare_training(self) -> None:
        """Read the user's textures, if there are some.

        Raises:
            EdgeLeatherError: their folder holds no picture, or one that cannot be read.
        """
        if self._own.textures:
            self._textures = FolderTextures(Path(self._own.textures))

    def training_step(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """The loss of crops, flipped and turned, with a texture pasted on every other one."""
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        crops = np.stack([_crop(one, rng) for one in image.numpy()])
        return self._loss(crops, rng)

    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """The loss of whole pictures, with the same textures pasted each time."""
        return self._loss(image.numpy(), np.random.default_rng(9))

    def anomaly_map(self, image: Tensor) -> Tensor:
        picture = as_planes(image)
        probability = torch.sigmoid(self._logit(picture, self.reconstructive(picture)))
        # In two passes, each a twentieth of the sums of a square; what lies outside the picture is not counted.
        rows = functional.avg_pool2d(probability, (_POOL_PX, 1), 1, (_POOL_PX // 2, 0), count_include_pad=False)
        mean: Tensor = functional.avg_pool2d(rows, (1, _POOL_PX), 1, (0, _POOL_PX // 2), count_include_pad=False)
        return mean.squeeze(1)

    def _loss(self, good: UInt8Array, rng: np.random.Generator) -> Tensor:
        """Squared error and 1 - SSIM of the reconstruction, focal loss of the segmentation (equations 1 to 4)."""
        pasted, masks = good.copy(), np.zeros(good.shape[:3], np.float32)
        for index in range(len(good)):
            if rng.random() < 0.5:
                pasted[index], masks[index] = paste_texture(good[index], self._textures, rng)
        clean, picture = as_planes(torch.from_numpy(good)), as_planes(torch.from_numpy(pasted))
        given_back = self.reconstructive(picture)
        reconstruction: Tensor = functional.mse_loss(given_back, clean) + 1 - self.ssim(given_back, clean).mean()
        return reconstruction + focal_loss(self._logit(picture, given_back).squeeze(1), torch.from_numpy(masks))

    def _logit(self, picture: Tensor, given_back: Tensor) -> Tensor:
        logit: Tensor = self.to_logit(self.discriminative(torch.cat([picture, given_back], 1)))
        return logit


def as_planes(image: Tensor) -> Tensor:
    """Images uint8 [n, h, w, 3] as floats of 0 to 1 [n, 3, h, w]; no statistics of another data set."""
    return image.to(torch.float32).permute(0, 3, 1, 2) / 255.0


def focal_loss(logit: Tensor, mask: Tensor) -> Tensor:
    """Mean of -(1 - p)^2 log p, p the probability given to what each pixel is (Lin et al., ICCV 2017, equation 4)."""
    log_p = -functional.softplus(torch.where(mask > 0.5, -logit, logit))
    return -((1 - torch.exp(log_p)) ** _FOCUS * log_p).mean()


def _crop(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    side_h, side_w = (min(_CROP_PX, n) for n in image.shape[:2])
    y, x = (int(rng.integers(n - side + 1)) for n, side in zip(image.shape[:2], (side_h, side_w), strict=True))
    crop = image[y : y + side_h, x : x + side_w]
    if side_h == side_w:
        crop = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, :: int(rng.choice((-1, 1)))])


class _Down(nn.Module):
    """Levels of two convolutions each, halved in size between them; gives every level's features, the finest first."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for width in widths:
            self.levels.append(nn.Sequential(ConvBlock(in_channels, width), ConvBlock(width, width)))
            in_channels = width

    def forward(self, features: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for level in self.levels:
            found.append(level(functional.max_pool2d(found[-1], 2) if found else features))
        return found


class _Reconstructive(nn.Module):
    """Picture [n, 3, h, w] to the good picture beneath; nothing passes but through a sixteenth of the size (section 3.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.down = _Down(3, widths)
        self.up = nn.ModuleList(
            nn.Sequential(ConvBlock(coarse, fine), ConvBlock(fine, fine))
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.to_image = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:
        levels = self.down(picture)
        features = levels[-1]
        for stage, level in zip(self.up, levels[-2::-1], strict=True):
            features = stage(enlarge(features, (level.shape[2], level.shape[3])))
        image: Tensor = self.to_image(features)
        return image


class _Discriminative(nn.Module):
    """Picture and reconstruction [n, 6, h, w] to features [n, width, h, w]; each level is passed across (section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width]
        self.down = _Down(6, widths)
        self.up = nn.ModuleList(
            nn.Sequential(ConvBlock(coarse + fine, fine), ConvBlock(fine, fine))
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )

    def forward(self, both: Tensor) -> Tensor:
        levels = self.down(both)
        features = levels[-1]
        for stage, level in zip(self.up, levels[-2::-1], strict=True):
            features = stage(torch.cat([enlarge(features, (level.shape[2], level.shape[3])), level], 1))
        return torch.as_tensor(features)
