"""Strict records, JSON or TOML: a frozen dataclass is the schema, and unknown, missing or mistyped keys are errors.

A schema with `DEFAULTS_APPLY = True`, for what people write by hand, lets keys be left out that have a default; it may raise a
ValueError in `__post_init__` for values that no type rules out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import read_plain_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Record = TypeVar("Record")
Upgrades = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
LARGEST_RECORD_BYTES = 16_000_000  # a manifest that names 100 000 pictures has 14 MB
_MOST_DOTS_IN_A_LINE = 200


def read_record(schema: type[Record], path: Path, mend: str, upgrades: Upgrades | None = None) -> Record:
    """Read a JSON file into a frozen dataclass.

    `upgrades` has, by the number of an older schema, a pure function that turns a record of it into one of the next schema.

    Raises:
        EdgeLeatherError: the file is absent, no plain file, larger than 16 MB, not JSON, or differs from the schema; `mend`
            says what to do then.
    """
    return decode_record(schema, read_json(path, mend), path, mend, upgrades)


def read_json(path: Path, mend: str, max_bytes: int = LARGEST_RECORD_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        EdgeLeatherError: the file is absent, no plain file, larger than `max_bytes`, or not JSON.
    """
    try:
        return json.loads(read_plain_file(path, max_bytes).decode("utf-8"))
    except FileNotFoundError as error:
        raise EdgeLeatherError(f"expected a file {path}, found none. {mend}") from error
    except OSError as error:
        raise EdgeLeatherError(f"{path}: expected a readable JSON file, got: {error.strerror}. {mend}") from error
    except (ValueError, RecursionError) as error:
        raise EdgeLeatherError(f"{path}: expected a JSON file, got something unreadable ({error}). {mend}") from error


def read_toml(path: Path, max_bytes: int) -> dict[str, Any]:
    """What a TOML file holds, its dates as text.

    Raises:
        OSError: the file cannot be read, is no plain file, or has more than `max_bytes` bytes.
        ValueError: it is no TOML, or a line of it has more than 200 dots.
    """
    text = read_plain_file(path, max_bytes).decode("utf-8")
    for number, line in enumerate(text.split("\n"), start=1):
        # The parser's time grows with the square of the parts of a dotted key: minutes for one line of 100 KB.
        if line.count(".") > _MOST_DOTS_IN_A_LINE:
            raise ValueError(f"line {number}: expected at most {_MOST_DOTS_IN_A_LINE} dots, got {line.count('.')}")
    data: dict[str, Any] = _plain(tomllib.loads(text))
    return data


def _plain(value: Any) -> Any:
    """TOML's values without its dates, which no key takes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def decode_record(schema: type[Record], data: Any, path: Path, mend: str, upgrades: Upgrades | None = None) -> Record:
    """The record in parsed JSON, after the upgrades that its schema number asks for; see `read_record`.

    Raises:
        EdgeLeatherError: the JSON differs from the schema, or a newer edgeleather wrote it.
    """
    newest = max(get_args(get_type_hints(schema).get("schema")), default=None)
    written = data.get("schema") if isinstance(data, Mapping) else None
    if newest is not None and type(written) is int and written > newest:
        raise EdgeLeatherError(
            f"{path}: expected a record of schema {newest} or older, got schema {_short(written)}: a newer edgeleather wrote "
            f"it. Install that version here. {mend}"
        )
    try:
        record: Record = decode(schema, upgraded(data, upgrades or {}), "")
    except (ValueError, OverflowError, RecursionError) as error:
        raise EdgeLeatherError(f"{path}: {error}. {mend}") from error
    return record


def upgraded(data: Any, upgrades: Upgrades) -> Any:
    """Parsed JSON of an older schema, or TOML, as one of the newest; everything else is given back as it is.

    Raises:
        ValueError: the record is not what its schema number says.
    """
    while isinstance(data, Mapping) and type(number := data.get("schema")) is int and number in upgrades:
        try:
            data = upgrades[number](dict(data))
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"expected a record of schema {number}, got one that differs from it ({error!r})"
            ) from error
        if data["schema"] <= number:
            raise AssertionError(f"the upgrade from schema {number} leads to {data['schema']}")
    return data


def to_json(record: Any) -> bytes:
    """A dataclass as indented UTF-8 JSON with a final newline; floats keep every digit, and file names all their bytes.

    Raises:
        ValueError: a float in it is not finite (JSON has no word for that).
    """
    text = json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode(
        "utf-8", "backslashreplace"
    )  # what Python replaces a lone surrogate with is JSON's way to write it


def decode(schema: Any, value: Any, where: str) -> Any:
    """Turn parsed JSON into `schema`; a ValueError names the key, what was expected and what was got."""
    origin, arguments = get_origin(schema), get_args(schema)
    if dataclasses.is_dataclass(schema) and isinstance(schema, type):
        return _decode_dataclass(schema, value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        schemas = [argument for argument in arguments if argument is not type(None)]
        exact = [schema for schema in schemas if type(value) is schema]  # of several scalars, the one that it is
        return decode(exact[0] if exact else schemas[0], value, where)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {_short(value)}")
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected an object, got {_short(value)}")
        return {key: decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _decode_scalar(schema, value, where)


def _decode_dataclass(schema: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'the file'}: expected an object, got {_short(value)}")
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = get_type_hints(schema)
    if "schema" in fields and "schema" in value:  # first: another version's keys are not this one's fault
        decode(hints["schema"], value["schema"], _join(where, "schema"))
    if unknown := sorted(set(value) - set(fields)):
        raise ValueError(f"unknown key {_join(where, unknown[0])!r}; known are {', '.join(fields)}")
    default = dataclasses.MISSING
    optional = [name for name, field in fields.items() if (field.default, field.default_factory) != (default, default)]
    may_lack = optional if getattr(schema, "DEFAULTS_APPLY", False) else []
    if missing := [name for name in fields if name not in value and name not in may_lack]:
        raise ValueError(f"key {_join(where, missing[0])!r} is missing")
    decoded = {name: decode(hints[name], value[name], _join(where, name)) for name in fields if name in value}
    try:
        return schema(**decoded)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, got {_short(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ValueError(f"{where}: expected a list of {len(arguments)}, got {len(value)} items")
    pairs = zip(arguments, value, strict=True)
    return tuple(decode(schema, item, f"{where}[{i}]") for i, (schema, item) in enumerate(pairs))


def _decode_scalar(schema: Any, value: Any, where: str) -> Any:
    if schema is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, schema) or (schema is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {schema.__name__}, got {_short(value)}")
    if schema is float and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {value}")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
