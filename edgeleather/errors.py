"""The one root of what a user can meet: what was expected, what was got, what to do next."""

from __future__ import annotations


class EdgeLeatherError(Exception):
    """A problem in the input or the surroundings; its message is written for the user and shown without a traceback."""


class MissingPartError(EdgeLeatherError):
    """An optional part is not installed; the message names the command that installs it."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} not found: this needs the '{extra}' extra. Run: pip install 'edgeleather[{extra}]'")
