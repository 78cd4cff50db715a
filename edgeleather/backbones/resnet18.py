"""ResNet18 feature extractor in plain torch, with torchvision's state-dict keys.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016; the backbone of Soares et al. 2023
(section 3.4).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeleather.backbones.backbone import Backbone
from edgeleather.errors import EdgeLeatherError


class _BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(out_channels))

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(features)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.downsample(features))


class ResNet18(Backbone):
    """Feature pyramid of ResNet18: images uint8 [n, h, w, 3] RGB to one [n, c, h / stride, w / stride] a layer.

    Layers are named `layer1` to `layer4`; nothing behind the deepest wanted one is built.
    """

    channels: ClassVar[dict[str, int]] = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    strides: ClassVar[dict[str, int]] = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__(layers)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self._built = [name for name in self.channels if name <= max(layers)]
        in_channels = 64
        for name in self._built:
            out_channels, stride = self.channels[name], 1 if name == "layer1" else 2
            blocks = (_BasicBlock(in_channels, out_channels, stride), _BasicBlock(out_channels, out_channels, 1))
            self.add_module(name, nn.Sequential(*blocks))
            in_channels = out_channels

    @property
    def stem(self) -> nn.Conv2d:
        return self.conv1

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        features = functional.max_pool2d(functional.relu(self.bn1(self.conv1(pixels))), 3, 2, 1)
        pyramid: dict[str, Tensor] = {}
        for name in self._built:
            features = pyramid[name] = getattr(self, name)(features)
        return [pyramid[layer] for layer in self.layers]


def imagenet_weights() -> dict[str, Tensor]:
    """The ImageNet state dict of torchvision's ResNet18, through torch.hub's download and cache.

    Raises:
        EdgeLeatherError: there is no network and the file is not in torch.hub's cache.
    """
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EdgeLeatherError(
            f"ImageNet weights of ResNet18: expected to fetch {url}, got: {error}. Download it elsewhere and say "
            "--weights FILE, or use --backbone efficientnet-lite0, whose weights are installed."
        ) from error
    return state
