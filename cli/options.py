"""Options that several commands share, each defined once."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND
from edgeleather.imaging.preprocess import Fit
from edgeleather.methods.table import METHODS

Command = TypeVar("Command", bound=Callable[..., Any])


class FiniteFloat(click.FloatRange):
    """A float range that takes neither nan nor inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number to work with.", param, ctx)
        return number


def absolute_path(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Callback for a place to write: made absolute, so that `.` has a name and a parent."""
    return None if value is None else Path(os.path.abspath(value))  # noqa: PTH100 - resolve() would follow a link


dataset_argument = click.argument("dataset", type=click.Path(path_type=Path))
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every draw."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 256), default=None, help="Cores for inference.  [default: all usable ones]"
)
backend_option = click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default=REFERENCE_BACKEND,
    show_default=True,
    help="What runs the engine.",
)
false_alarm_rate_option = click.option(
    "--false-alarm-rate",
    type=FiniteFloat(0, 1, min_open=True, max_open=True),
    default=None,
    help="Good frames that may be called defects, 0.01 is 1 %. A rate too rare for the held-out good pictures is "
    "extrapolated from their tail.",
)
input_option = click.option(
    "--input",
    "input_kind",
    type=click.Choice(["resize", "tiles"]),
    default=None,
    help="Whole frames at the model's size, or tiles at the scale of training.",
)
force_option = click.option("--force", is_flag=True, help="Replace a bundle that is there already.")


def fit_options(command: Command) -> Command:
    """`--crop` and `--stretch`, which exclude each other, as one `fit`: what happens to another aspect ratio."""

    def set_fit(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and ctx.params.get("fit"):
            raise click.UsageError("--crop and --stretch exclude each other.", ctx)
        ctx.params["fit"] = param.name if value else ctx.params.get("fit")

    crop = "Frames of another aspect ratio: use the centre."
    for name, help_text in (("--stretch", "... or distort them."), ("--crop", crop)):
        option = click.option(name, is_flag=True, expose_value=False, callback=set_fit, help=help_text)
        command = option(command)
    return command


@dataclass(frozen=True)
class TrainingChoices:
    """What a user chose of a training with the options below; None leaves it to the method or the pictures."""

    method: str
    preset: str = "edge"
    backbone: str | None = None
    weights: str = "imagenet"
    image_size: int | None = None
    input_kind: str | None = None
    fit: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    width: int | None = None
    textures: Path | None = None
    seed: int = 0


_TRAINING_OPTIONS = (
    click.option("--method", required=True, help=", ".join(METHODS)),
    click.option(
        "--preset",
        type=click.Choice(["edge", "paper"]),
        default="edge",
        show_default=True,
        help="What is taken where nothing else is said: for a small machine, or as in the seed paper (ResNet18, 300 epochs).",
    ),
    click.option("--backbone", default=None, help="efficientnet-lite0 or resnet18  [default: the preset's]"),
    click.option(
        "--weights", default="imagenet", show_default=True, help="Of the backbone: imagenet, random, or a file."
    ),
    click.option(
        "--image-size",
        type=click.IntRange(32, 2048),
        default=None,
        help="Longer side of the model's images in pixels.  [default: the pictures' own, at most 256; preset paper: 256]",
    ),
    input_option,
    fit_options,
    click.option("--epochs", type=click.IntRange(1), default=None, help="At most.  [default: the preset's]"),
    click.option("--learning-rate", type=FiniteFloat(0, min_open=True), default=None, help="[default: the preset's]"),
    click.option(
        "--patience",
        type=click.IntRange(1),
        default=None,
        help="Stop after so many epochs without a better validation loss.  [default: the preset's]",
    ),
    click.option(
        "--width",
        type=click.IntRange(1, 512),
        default=None,
        help="draem: channels of its networks' first level; the original's 128 is for GPUs.  [default: the preset's]",
    ),
    click.option(
        "--textures",
        type=click.Path(path_type=Path),
        callback=absolute_path,
        default=None,
        help="draem: folder of pictures to paste in training (DTD, say).  [default: made ones]",
    ),
    seed_option,
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `train` and `teach` ask alike, given to the command as one `training: TrainingChoices`."""

    @functools.wraps(command)
    def gathering(**options: Any) -> None:
        chosen = {choice.name: options.pop(choice.name) for choice in fields(TrainingChoices)}
        command(training=TrainingChoices(**chosen), **options)

    decorated: Callable[..., None] = gathering
    for option in reversed(_TRAINING_OPTIONS):
        decorated = option(decorated)
    return decorated


def fit_of(fit: str | None, input_kind: str | None) -> Fit | None:
    """The chosen fit as the type it has.

    Raises:
        click.UsageError: tiles are asked for as well, which fit any aspect ratio.
    """
    if fit and input_kind == "tiles":
        raise click.UsageError(f"--{fit} is for --input resize; tiles take frames of any aspect ratio.")
    return None if fit is None else "crop" if fit == "crop" else "stretch"


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False))
