"""What a user chooses of a training, and what comes of it with a method's preset and a dataset; it imports torch on use."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgeleather.dataset.index import DatasetIndex, index_dataset
from edgeleather.dataset.reading import Dataset
from edgeleather.errors import EdgeLeatherError, MissingPartError, require_number, require_one_of
from edgeleather.files import cannot_write
from edgeleather.imaging.preprocess import Fit, InputMode
from edgeleather.machine import TRAIN_PARTS, is_installed
from edgeleather.methods.settings import MethodSettings, Scalar, chosen
from edgeleather.progress import Progress
from edgeleather.training.input_plan import InputPlan, choose_input_mode
from edgeleather.training.run import Run, Suspect, TrainingSettings, check_run_folder

if TYPE_CHECKING:
    from edgeleather.methods.method import Method, Preset

_LOGGER = logging.getLogger(__name__)
SUSPECT_CHOICES: tuple[Literal["leave-out", "keep"], ...] = ("leave-out", "keep")


@dataclass(frozen=True)
class TrainingChoices:
    """What a user chooses of a training; None leaves it to the method's preset or to the pictures.

    `image_size` is the longer side of the model's images in pixels, `patience` a number of epochs; `white_level` is the value
    of 16-bit pictures that is white; `suspects` says what is done with good pictures that may not be good: "leave-out", "keep",
    or what an edited list of them says; `article` is the only one that is trained on; `own` has values of the method's own
    settings by name.

    Raises:
        EdgeLeatherError: an input kind or a fit that is not known, or a number out of its range.

    >>> import edgeleather as el
    >>> choices = el.TrainingChoices(method="ssim-ae", epochs=1)
    >>> el.teach("photos", "small", choices).run.best_epoch
    1
    """

    method: str = "memory-bank"
    preset: str = "edge"
    backbone: str | None = None
    weights: str = "imagenet"
    image_size: int | None = None
    input_kind: Literal["resize", "tiles"] | None = None
    fit: Fit | None = None
    white_level: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    suspects: str | Path = "leave-out"
    article: str | None = None
    own: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("input kind", self.input_kind, ("resize", "tiles"))
        require_one_of("fit", self.fit, get_args(Fit))
        require_number("image size", self.image_size, 32, 2048)
        require_number("white level", self.white_level, 1, 65_535)
        require_number("number of epochs", self.epochs, 1)
        require_number("patience", self.patience, 1)
        require_number("seed", self.seed, 0, 2**31 - 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise EdgeLeatherError(f"expected the learning rate to be more than 0, got {self.learning_rate}.")


def require_train_extra() -> None:
    """Fail in one sentence where torch and its companions are not installed.

    Raises:
        MissingPartError: one of them is missing.
    """
    for module in TRAIN_PARTS:
        if not is_installed(module):
            raise MissingPartError(module, "train")


def train_chosen(
    dataset: Path | Dataset, choices: TrainingChoices, out: Path, input_mode: InputMode | None = None
) -> Run:
    """Train what a user chose on the good pictures of a dataset (a folder, or its index) and leave a run in `out`.

    `input_mode` counts instead of the one that the choices and the pictures of all articles give.

    Raises:
        EdgeLeatherError: the choices do not go together, the dataset has several articles and none of them was chosen, or see
            `training.training.train`.
        MissingPartError: the 'train' extra is not installed.
    """
    require_train_extra()
    preset, own = preset_and_own(choices)
    check_run_folder(out)
    index = index_dataset(dataset, needs="train")
    require_article(index, choices.article)
    if choices.article is None and len(index.articles) > 1:
        raise EdgeLeatherError(
            f"{index.root}: expected good pictures of one article, got those of {', '.join(index.articles)}. Say which with "
            "--article, or make one bundle of all with: edgeleather teach"
        )
    from edgeleather.training.training import train

    settings = _settings(choices, preset, own, index)
    settings = replace(settings, input_mode=input_mode or settings.input_mode)
    plan = InputPlan(index.of_article(settings.article).sizes_hw, settings.input_mode)
    for warning in plan.warnings():
        _LOGGER.warning("%s", warning)
    return train(index, settings, out, Path(choices.suspects) if settings.suspects == "listed" else None)


def require_article(index: DatasetIndex, article: str | None) -> None:
    """Refuse an article of which a dataset has no good pictures; None for no choice.

    Raises:
        EdgeLeatherError: there is none of this name.
    """
    if article is not None and article not in index.articles:
        known = ", ".join(index.articles)
        there = f"one of {known}" if known else "none, since the good pictures lie in no subfolders"
        raise EdgeLeatherError(f"{index.root}: expected the article to be {there}, got {article!r}.")


def judge_good_pictures(dataset: Path | Dataset, choices: TrainingChoices, out: Path) -> tuple[Suspect, ...]:
    """Find the good pictures of a dataset that may not be good, and leave their list and sheet in the folder `out`.

    Each picture is compared with those of its article.

    Of the choices, those of the model's images count.

    Raises:
        EdgeLeatherError: pictures that cannot be used, or `out` cannot be written.
        MissingPartError: the 'train' extra is not installed.
    """
    require_train_extra()
    index = index_dataset(dataset, needs="train")
    preset, _ = preset_and_own(choices)
    mode = _input_mode(choices, preset, index)
    index.require_fit(mode)
    from edgeleather.training.suspect_sheet import write_suspects
    from edgeleather.training.suspects import suspects_of

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLeatherError(cannot_write(out, error)) from error
    judged = tuple(one for part in index.by_article.values() for one in suspects_of(part, mode))
    write_suspects(judged, out)
    return tuple(one.suspect for one in judged)


def preset_and_own(choices: TrainingChoices) -> tuple[Preset, MethodSettings]:
    """The method's preset, and its own settings with what the user chose of them.

    Raises:
        EdgeLeatherError: no such method or preset, or choices that this method does not leave.
    """
    method = imported_method(choices.method)
    from edgeleather.methods.method import NO_BACKBONE

    if choices.preset not in method.presets:
        raise EdgeLeatherError(f"expected a preset of {', '.join(method.presets)}, got {choices.preset!r}.")
    preset = method.presets[choices.preset]
    if preset.backbone == NO_BACKBONE and choices.backbone not in (None, NO_BACKBONE):
        raise EdgeLeatherError(f"{choices.method} has no backbone: leave --backbone away.")
    if preset.backbone == NO_BACKBONE and choices.weights != "imagenet":
        raise EdgeLeatherError(f"{choices.method} has no backbone to fill: leave --weights away.")
    if choices.input_kind == "tiles" and choices.fit is not None:
        raise EdgeLeatherError("tiles take frames of any aspect ratio: leave crop and stretch away.")
    return preset, chosen(preset.own, choices.own, choices.method)


def imported_method(name: str) -> type[Method]:
    """The class of a method; importing it imports torch.

    Raises:
        EdgeLeatherError: no such method.
        MissingPartError: the 'train' extra is not installed.
    """
    require_train_extra()
    with Progress("loading torch"):
        from edgeleather.methods.method import method_class

        return method_class(name)


def _settings(choices: TrainingChoices, preset: Preset, own: MethodSettings, index: DatasetIndex) -> TrainingSettings:
    from edgeleather.methods.method import NO_BACKBONE

    backbone = choices.backbone or preset.backbone
    return TrainingSettings(
        method=choices.method,
        preset=choices.preset,
        backbone=backbone,
        weights=choices.weights if backbone != NO_BACKBONE else "none",
        input_mode=_input_mode(choices, preset, index),
        epochs=choices.epochs or preset.epochs,
        learning_rate=choices.learning_rate or preset.learning_rate,
        batch_images=preset.batch_images,
        patience_epochs=choices.patience or preset.patience_epochs,
        article=choices.article or (index.articles[0] if index.articles else ""),
        suspects=next((known for known in SUSPECT_CHOICES if known == str(choices.suspects)), "listed"),
        own=asdict(own),
        seed=choices.seed,
    )


def _input_mode(choices: TrainingChoices, preset: Preset, index: DatasetIndex) -> InputMode:
    longer_side_px = choices.image_size or preset.longer_side_px
    kind, fit = choices.input_kind or "resize", choices.fit or "exact"
    return choose_input_mode(index.sizes_hw, kind, longer_side_px, fit).with_white_level(choices.white_level)
