"""Options that several commands share, each defined once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND
from edgeleather.imaging.preprocess import Fit

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
white_level_option = click.option(
    "--white-level",
    type=click.IntRange(1, 65535),
    default=None,
    help="Pictures of 16 bits a channel: the value that is white, 4095 for a 12-bit camera.  [default: what was kept, else "
    "they are refused]",
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
