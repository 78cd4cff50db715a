"""The options of a training, for `train` and `teach`: those of every method, and those of the one that `--method` names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from edgeleather.cli.options import (
    FiniteFloat,
    absolute_path,
    fit_of,
    fit_options,
    input_option,
    seed_option,
    white_level_option,
)
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import TRAIN_PARTS, is_installed
from edgeleather.methods.settings import Choice, choices_of
from edgeleather.methods.table import METHODS
from edgeleather.training.choices import SUSPECT_CHOICES, TrainingChoices, imported_method

_OWN = "own__"  # before the name of a method's own option, among a command's parameters
_OWN_OPTIONS = "edgeleather.own_options"  # their place in click's context


def _suspects(ctx: click.Context, param: click.Parameter, value: str) -> str | Path:
    if value in SUSPECT_CHOICES:
        return value
    if not Path(value).is_file():
        raise click.BadParameter(f"expected leave-out, keep or a file, got {value!r}, and no file is there.")
    return absolute_path(ctx, param, Path(value)) or value


_TRAINING_OPTIONS = (
    click.option(
        "--method",
        required=True,
        help=f"{', '.join(METHODS)}. With --help, the method's own options are shown as well.",
    ),
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
    white_level_option,
    click.option("--epochs", type=click.IntRange(1), default=None, help="At most.  [default: the preset's]"),
    click.option("--learning-rate", type=FiniteFloat(0, min_open=True), default=None, help="[default: the preset's]"),
    click.option(
        "--patience",
        type=click.IntRange(1),
        default=None,
        help="Stop after so many epochs without a better validation loss.  [default: the preset's]",
    ),
    click.option(
        "--suspects",
        default="leave-out",
        show_default=True,
        metavar="leave-out|keep|FILE",
        callback=_suspects,
        help="Good pictures that may not be good: left out of training and threshold, kept, or what an edited list of "
        "`dataset suspects` says.",
    ),
    click.option("--article", default=None, help="Train on this one alone, where the good pictures lie in subfolders."),
    seed_option,
)


class TrainingCommand(click.Command):
    """A command that has, beside its own options, those of the method that is named on its command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        method = _named_method(args)
        can_import = all(map(is_installed, TRAIN_PARTS))
        # Help is shown without torch, too; everything else of these commands needs it and says so.
        if method is not None and (can_import or not {"--help", *ctx.help_option_names} & set(args)):
            own = choices_of(imported_method(method).settings)
            ctx.meta[_OWN_OPTIONS] = [_option(choice) for choice in own]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if method is not None and (owners := _methods_with(error.option_name)):
                raise EdgeLeatherError(
                    f"{method} has no {error.option_name}, which is an option of {', '.join(owners)}: leave it away."
                ) from error
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *params, help_option = super().get_params(ctx)
        return [*params, *ctx.meta.get(_OWN_OPTIONS, ()), help_option]


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `train` and `teach` ask alike, given to the command as one `training: TrainingChoices`."""

    @functools.wraps(command)
    def gathering(**options: Any) -> None:
        own = {name.removeprefix(_OWN): options.pop(name) for name in list(options) if name.startswith(_OWN)}
        chosen = {one.name: options.pop(one.name) for one in fields(TrainingChoices) if one.name != "own"}
        chosen["fit"] = fit_of(chosen["fit"], chosen["input_kind"])
        chosen["own"] = {name: value for name, value in own.items() if value is not None}
        command(training=TrainingChoices(**chosen), **options)

    decorated: Callable[..., None] = gathering
    for option in reversed(_TRAINING_OPTIONS):
        decorated = option(decorated)
    return decorated


def _named_method(args: Sequence[str]) -> str | None:
    """The method on a command line that is not parsed yet: what options there are depends on it."""
    method: str | None = None
    for word, following in zip(args, (*args[1:], None), strict=True):
        if word == "--":
            break
        if word == "--method":
            method = following
        elif word.startswith("--method="):
            method = word.partition("=")[2]
    return method


def _methods_with(option: str) -> list[str]:
    """The methods that have an option of their own of this name."""
    return [name for name in METHODS if any(one.option == option for one in choices_of(imported_method(name).settings))]


def _option(choice: Choice) -> click.Option:
    kinds: dict[type, Any] = {
        int: click.IntRange(_whole(choice.at_least), _whole(choice.at_most)),
        float: FiniteFloat(choice.at_least, choice.at_most),
        str: click.STRING,
        bool: click.BOOL,
    }
    kind, callback = kinds[choice.kind], None
    if choice.is_path:
        kind, callback = click.Path(), _absolute
    name = f"{choice.option}/--no-{choice.option[2:]}" if choice.kind is bool else choice.option
    help_text = f"{choice.help}  [default: the preset's]"
    return click.Option([_OWN + choice.name, name], type=kind, callback=callback, default=None, help=help_text)


def _absolute(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    path = absolute_path(ctx, param, value)  # type: ignore[arg-type] # what os.path.abspath takes
    return None if path is None else str(path)


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
