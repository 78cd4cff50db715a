"""How long a source is waited for."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_RECONNECT_SECONDS = 30.0
DEFAULT_STALL_SECONDS = 5.0
DEFAULT_STILL_SECONDS = 10.0


@dataclass(frozen=True)
class Patience:
    """How long a lost source is looked for, and how long one may be silent before it counts as lost, in seconds.

    `stall_seconds` of None is 5 s for a device, and never for a watched folder: pictures may come rarely. After
    `still_seconds` of the same frame a device is frozen; 0 is for scenes without any noise. `awaits_first` waits for a
    source that is not there at the start like for one that was lost, and opens one again whose film has ended.
    """

    reconnect_seconds: float = DEFAULT_RECONNECT_SECONDS
    stall_seconds: float | None = None
    awaits_first: bool = False
    still_seconds: float = DEFAULT_STILL_SECONDS

    @property
    def device_stall_seconds(self) -> float:
        """How long a device may be silent."""
        return DEFAULT_STALL_SECONDS if self.stall_seconds is None else self.stall_seconds
