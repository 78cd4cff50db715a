"""The one root of what a user can meet: what was expected, what was got, what to do next."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection


class EdgeLeatherError(Exception):
    """A problem in the input or the surroundings; its message is written for the user and shown without a traceback.

    >>> import edgeleather as el
    >>> try:
    ...     el.load("nowhere")
    ... except el.EdgeLeatherError as error:
    ...     print(error)
    expected a bundle folder at nowhere, found none. Make one with: edgeleather teach
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class MissingPartError(EdgeLeatherError):
    """A part is not installed; the message names the command that installs it. No `extra` brings what everything needs."""

    def __init__(self, part: str, extra: str | None) -> None:
        command = f"pip install 'edgeleather[{extra}]'" if extra else "pip install edgeleather"
        needed = f"this needs the '{extra}' extra" if extra else "EdgeLeather needs it everywhere"
        super().__init__(f"{part} not found: {needed}. Run: {command}")


def require_one_of(what: str, value: str | None, known: Collection[str]) -> None:
    """Refuse a setting that is none of those known; None is no setting.

    Raises:
        EdgeLeatherError: it is none of them.
    """
    if value is not None and value not in known:
        raise EdgeLeatherError(f"expected the {what} to be one of {', '.join(known)}, got {value!r}.")


def require_number(what: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse a setting that is no whole number from `least` to `most`; None is no setting.

    Raises:
        EdgeLeatherError: it is not.
    """
    if value is None:
        return
    if not isinstance(value, int) or value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise EdgeLeatherError(f"expected the {what} to be {expected}, got {value!r}.")


def is_one_line(text: str) -> bool:
    """Whether a name holds no line break and no other control character.

    `str.isprintable` refuses more: the blanks of other scripts (U+3000), which folder names do hold.
    """
    return not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text)


def printable(text: str) -> str:
    """Text that any terminal, log and JSON file can take: file names may hold bytes that are no UTF-8, or line breaks."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)
