"""The table of backbones, and their weights from the installed package, torch.hub, a file or a random seed."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeleather.backbones.backbone import Backbone
from edgeleather.errors import EdgeLeatherError

BACKBONES = {
    "efficientnet-lite0": "edgeleather.backbones.efficientnet_lite0:EfficientNetLite0",
    "resnet18": "edgeleather.backbones.resnet18:ResNet18",
}


def build_backbone(name: str, layers: tuple[str, ...], trained: bool = False) -> Backbone:
    """A backbone of random weights that gives these layers' features; frozen and in evaluation mode unless `trained`.

    Raises:
        EdgeLeatherError: no backbone of this name.
    """
    if name not in BACKBONES:
        raise EdgeLeatherError(f"expected a backbone of {', '.join(BACKBONES)}, got {name!r}.")
    place, _, attribute = BACKBONES[name].partition(":")
    backbone = getattr(importlib.import_module(place), attribute)(layers)
    assert isinstance(backbone, Backbone)
    backbone.trained = trained
    if trained:
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # Lite0's 0.01 would follow the few batches of an epoch far too slowly
    return backbone.requires_grad_(trained).train(trained)


def load_weights(backbone: Backbone, name: str, weights: str) -> None:
    """Fill a backbone: `weights` is "imagenet", "random" (torch's current seed) or the path of a state dict.

    Raises:
        EdgeLeatherError: the weights are not to be had, or belong to another network.
    """
    if weights == "random":
        return
    if weights == "imagenet":
        state = importlib.import_module(BACKBONES[name].partition(":")[0]).imagenet_weights()
    else:
        state = _read_state(Path(weights))
    wanted = backbone.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise EdgeLeatherError(
            f"--weights {weights}: expected the state dict of {name}, but {missing[0]!r} is not in it."
        )
    try:
        backbone.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    except RuntimeError as error:
        raise EdgeLeatherError(f"--weights {weights}: expected the state dict of {name}, got other shapes.") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise EdgeLeatherError(f"--weights: expected 'imagenet', 'random' or a file, got {path}, which is no file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to run what is in the file
            reason = "it is no file of torch, or holds more than tensors. Save the state dict alone, or give a .safetensors file."
        raise EdgeLeatherError(
            f"--weights {path}: expected a state dict, got a file that does not load: {reason}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise EdgeLeatherError(f"--weights {path}: expected a state dict of tensors, got {type(state).__name__}.")
    return state
