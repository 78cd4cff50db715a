"""What every method is: a torch module from images to anomaly maps, and how the training frame drives it."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgeleather.errors import EdgeLeatherError
from edgeleather.imaging.appearance import answer_to
from edgeleather.methods.settings import MethodSettings
from edgeleather.methods.table import METHODS

NO_BACKBONE = "none"
ImageSource = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class Preset:
    """What a training takes where the user says nothing else; `backbone` is "none" for a method without one.

    `own` are the method's own settings.
    """

    backbone: str
    epochs: int
    learning_rate: float
    batch_images: int
    patience_epochs: int = 20
    longer_side_px: int | None = None  # of the model's images; None: the pictures' own, at most 256
    own: MethodSettings = field(default_factory=MethodSettings)


class Method(nn.Module, ABC):
    """Images uint8 [n, h, w, 3] RGB to `anomaly_map` float32 [n, h, w] and `anomaly_score` float32 [n], its maximum.

    Scores are absolute: a picture's does not depend on the others in the batch. The training frame calls `begin` once,
    `training_step` for each batch, `end_epoch` after each epoch and `validation_loss` on the validation pictures, each with what
    `frozen_features` gave for those images: it is computed once and kept.
    """

    steps_per_batch: ClassVar[int] = 1  # of the optimiser, for a method that draws a part of each batch
    networks: ClassVar[tuple[str, ...]]  # submodules whose layers INT8 may quantise; everything else stays float

    presets: ClassVar[Mapping[str, Preset]]  # "edge", the default, and "paper": Soares et al. 2023, section 3.4
    settings: ClassVar[type[MethodSettings]] = MethodSettings  # what the user may choose of this method alone

    def __init__(self, backbone: str, image_size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.image_size_hw = image_size_hw

    @classmethod
    def built(cls, backbone: str, image_size_hw: tuple[int, int], own: MethodSettings) -> Method:
        """A method of this backbone and size; one with settings of its own (`own`, of the class `settings`) takes them here."""
        return cls(backbone, image_size_hw)

    @abstractmethod
    def load_backbone(self, weights: str) -> None:
        """Fill the pretrained part; see `backbones.loading.load_weights`."""

    @abstractmethod
    def anomaly_map(self, image: Tensor) -> Tensor:
        """Images uint8 [n, h, w, 3] to maps float32 [n, h, w]; the higher, the more novel."""

    def frozen_features(self, image: Tensor) -> list[Tensor]:
        """What a pretrained, frozen part gives for images, one [n, ...] each; training keeps it between epochs."""
        return []

    def prepare_training(self) -> None:
        """Called once before a training and never for a trained method: to read what the user's settings name.

        Raises:
            EdgeLeatherError: it cannot be used.
        """

    def begin(self, batches: Iterable[tuple[Tensor, list[Tensor]]]) -> None:
        """Called before the first epoch with all training images and their frozen features."""

    @abstractmethod
    def training_step(self, image: Tensor, frozen: list[Tensor]) -> Tensor | None:
        """The loss of one batch of normal images, or None from a method that only collects."""

    @abstractmethod
    def validation_loss(self, image: Tensor, frozen: list[Tensor]) -> Tensor:
        """What early stopping and the choice of the best epoch watch: the mean over one batch of normal images."""

    def build_optimizer(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimiser of the trained parameters."""
        return torch.optim.Adam(parameters, lr=learning_rate)

    def end_epoch(self, seed: int) -> None:
        """Called after the last batch of an epoch."""

    def finish(self, batches: Iterable[tuple[Tensor, list[Tensor]]]) -> None:
        """Called once with all training images when the best epoch's weights are back: constants to freeze."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = self.anomaly_map(image)
        return anomaly_map, torch.amax(anomaly_map, dim=(1, 2))

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Fill all of the method from a saved state dict.

        Raises:
            EdgeLeatherError: the state belongs to another method or size.
        """
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise EdgeLeatherError(f"expected the weights of this method, got others: {error}") from error


@dataclass(frozen=True)
class LeftOutAnswer:
    """The score of one image, and the statistics of its map that `imaging.appearance.ANSWER` names."""

    score: float
    statistics: tuple[float, ...]


def answers_of(maps: Tensor, scores: Tensor) -> list[LeftOutAnswer]:
    """What a method answered to images: maps float32 [n, h, w] and their scores float32 [n]."""
    pairs = zip(maps.numpy(), scores.tolist(), strict=True)
    return [LeftOutAnswer(score, tuple(answer_to(anomaly_map, score))) for anomaly_map, score in pairs]


class LeavesGroupsOut(ABC):
    """A method that is refitted so cheaply that every training photograph can be scored by a model without it."""

    @abstractmethod
    def answers_left_out(self, groups: Mapping[str, ImageSource], seed: int) -> dict[str, list[LeftOutAnswer]]:
        """For each group, the answers to its images [n, h, w, 3] of a refit without that group's images."""


def method_class(method: str) -> type[Method]:
    """The class of a method by name.

    Raises:
        EdgeLeatherError: no such method.
    """
    if method not in METHODS:
        raise EdgeLeatherError(f"expected a method of {', '.join(METHODS)}, got {method!r}.")
    module, _, attribute = METHODS[method].partition(":")
    found: type[Method] = getattr(importlib.import_module(module), attribute)
    return found


def build_method(
    method: str, backbone: str, image_size_hw: tuple[int, int], own: MethodSettings | None = None
) -> Method:
    """A method by name, its backbone not yet filled; `own` are its own settings, their defaults where none are given.

    Raises:
        EdgeLeatherError: no such method or backbone.
    """
    found = method_class(method)
    return found.built(backbone, image_size_hw, found.settings() if own is None else own)
