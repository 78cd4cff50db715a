"""What a sink is, and how it says that an event did not arrive."""

from __future__ import annotations

from typing import Protocol

from edgeleather.errors import EdgeLeatherError


class DeliveryError(EdgeLeatherError):
    """The receiver could not be told now; it is tried again."""


class RefusedError(EdgeLeatherError):
    """The receiver will not take this event; after three refusals it is set aside."""


class Sink(Protocol):
    """Tells one receiver, on its deliverer's thread; `close` may come from another one, to break a delivery off."""

    def deliver(self, event_id: str, body: str) -> None:
        """Tell of one event (a JSON object); a return means that the receiver has it.

        Raises:
            DeliveryError, RefusedError: it has not.
        """

    def close(self) -> None: ...
