"""What a device is, and how it says that it is not there."""

from __future__ import annotations

from typing import Protocol

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.address import Address


class NotThereError(EdgeLeatherError):
    """A device does not open now; `advice` says what to check, in whole sentences."""

    def __init__(self, name: str, advice: str) -> None:
        super().__init__(f"{name} does not open. {advice}")
        self.advice = advice


class Device(Protocol):
    """One opening of a camera or stream, used on one thread; whoever reads it does states, stalls and opening again.

    It may block in `open` and `read`, and raise anything there: another one is then made.
    """

    def __init__(self, address: Address, stall_seconds: float) -> None:
        """Take the address without reaching it; after `stall_seconds` without a frame nobody waits for this device any more.

        Raises:
            EdgeLeatherError: it can never open here: a library is missing, say.
        """

    def open(self) -> int | None:
        """Open it; how many frames a film has that ends by itself, None for a device without an end.

        Raises:
            NotThereError: it does not open now.
        """

    def read(self) -> AnyArray | None:
        """The next frame, [h, w] or [h, w, 3] (BGR), 8 or 16 bits; None where no frame comes any more."""

    def release(self) -> None:
        """Free it, open or not."""
