"""The training frame of every method: splits, seeds, epochs, early stopping, the best checkpoint, resuming."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.dataset.splitting import leave_out_copies, split_good, split_test
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write, write_atomically
from edgeleather.imaging.appearance import LEAST_CONTRAST, contrast_of
from edgeleather.methods.method import Method, build_method, method_class
from edgeleather.methods.settings import chosen
from edgeleather.progress import track
from edgeleather.records import to_json
from edgeleather.training.checkpoints import (
    TrainingState,
    checkpoint,
    fingerprint_of,
    read_tensors,
    resumed,
    tensors_of,
)
from edgeleather.training.examples import Examples
from edgeleather.training.left_out import scores_left_out
from edgeleather.training.loading import ModelImages, records_of
from edgeleather.training.run import (
    CHECKPOINT_FILE,
    RUN_FILE,
    WEIGHTS_FILE,
    EpochLosses,
    Run,
    RunMismatchError,
    Splits,
    TrainingSettings,
    check_run_folder,
    read_run,
)
from edgeleather.training.suspect_sheet import write_suspects
from edgeleather.training.suspects import JudgedSuspect, find_suspects, listed_suspects, log_suspects

_LOOKED_AT = 32  # model images that tell whether the pictures are flat
_LOGGER = logging.getLogger(__name__)


@torch.random.fork_rng(devices=[])  # the caller's generator draws on as if nothing had been trained
def train(dataset: Dataset, settings: TrainingSettings, out: Path, suspects: Path | None = None) -> Run:
    """Train a method on a dataset's good pictures and leave a run in `out`, with a sheet of the suspects among them.

    `suspects` is an edited list of them, and `settings.suspects` then "listed".

    An interrupted training of the same settings and pictures goes on; a finished one is returned as it is.

    Raises:
        RunMismatchError: `out` holds another run, or a damaged one.
        EdgeLeatherError: bad pictures, a loss that is not finite, or the disk is full.
    """
    whole = index_dataset(dataset, needs="train")
    index = whole.of_article(settings.article)
    index.require_fit(settings.input_mode)
    elsewhere = {sample.name for sample in whole.train_good}
    splits, training, validation, judged = _split(index, settings, suspects, elsewhere)
    _warn_of_flat_pictures(training, settings)
    if (out / RUN_FILE).exists():
        return _same_run(out, settings, splits)
    torch.manual_seed(settings.seed)
    method = _untrained(settings)
    method.load_backbone(settings.weights)
    method.prepare_training()
    _open_run_folder(out)
    write_suspects(judged, out)
    state = _fit(method, training, validation, settings, splits, out)
    started = time.perf_counter()
    left_out = scores_left_out(method, training, validation, settings.seed)
    method.load_state(state.best_state)
    with torch.no_grad():
        method.eval().finish(Examples(method, training).batches(settings.batch_images))
    state.seconds += time.perf_counter() - started
    run = Run(
        schema=5,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeleather=version("edgeleather"),
        settings=settings,
        dataset=str(dataset.root.resolve()),
        splits=splits,
        versions={name: version(name) for name in ("torch", "numpy")} | {"python": platform.python_version()},
        losses=tuple(state.losses),
        best_epoch=state.best_epoch,
        training_seconds=state.seconds,
        left_out_scores=left_out,
    )
    write_atomically(out / WEIGHTS_FILE, save(tensors_of(method)))
    write_atomically(out / RUN_FILE, to_json(run))
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return run


@torch.random.fork_rng(devices=[])
def load_trained(run: Run, folder: Path) -> Method:
    """The trained method of a run folder, in evaluation mode.

    Raises:
        EdgeLeatherError: the weights are damaged or belong to another method.
    """
    method = _untrained(run.settings)
    state, _ = read_tensors(folder / WEIGHTS_FILE)
    method.load_state(state)
    return method.eval()


def _untrained(settings: TrainingSettings) -> Method:
    own = chosen(method_class(settings.method).settings(), settings.own, settings.method)
    return build_method(settings.method, settings.backbone, settings.input_mode.image_size_hw, own)


def _split(
    dataset: DatasetIndex, settings: TrainingSettings, listed: Path | None, elsewhere: Collection[str]
) -> tuple[Splits, ModelImages, ModelImages, tuple[JudgedSuspect, ...]]:
    """Which pictures go where, the model images of training and validation, and the suspects that were found.

    A picture that sets no threshold is trained on or validated with, where the rest of its photograph is; where that sets the
    threshold it is left aside. `listed` may name pictures of other articles, `elsewhere`.
    """
    good = leave_out_copies(dataset.train_good)
    # Those of the threshold are prepared too: one that does not fit the input mode is told before hours of training.
    images = ModelImages(good, settings.input_mode, "preparing good pictures")
    judged = find_suspects(images, good) if settings.suspects == "leave-out" else ()
    suspects = listed_suspects(listed, good, elsewhere) if listed else tuple(one.suspect for one in judged)
    log_suspects(suspects, len(good))
    use = {one.name: one.use for one in suspects}
    typical = [sample for sample in good if use.get(sample.name, "keep") == "keep"]
    split = split_good(typical, settings.seed)
    validating, held_out = ({sample.group for sample in part} for part in (split.validation, split.threshold))
    rest = [sample for sample in good if use.get(sample.name) == "not for the threshold"]
    training = [*split.training, *(one for one in rest if one.group not in validating | held_out)]
    validation = [*split.validation, *(one for one in rest if one.group in validating - held_out)]
    parts = [sorted(part, key=lambda sample: sample.name) for part in (training, validation)]
    t2_t3 = records_of(split_test(dataset.test, settings.seed))
    trained, validated, thresholds = (records_of(part) for part in (*parts, split.threshold))
    splits = Splits(split.by, trained, validated, thresholds, t2_t3, suspects)
    return splits, images.part(parts[0]), images.part(parts[1]), judged


def _warn_of_flat_pictures(training: ModelImages, settings: TrainingSettings) -> None:
    """Say before hours of training that little can come of it; black or over-exposed leather may yet be what is wanted."""
    contrast = contrast_of(next(training.batches(_LOOKED_AT)))
    if contrast < LEAST_CONTRAST:
        level = settings.input_mode.white_level
        cause = "overexposed or underexposed, or show no leather"
        _LOGGER.warning(
            "the good pictures are flat: their values vary by %.2g of 255. They are %s. An export may refuse what is trained on "
            "them.",
            contrast,
            cause if level is None else f"{cause}, or --white-level {level} is not the camera's white",
        )


def _fit(
    method: Method,
    training: ModelImages,
    validation: ModelImages,
    settings: TrainingSettings,
    splits: Splits,
    out: Path,
) -> TrainingState:
    """All epochs, or those that an interrupted training left; each ends in a checkpoint."""
    optimizer = _optimizer(method, settings)
    fingerprint = fingerprint_of(settings, splits)
    seen, unseen = Examples(method, training), Examples(method, validation)
    state = resumed(out, fingerprint, method, optimizer)
    started = time.perf_counter()
    if not state.losses:
        size = settings.batch_images
        with torch.no_grad():
            method.begin(track(seen.batches(size), "first look", -(-len(training) // size)))
    for epoch in _epochs(settings, state):
        losses = _one_epoch(method, optimizer, seen, unseen, epoch, settings)
        _note_epoch(state, losses, method)
        state.seconds += time.perf_counter() - started
        started = time.perf_counter()
        write_atomically(out / CHECKPOINT_FILE, checkpoint(fingerprint, method, optimizer, state))
        if epoch - state.best_epoch >= settings.patience_epochs:
            break
    return state


def _epochs(settings: TrainingSettings, state: TrainingState) -> Iterator[int]:
    done = len(state.losses)
    if done and done - state.best_epoch >= settings.patience_epochs:
        return
    yield from track(range(done + 1, settings.epochs + 1), "epochs", settings.epochs - done)


def _one_epoch(
    method: Method,
    optimizer: torch.optim.Optimizer | None,
    training: Examples,
    validation: Examples,
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


def _validation_loss(method: Method, validation: Examples, size: int) -> float:
    method.eval()
    with torch.inference_mode():
        sums = [method.validation_loss(batch, frozen).item() * len(batch) for batch, frozen in validation.batches(size)]
    return sum(sums) / len(validation)


def _note_epoch(state: TrainingState, losses: EpochLosses, method: Method) -> None:
    state.losses.append(losses)
    if not math.isfinite(losses.validation):
        raise EdgeLeatherError(f"epoch {losses.epoch}: the validation loss is {losses.validation}.")
    if losses.validation < state.best_loss:
        state.best_loss, state.best_epoch = losses.validation, losses.epoch
        state.best_state = tensors_of(method)


def _optimizer(method: Method, settings: TrainingSettings) -> torch.optim.Optimizer | None:
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return method.build_optimizer(parameters, settings.learning_rate) if parameters else None


def _same_run(out: Path, settings: TrainingSettings, splits: Splits) -> Run:
    try:
        run = read_run(out)
    except EdgeLeatherError as error:
        raise RunMismatchError(str(error)) from error
    if (run.settings, run.splits) != (settings, splits):
        raise RunMismatchError(
            f"{out} holds a finished run of other settings or pictures. Choose another --out, or delete that folder."
        )
    return run


def _open_run_folder(out: Path) -> None:
    check_run_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
