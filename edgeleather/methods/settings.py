"""What a method lets its user choose: the record that a method subclasses, and how a field says what it is. It needs no torch."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgeleather.errors import EdgeLeatherError
from edgeleather.records import decode

Scalar = bool | int | float | str | None
Settings = TypeVar("Settings", bound="MethodSettings")


@dataclass(frozen=True)
class MethodSettings:
    """A method's own hyper-parameters: none here; a method that has some subclasses this in its own file.

    A field is an int, float, str, bool, or one of these or None, and is made by `choice`. A `__post_init__` may raise a
    ValueError for values that no range rules out.
    """


@dataclass(frozen=True)
class Choice:
    """One field of a method's settings as a command shows it; `at_least` and `at_most` are for numbers."""

    name: str
    kind: type
    help: str
    at_least: float | None
    at_most: float | None
    is_path: bool

    @property
    def option(self) -> str:
        """The command's option for it."""
        return f"--{self.name.replace('_', '-')}"


def choice(
    default: Scalar,
    help: str,  # noqa: A002 - what it is called in click, too
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    is_path: bool = False,
) -> Any:
    """A field of a method's settings: its default, a sentence for the command's help, and what values it takes.

    `is_path` says that it names a file or folder of the user: only the last part of that travels in a bundle.
    """
    described = {"help": help, "at_least": at_least, "at_most": at_most, "is_path": is_path}
    return dataclasses.field(default=default, metadata=described)


def choices_of(settings: type[MethodSettings]) -> tuple[Choice, ...]:
    """The fields of a method's settings, in their order."""
    hints = get_type_hints(settings)
    return tuple(
        Choice(field.name, _kind(hints[field.name]), **field.metadata) for field in dataclasses.fields(settings)
    )


def chosen(defaults: Settings, values: Mapping[str, Scalar], method: str) -> Settings:
    """A method's settings with some values other than its preset's.

    Raises:
        EdgeLeatherError: the method has no such field, or a value is none that the field takes.
    """
    known = {one.name: one for one in choices_of(type(defaults))}
    for name, value in values.items():
        if name not in known:
            own = ", ".join(one.option for one in known.values()) or "none of its own"
            raise EdgeLeatherError(
                f"{method} has no option --{name.replace('_', '-')}: leave it away. The method's own options: {own}."
            )
        _check(known[name], value)
    merged = dataclasses.asdict(defaults) | dict(values)
    try:
        found: Settings = decode(type(defaults), merged, "")
    except ValueError as error:
        raise EdgeLeatherError(f"{method}: {error}.") from error
    return found


def without_paths(settings: type[MethodSettings], values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values for another machine: of a path only its last part, since the rest says nothing elsewhere."""
    paths = {one.name for one in choices_of(settings) if one.is_path}
    return {name: Path(v).name if name in paths and isinstance(v, str) else v for name, v in values.items()}


def _kind(hint: Any) -> type:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (argument for argument in get_args(hint) if argument is not type(None))
    assert hint in (bool, int, float, str), hint
    return hint  # type: ignore[no-any-return]


def _check(one: Choice, value: Scalar) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low = one.at_least is not None and value < one.at_least
    if low or (one.at_most is not None and value > one.at_most):
        raise EdgeLeatherError(f"{one.option}: expected {one.at_least} to {one.at_most}, got {value}.")
