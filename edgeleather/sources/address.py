"""What a user writes as a source, told apart without opening it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeleather.errors import printable
from edgeleather.sources.devices.table import DEVICES

_PLACE = re.compile(r"\$\{[^{}]*\}")
_CAMERA = "camera:"
_LONGEST_NUMBER = 4
_NAMES = {_CAMERA: "camera {rest}", "/dev/video": "camera {text}", "gstreamer:": "GStreamer pipeline"}


@dataclass(frozen=True)
class Address:
    """Where frames come from: a device by the beginning of its address (`kind`), or files where that is empty.

    `text` is what opens it and may hold secrets; `name` is what may be shown and recorded. `snapshot_seconds` is the time from
    one picture to the next where each has to be asked for, None for the device's own.
    """

    text: str
    name: str
    kind: str = ""
    snapshot_seconds: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether it is a device, and no file."""
        return bool(self.kind)

    @property
    def rest(self) -> str:
        """What stands behind the kind."""
        return self.text[len(self.kind) :]


def parse_address(text: str, template: str | None = None) -> Address:
    """The address that a user wrote; `template` is what may be shown of it, where secrets were filled in.

    Raises:
        ValueError: a scheme that no device has.
    """
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        text = f"{_CAMERA}{int(text)}"
    kind = next((kind for kind in DEVICES if _begins(text, kind)), "")
    if not kind and "://" in text:
        *others, last = (known.removesuffix("://") for known in DEVICES if known.endswith("://"))
        scheme = printable(text.partition("://")[0])
        raise ValueError(f"expected {', '.join(others)} or {last}, got {scheme!r}; or a file or camera")
    if kind in _NAMES:
        return Address(text, _NAMES[kind].format(text=printable(text), rest=printable(text[len(kind) :])), kind)
    shown = text if template is None else template
    return Address(text, without_credentials(shown) if "://" in shown else printable(shown), kind)


def _begins(text: str, kind: str) -> bool:
    if kind == _CAMERA:
        return text.startswith(kind) and text[len(kind) :].isdecimal()  # else a file's name may begin so
    return text.lower().startswith(kind) if kind.endswith("://") else text.startswith(kind)


def has_literal_credentials(address: str) -> bool:
    """Whether an address names a user or password that is no placeholder.

    An @ behind the first / is a path's, unless what stands before that / cannot be a host: a password may hold a / by mistake.
    """
    _, found, rest = address.partition("://")
    rest = _PLACE.sub("", rest)
    place = rest.partition("/")[0]
    user, at, _ = place.rpartition("@")
    if not at and ":" in place and not place.startswith("[") and not place.rpartition(":")[2].isdecimal():
        user, at, _ = rest.rpartition("@")
    return bool(found and at and user.strip(":"))


def without_credentials(address: str) -> str:
    """An address as it may be shown and recorded: without user, password and query.

    By hand: a password with `/`, `?` or `#` in it, which should have been percent-encoded, must not be shown either.
    """
    scheme, _, rest = address.partition("://")
    place = rest.rpartition("@")[2]
    return printable(f"{scheme}://{re.split('[?#]', place)[0]}")
