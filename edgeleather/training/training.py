"""The training frame of every method: splits, seeds, epochs, early stopping, the best checkpoint, resuming."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeleather.dataset.reading import Dataset, Sample, require_groups
from edgeleather.dataset.splitting import GoodSplit, leave_out_copies, split_good, split_test
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, write_atomically
from edgeleather.imaging.images import image_digest
from edgeleather.methods.method import ImageSource, LeavesGroupsOut, Method, build_method
from edgeleather.progress import track
from edgeleather.records import to_json
from edgeleather.training.loading import ModelImages
from edgeleather.training.run import (
    RUN_FILE,
    WEIGHTS_FILE,
    EpochLosses,
    ImageRecord,
    LeftOutScore,
    Run,
    Splits,
    TrainingSettings,
    read_run,
)

CHECKPOINT_FILE = "checkpoint.safetensors"
_SCORED_IMAGES = 8  # at a time; scores do not depend on it
_CACHED_BYTES = 1 << 30  # for each of the training and the validation part


@dataclass
class _Progress:
    """Where a training stands; all of it is in the checkpoint."""

    losses: list[EpochLosses] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


def train(dataset: Dataset, settings: TrainingSettings, out: Path) -> Run:
    """Train a method on a dataset's good pictures and leave a run in `out`.

    An interrupted training of the same settings and pictures goes on; a finished one is returned as it is.

    Raises:
        EdgeLeatherError: bad pictures, `out` holds another run, a loss that is not finite, or the disk is full.
    """
    splits, training, validation = _split(dataset, settings)
    if (out / RUN_FILE).exists():
        return _same_run(out, settings, splits)
    torch.manual_seed(settings.seed)
    method = build_method(settings.method, settings.backbone, settings.input_mode.image_size_hw, settings.width)
    method.load_backbone(settings.weights)
    if settings.textures:
        method.take_textures(Path(settings.textures))
    _open_run_folder(out)
    progress = _fit(method, training, validation, settings, splits, out)
    started = time.perf_counter()
    left_out = _scores_left_out(method, {"training": training, "validation": validation}, settings.seed)
    method.load_state(progress.best_state)
    with torch.no_grad():
        method.eval().finish(_Examples(method, training).batches(settings.batch_images))
    progress.seconds += time.perf_counter() - started
    run = Run(
        schema=3,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeleather=version("edgeleather"),
        settings=settings,
        dataset=str(dataset.root.resolve()),
        splits=splits,
        versions={name: version(name) for name in ("torch", "numpy")} | {"python": platform.python_version()},
        losses=tuple(progress.losses),
        best_epoch=progress.best_epoch,
        training_seconds=progress.seconds,
        left_out_scores=left_out,
    )
    write_atomically(out / WEIGHTS_FILE, save(_tensors(method)))
    write_atomically(out / RUN_FILE, to_json(run))
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return run


def load_trained(run: Run, folder: Path) -> Method:
    """The trained method of a run folder, in evaluation mode.

    Raises:
        EdgeLeatherError: the weights are damaged or belong to another method.
    """
    settings = run.settings
    method = build_method(settings.method, settings.backbone, settings.input_mode.image_size_hw, settings.width)
    state, _ = _read_tensors(folder / WEIGHTS_FILE)
    method.load_state(state)
    return method.eval()


def _split(dataset: Dataset, settings: TrainingSettings) -> tuple[Splits, ModelImages, ModelImages]:
    """Which pictures go where, and the model images of training and validation."""
    require_groups(dataset)
    digests = [_record(sample).digest for sample in track(dataset.train_good, "looking for copies")]
    split = split_good(leave_out_copies(dataset.train_good, digests), settings.seed)
    training, validation, threshold = (
        ModelImages(part, settings.input_mode, f"reading {name}") for name, part in _parts(split)
    )
    t2_t3 = tuple(_record(sample) for sample in split_test(dataset.test, settings.seed))
    splits = Splits(split.by, training.records, validation.records, threshold.records, t2_t3)
    return splits, training, validation


def _fit(
    method: Method,
    training: ModelImages,
    validation: ModelImages,
    settings: TrainingSettings,
    splits: Splits,
    out: Path,
) -> _Progress:
    """All epochs, or those that an interrupted training left; each ends in a checkpoint."""
    optimizer = _optimizer(method, settings)
    fingerprint = _fingerprint(settings, splits)
    seen, unseen = _Examples(method, training), _Examples(method, validation)
    progress = _resume(out, fingerprint, method, optimizer)
    started = time.perf_counter()
    if not progress.losses:
        size = settings.batch_images
        with torch.no_grad():
            method.begin(track(seen.batches(size), "first look", -(-len(training) // size)))
    for epoch in _epochs(settings, progress):
        losses = _one_epoch(method, optimizer, seen, unseen, epoch, settings)
        _note_epoch(progress, losses, method)
        progress.seconds += time.perf_counter() - started
        started = time.perf_counter()
        write_atomically(out / CHECKPOINT_FILE, _checkpoint(fingerprint, method, optimizer, progress))
        if epoch - progress.best_epoch >= settings.patience_epochs:
            break
    return progress


def _parts(split: GoodSplit) -> tuple[tuple[str, tuple[Sample, ...]], ...]:
    return (("training", split.training), ("validation", split.validation), ("threshold", split.threshold))


def _record(sample: Sample) -> ImageRecord:
    return ImageRecord(sample.name, sample.group, image_digest(sample.read()))


def _epochs(settings: TrainingSettings, progress: _Progress) -> Iterator[int]:
    done = len(progress.losses)
    if done and done - progress.best_epoch >= settings.patience_epochs:
        return
    yield from track(range(done + 1, settings.epochs + 1), "epochs", settings.epochs - done)


class _Examples:
    """A part's model images in batches, each with what the method's frozen part gives for it: computed once, kept up to 1 GiB."""

    def __init__(self, method: Method, images: ModelImages) -> None:
        self._method = method
        self._images = images
        self._cache: dict[int, list[Tensor]] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Batches uint8 [n, h, w, 3] of the images in this order (default: as read), and their frozen features."""
        chosen = range(len(self)) if order is None else order
        for start, batch in zip(range(0, len(chosen), size), self._images.batches(size, chosen), strict=True):
            images = torch.from_numpy(batch)
            indices = chosen[start : start + size]
            each = [self._features(index, images[i : i + 1]) for i, index in enumerate(indices)]
            yield images, [torch.cat(level) for level in zip(*each, strict=True)]

    def _features(self, index: int, image: Tensor) -> list[Tensor]:
        if index in self._cache:
            return self._cache[index]
        with torch.no_grad():
            features = self._method.frozen_features(image)
        size = sum(level.nbytes for level in features)
        if self._cached_bytes + size <= _CACHED_BYTES:
            self._cache[index] = features
            self._cached_bytes += size
        return features


