"""A webhook: each event is an HTTP POST of its JSON object."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.sinks.sink import DeliveryError, RefusedError
from edgeleather.events.sinks.table import DEFAULT_TOPICS
from edgeleather.events.store import Topic
from edgeleather.sources.address import has_literal_credentials, without_credentials
from edgeleather.sources.credentials import Credentials

# What says that this event will never be taken; any other answer may change (a login, a path, a server that is busy).
_REFUSALS = (400, 409, 413, 415, 422)
_MOST_ANSWER_BYTES = 65_536


@dataclass(frozen=True)
class WebhookSettings:
    """`address` and the values of `headers` may hold `${NAME}` and `${file:PATH}`."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    kind: Literal["webhook"]
    address: str
    receives: tuple[Topic, ...] = DEFAULT_TOPICS
    headers: dict[str, str] = field(default_factory=dict)
    timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        require_address(self.address, ("http", "https"))
        if not 0 < self.timeout_seconds <= 60:
            raise ValueError(f"timeout_seconds: expected more than 0 and at most 60, got {self.timeout_seconds}")
        for name, value in self.headers.items():
            if not name or not name.isascii() or not name.replace("-", "").isalnum() or not value.isprintable():
                raise ValueError(f"headers: {name!r} is no header's name, or its value has a line break")

    def open(self, credentials: Credentials, folder: Path, station: str) -> Webhook:
        headers = {name: credentials.fill(value) for name, value in self.headers.items()}
        address = credentials.fill(self.address, encoded=True)
        for name, value in headers.items():
            if not value.isascii():
                raise EdgeLeatherError(f"headers: expected ASCII characters in the value of {name}, got others.")
        return Webhook(address, headers, self.timeout_seconds, without_credentials(self.address))


class Webhook:
    """A receiver that answers 2xx has the event; `Idempotency-Key` is the event's id, the same on a repeat.

    The connection is kept between events. A redirect is not followed: the POST would become a GET without the event.
    """

    def __init__(self, address: str, headers: dict[str, str], timeout_seconds: float, shown: str) -> None:
        self._place = urlsplit(address)
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgeleather"} | headers
        if self._place.username is not None:
            self._headers["Authorization"] = _basic(self._place)
        path = urlunsplit(("", "", self._place.path or "/", self._place.query, ""))
        self._path = quote(path, safe="/?%:@!$&'()*+,;=~-._")
        self._timeout_seconds, self._shown = timeout_seconds, shown
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, event_id: str, body: str) -> None:
        is_new = self._connection is None
        guard = threading.Timer(
            2 * self._timeout_seconds, self._shut
        )  # the socket's own limit is for each byte that comes
        guard.start()
        try:
            code, reason = self._post(event_id, body)
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            self.close()
            if is_new or isinstance(error, TimeoutError):
                raise DeliveryError(f"{self._shown} cannot be reached: {error or type(error).__name__}.") from error
            # A kept connection may have been closed meanwhile: once more on a new one.
            return self.deliver(event_id, body)
        finally:
            guard.cancel()
        if not 200 <= code < 300:
            said = f"{self._shown} answered {code} {reason}."
            raise RefusedError(said) if code in _REFUSALS else DeliveryError(said)
        return None

    def _post(self, event_id: str, body: str) -> tuple[int, str]:
        if self._connection is None:
            is_secure = self._place.scheme == "https"
            kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
            port = self._place.port or kind.default_port  # said, or the end of an IPv6 address would be taken for it
            self._connection = kind(self._place.hostname or "", port, timeout=self._timeout_seconds)
        self._connection.request("POST", self._path, body.encode(), self._headers | {"Idempotency-Key": event_id})
        answer = self._connection.getresponse()
        if len(answer.read(_MOST_ANSWER_BYTES)) == _MOST_ANSWER_BYTES:
            self.close()  # rather than read for ever what nobody asked for
        return answer.status, answer.reason

    def close(self) -> None:
        self._shut()  # first: another thread may be reading, and hold what closing waits for
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _shut(self) -> None:
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _basic(place: SplitResult) -> str:
    user = f"{unquote(place.username or '')}:{unquote(place.password or '')}"
    return "Basic " + base64.b64encode(user.encode()).decode()


def require_address(address: str, schemes: tuple[str, ...]) -> None:
    """Check an address of a station file before its secrets are filled in.

    Raises:
        ValueError: another scheme, no host or none that can be, a port out of range, spaces, or a password written out.
    """
    if has_literal_credentials(address):
        raise ValueError(
            "address: expected user and password as ${NAME} (from the environment) or ${file:PATH}, got them written out"
        )
    try:
        place = urlsplit(address)
        (place.hostname or "").encode("idna")
        is_good = place.scheme in schemes and bool(place.hostname) and (place.port is None or place.port > 0)
    except ValueError:
        is_good = False
    if not is_good or any(c.isspace() or not c.isprintable() for c in address):
        expected = " or ".join(f"{scheme}://HOST" for scheme in schemes)
        raise ValueError(f"address: expected {expected}, got {without_credentials(address)!r}")
