"""The checkpoint that every epoch leaves, and how an interrupted training goes on from it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeleather.errors import EdgeLeatherError
from edgeleather.methods.method import Method
from edgeleather.training.run import CHECKPOINT_FILE, EpochLosses, RunMismatchError, Splits, TrainingSettings

_VERSION = "2"  # of what stands in a checkpoint


@dataclass
class TrainingState:
    """Where a training stands; all of it is in the checkpoint."""

    losses: list[EpochLosses] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


def tensors_of(method: Method) -> dict[str, Tensor]:
    """A copy of a method's state as it is saved."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in method.state_dict().items()}


def fingerprint_of(settings: TrainingSettings, splits: Splits) -> str:
    """What a checkpoint must agree in with the training that goes on from it."""
    return json.dumps({"settings": asdict(settings), "splits": asdict(splits)}, sort_keys=True)


def checkpoint(
    fingerprint: str, method: Method, optimizer: torch.optim.Optimizer | None, state: TrainingState
) -> bytes:
    """A safetensors file of all that a training needs to go on."""
    tensors = {f"now.{name}": tensor for name, tensor in tensors_of(method).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best_state.items()}
    for index, slots in (optimizer.state_dict()["state"] if optimizer else {}).items():
        tensors |= {f"optimizer.{index}.{slot}": tensor.clone() for slot, tensor in slots.items()}
    standing = {
        "losses": [asdict(losses) for losses in state.losses],
        "best_epoch": state.best_epoch,
        "best_loss": state.best_loss,
        "seconds": state.seconds,
    }
    return save(tensors, {"version": _VERSION, "fingerprint": fingerprint, "standing": json.dumps(standing)})


def resumed(out: Path, fingerprint: str, method: Method, optimizer: torch.optim.Optimizer | None) -> TrainingState:
    """The state that an interrupted training left in a run folder, with method and optimiser filled; a new one without.

    Raises:
        RunMismatchError: the checkpoint is damaged, of another version, or of other settings or pictures.
    """
    if not (out / CHECKPOINT_FILE).is_file():
        return TrainingState()
    try:
        tensors, metadata = read_tensors(out / CHECKPOINT_FILE)
    except EdgeLeatherError as error:
        raise RunMismatchError(f"{error} Delete it and start again.") from error
    if metadata.get("version") != _VERSION:
        raise RunMismatchError(
            f"{out / CHECKPOINT_FILE} is of a training that another version of EdgeLeather began. Delete it and start again."
        )
    if metadata.get("fingerprint") != fingerprint:
        raise RunMismatchError(
            f"{out} holds an interrupted training of other settings or pictures. "
            "Give the same ones to go on with it, choose another --out, or delete that folder."
        )
    parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    method.load_state(parts["now"])
    if optimizer is not None:
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
    standing = json.loads(metadata["standing"])
    losses = [EpochLosses(**entry) for entry in standing["losses"]]
    return TrainingState(losses, standing["best_epoch"], standing["best_loss"], parts["best"], standing["seconds"])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        EdgeLeatherError: it cannot be read as one.
    """
    try:
        with safe_open(path, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise EdgeLeatherError(f"{path}: expected a safetensors file, got something unreadable ({error}).") from error