def _one_epoch(
    method: Method,
    optimizer: torch.optim.Optimizer | None,
    training: _Examples,
    validation: _Examples,
    epoch: int,
    settings: TrainingSettings,
) -> EpochLosses:
    # Seeded anew each epoch, so that a resumed training draws what an uninterrupted one would have drawn.
    torch.manual_seed(settings.seed * 100_003 + epoch)
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(training)).tolist()
    if optimizer is None:
        order = sorted(order)
    method.train()
    total, seen = 0.0, 0
    size = settings.batch_images
    batches = training.batches(size, order)
    steps = ((images, frozen) for images, frozen in batches for _ in range(method.steps_per_batch))
    for batch, frozen in track(steps, f"epoch {epoch}", -(-len(training) // size) * method.steps_per_batch):
        with torch.set_grad_enabled(optimizer is not None):
            loss = method.training_step(batch, frozen)
        if loss is not None and optimizer is not None:
            if not torch.isfinite(loss):
                raise EdgeLeatherError(
                    f"epoch {epoch}: the training loss is {loss.item()}. Use a smaller --learning-rate."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call] # torch's own stub
            optimizer.step()
            total, seen = total + loss.item() * len(batch), seen + len(batch)
    method.end_epoch(settings.seed)
    return EpochLosses(epoch, total / seen if seen else None, _validation_loss(method, validation, size))


def _validation_loss(method: Method, validation: _Examples, size: int) -> float:
    method.eval()
    with torch.inference_mode():
        sums = [method.validation_loss(batch, frozen).item() * len(batch) for batch, frozen in validation.batches(size)]
    return sum(sums) / len(validation)


def _note_epoch(progress: _Progress, losses: EpochLosses, method: Method) -> None:
    progress.losses.append(losses)
    if not math.isfinite(losses.validation):
        raise EdgeLeatherError(f"epoch {losses.epoch}: the validation loss is {losses.validation}.")
    if losses.validation < progress.best_loss:
        progress.best_loss, progress.best_epoch = losses.validation, losses.epoch
        progress.best_state = _tensors(method)


def _scores_left_out(method: Method, parts: dict[str, ModelImages], seed: int) -> tuple[LeftOutScore, ...]:
    """Scores of training and validation pictures by a method without their photograph, where refitting is cheap."""
    if not isinstance(method, LeavesGroupsOut):
        return ()
    training, validation = parts["training"], parts["validation"]
    groups = {record.group: training.of_group(record.group) for record in training.records}

    def source(indices: list[int]) -> ImageSource:
        return lambda: map(torch.from_numpy, training.batches(_SCORED_IMAGES, indices))

    sources = {group: source(indices) for group, indices in sorted(groups.items())}
    with torch.inference_mode():
        by_group = method.scores_left_out(sources, seed)
        held_out = [
            float(s) for batch in validation.batches(_SCORED_IMAGES) for s in method(torch.from_numpy(batch))[1]
        ]
    scores = [
        LeftOutScore(record.name, record.group, score) for record, score in _per_image(training, groups, by_group)
    ]
    everything = {"": list(range(len(validation)))}
    scores += [
        LeftOutScore(record.name, record.group, score)
        for record, score in _per_image(validation, everything, {"": held_out})
    ]
    return tuple(sorted(scores, key=lambda item: item.name))


def _per_image(
    images: ModelImages, indices: dict[str, list[int]], scores: dict[str, list[float]]
) -> list[tuple[ImageRecord, float]]:
    """A frame's score is the maximum over its tiles."""
    best: dict[int, float] = {}
    for key, values in scores.items():
        for index, value in zip(indices[key], values, strict=True):
            number = images.sample_of(index)
            best[number] = max(best.get(number, -math.inf), value)
    return [(images.records[number], value) for number, value in best.items()]


def _optimizer(method: Method, settings: TrainingSettings) -> torch.optim.Optimizer | None:
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return method.build_optimizer(parameters, settings.learning_rate) if parameters else None


def _tensors(method: Method) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in method.state_dict().items()}


def _same_run(out: Path, settings: TrainingSettings, splits: Splits) -> Run:
    run = read_run(out)
    if (run.settings, run.splits) != (settings, splits):
        raise EdgeLeatherError(
            f"{out} holds a finished run of other settings or pictures. Choose another --out, or delete that folder."
        )
    return run


def _open_run_folder(out: Path) -> None:
    strangers = [path.name for path in out.iterdir() if path.name != CHECKPOINT_FILE] if out.is_dir() else []
    if out.exists() and (not out.is_dir() or [name for name in strangers if not name.endswith(".partial")]):
        raise EdgeLeatherError(
            f"expected a new folder, an empty one or an interrupted run at {out}, got something else."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error


def _fingerprint(settings: TrainingSettings, splits: Splits) -> str:
    return json.dumps({"settings": asdict(settings), "splits": asdict(splits)}, sort_keys=True)


def _checkpoint(
    fingerprint: str, method: Method, optimizer: torch.optim.Optimizer | None, progress: _Progress
) -> bytes:
    tensors = {f"now.{name}": tensor for name, tensor in _tensors(method).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best_state.items()}
    for index, slots in (optimizer.state_dict()["state"] if optimizer else {}).items():
        tensors |= {f"optimizer.{index}.{slot}": tensor.clone() for slot, tensor in slots.items()}
    standing = {
        "losses": [asdict(losses) for losses in progress.losses],
        "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss,
        "seconds": progress.seconds,
    }
    return save(tensors, {"fingerprint": fingerprint, "standing": json.dumps(standing)})


def _resume(out: Path, fingerprint: str, method: Method, optimizer: torch.optim.Optimizer | None) -> _Progress:
    if not (out / CHECKPOINT_FILE).is_file():
        return _Progress()
    tensors, metadata = _read_tensors(out / CHECKPOINT_FILE)
    if metadata.get("fingerprint") != fingerprint:
        raise EdgeLeatherError(
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
    return _Progress(losses, standing["best_epoch"], standing["best_loss"], parts["best"], standing["seconds"])


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise EdgeLeatherError(f"{path}: expected a safetensors file, got something unreadable ({error}).") from error
