"""memory-bank: the distance of each patch's features to the nearest normal ones, kept as a coreset.

Source: Roth et al., "Towards total recall in industrial anomaly detection" (PatchCore), CVPR 2022. Ours differs where an
engine gains by it: one MatMul against a small bank, no re-weighting of the score by neighbours, standardised channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from edgeleather.errors import EdgeLeatherError
from edgeleather.methods.method import ImageSource, LeavesGroupsOut, LeftOutAnswer, answers_of
from edgeleather.methods.moments import at_least_some
from edgeleather.methods.patch_features import PatchMethod
from edgeleather.methods.settings import MethodSettings, choice
from edgeleather.progress import track

BANK_PATCHES = 1024
_CANDIDATE_PATCHES = 30_000  # of all training patches: the greedy choice costs this times the bank's size
_PROJECTED_CHANNELS = 64
_MAX_REFITS = 40
_NO_DISTANCE = 0.01


@dataclass(frozen=True)
class MemoryBankSettings(MethodSettings):
    """The hyper-parameters of memory-bank that a user may choose."""

    fine_layer: bool = choice(True, "One finer layer of the backbone beside the two others, for small defects.")
    mean_share: float = choice(
        0.5,
        "How much of its mean over the picture every feature loses, 0 to 1: the more, the less the article's look counts.",
        at_least=0.0,
        at_most=1.0,
    )


class MemoryBank(PatchMethod, LeavesGroupsOut):
    """Distance to a coreset of normal patch features.

    Ours differs from PatchCore in one thing more: a part of each picture's own mean is taken away from its features. With all of
    it the bank forgets colours that it was never taught, without any an article of few pictures looks like a defect.
    """

    presets: ClassVar = {
        name: replace(preset, own=MemoryBankSettings()) for name, preset in PatchMethod.presets.items()
    }
    settings: ClassVar = MemoryBankSettings

    def __init__(
        self,
        backbone: str,
        image_size_hw: tuple[int, int],
        own: MemoryBankSettings | None = None,
        bank_patches: int = BANK_PATCHES,
    ) -> None:
        own = own or MemoryBankSettings()
        super().__init__(backbone, image_size_hw, own.fine_layer)
        self.mean_share = own.mean_share
        self.bank_patches = bank_patches
        self.register_buffer("bank", torch.zeros(0, self.channels))  # [patches, channels]
        self.register_buffer("channel_mean", torch.zeros(self.channels))
        self.register_buffer("channel_std", torch.ones(self.channels))
        self._collected: list[Tensor] = []  # one [patches, channels] a training image, raw features

    @classmethod
    def built(cls, backbone: str, image_size_hw: tuple[int, int], own: MethodSettings) -> MemoryBank:
        assert isinstance(own, MemoryBankSettings)
        return cls(backbone, image_size_hw, own)

    bank: Tensor
    channel_mean: Tensor
    channel_std: Tensor

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if "bank" in state and state["bank"].ndim == 2:
            self.bank = torch.zeros_like(state["bank"])
        super().load_state(state)

    def raw_features(self, image: Tensor) -> Tensor:
        raw = super().raw_features(image)
        return raw - self.mean_share * raw.mean((2, 3), keepdim=True) if self.mean_share else raw

    def patch_distances(self, image: Tensor) -> Tensor:
        if not len(self.bank):
            raise EdgeLeatherError("this memory bank is empty: train it first.")
        raw = self.raw_features(image)
        batch, _, height, width = raw.shape
        patches = (raw.flatten(2).transpose(1, 2) - self.channel_mean) / self.channel_std  # [n, patches, channels]
        # |p - b|^2 = |p|^2 - (2 p.b - |b|^2): one MatMul, one maximum. The mean over channels keeps the range free of
        # their number; rounding can push the difference below 0, where the square root has no value.
        closeness = torch.amax(torch.matmul(patches, 2.0 * self.bank.T) - self.bank.square().sum(1), dim=2)
        squared = (patches.square().sum(2) - closeness) / self.bank.shape[1]
        # The root of a difference that rounding alone left would be a thousand times that rounding; 0.01 is no distance.
        return (squared.clamp(min=0.0) + _NO_DISTANCE**2).sqrt().view(batch, height, width)

    def training_step(self, image: Tensor, frozen: list[Tensor]) -> None:
        """Collect raw patch features; the bank is chosen in `end_epoch`."""
        self._collected = _thinned(self._collected + self._patches(image), slack=2.0)

    def end_epoch(self, seed: int) -> None:
        self._fit(_thinned(self._collected, slack=1.0), seed)
        self._collected = []

    def answers_left_out(self, groups: Mapping[str, ImageSource], seed: int) -> dict[str, list[LeftOutAnswer]]:
        """See `LeavesGroupsOut`; with more than 40 groups, several are left out at a time, none is ever split."""
        deployed = (self.bank, self.channel_mean, self.channel_std)
        names = list(groups)
        owners: list[str] = []
        collected: list[Tensor] = []
        for name in track(names, "collecting photographs"):
            for batch in groups[name]():
                collected += self._patches(batch)
                owners += [name] * len(batch)
            collected = _thinned(collected, slack=2.0)
        collected = _thinned(collected, slack=1.0)
        answers: dict[str, list[LeftOutAnswer]] = {}
        per_refit = math.ceil(len(names) / _MAX_REFITS)
        for start in track(range(0, len(names), per_refit), "leaving photographs out"):
            out = names[start : start + per_refit]
            kept = [patches for patches, owner in zip(collected, owners, strict=True) if owner not in out]
            if not kept:
                break
            self._fit(kept, seed)
            for name in out:
                answers[name] = [answer for batch in groups[name]() for answer in answers_of(*self(batch))]
        self.bank, self.channel_mean, self.channel_std = deployed
        return answers

    def _patches(self, image: Tensor) -> list[Tensor]:
        """Raw features [patches, channels] of each image."""
        return [raw.flatten(1).T.contiguous() for raw in self.raw_features(image)]

    def _fit(self, collected: list[Tensor], seed: int) -> None:
        patches = torch.cat(collected)
        self.channel_mean = patches.mean(0)
        self.channel_std = at_least_some(patches.std(0))
        self.bank = coreset((patches - self.channel_mean) / self.channel_std, self.bank_patches, seed)


def coreset(patches: Tensor, size: int, seed: int) -> Tensor:
    """Choose `size` of the patches [n, channels] so that the farthest patch is near to one of them.

    Greedy k-centre choice in a random projection (Sener and Savarese, ICLR 2018; Roth et al. 2022, section 3.2).
    """
    generator = torch.Generator().manual_seed(seed)
    if len(patches) > _CANDIDATE_PATCHES:
        patches = patches[torch.randperm(len(patches), generator=generator)[:_CANDIDATE_PATCHES]]
    projected = patches
    if patches.shape[1] > _PROJECTED_CHANNELS:
        projected = patches @ torch.randn(patches.shape[1], _PROJECTED_CHANNELS, generator=generator)
    squares = projected.square().sum(1)
    nearest = torch.full((len(projected),), math.inf)
    chosen: list[int] = []
    index = 0
    for _ in range(min(size, len(projected))):
        chosen.append(index)
        nearest = torch.minimum(nearest, squares - 2 * (projected @ projected[index]) + squares[index])
        index = int(nearest.argmax())
    return patches[chosen].clone()


def _thinned(collected: list[Tensor], slack: float) -> list[Tensor]:
    """Keep about `_CANDIDATE_PATCHES` of all images' patches, at least 64 of each, so that memory hardly grows with them."""
    share = max(64, math.ceil(_CANDIDATE_PATCHES / max(len(collected), 1)))
    kept = []
    for index, patches in enumerate(collected):
        if len(patches) > slack * share:
            generator = torch.Generator().manual_seed(index)
            patches = patches[torch.randperm(len(patches), generator=generator)[:share]]
        kept.append(patches)
    return kept
