"""Secrets in addresses and headers: `${NAME}` from the environment, `${file:PATH}` from a file; never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from edgeleather.errors import EdgeLeatherError

_PLACE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_SECRET = 4096


class Credentials:
    """Fills templates, and takes the secrets that it filled in out of any text that is to be shown or kept."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        """`folder` is where relative secret files lie."""
        self._folder = folder
        self._environment = environment
        self._places: dict[str, str] = {}
        self.names: set[str] = set()

    def fill(self, template: str, encoded: bool = False) -> str:
        """The template with its secrets; `encoded` writes them as an address needs them (/ as %2F and so on).

        Raises:
            EdgeLeatherError: a variable is not set, a file cannot be read, or a placeholder is neither.
        """
        if "${" in _PLACE.sub("", template):
            raise EdgeLeatherError(
                f"expected ${{NAME}} or ${{file:PATH}}, got a placeholder without an end in {template!r}."
            )
        return _PLACE.sub(lambda found: self._value(found[1], encoded), template)

    def _value(self, place: str, encoded: bool) -> str:
        secret = self._from_file(place[5:]) if place.startswith("file:") else self._from_environment(place)
        if not secret or len(secret) > _LONGEST_SECRET or not secret.isprintable():
            raise EdgeLeatherError(
                f"${{{place}}}: expected a secret of one line with at most {_LONGEST_SECRET} printable characters, got "
                f"{'an empty one' if not secret else 'something else'}."
            )
        for form in {secret, quote(secret, safe="")}:
            self._places[form] = f"${{{place}}}"
        return quote(secret, safe="") if encoded else secret

    def _from_environment(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise EdgeLeatherError(f"expected ${{NAME}} or ${{file:PATH}}, got ${{{name}}}.")
        if name not in self._environment:
            raise EdgeLeatherError(f"the environment variable {name} is not set. Set it before the station starts.")
        self.names.add(name)
        return self._environment[name]

    def _from_file(self, name: str) -> str:
        path = self._folder / name
        try:
            if not path.is_file():
                raise EdgeLeatherError(f"expected a file with a secret at {path}, found none.")
            with path.open(encoding="utf-8") as stream:
                return stream.read(2 * _LONGEST_SECRET).rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise EdgeLeatherError(f"{path}: cannot read the secret: {reason}.") from error

    def hide(self, text: str) -> str:
        """A text without the secrets: the name of each stands in its place."""
        for secret, place in sorted(self._places.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(secret, place)
        return text
