"""How long a live source is waited for."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_RECONNECT_SECONDS = 30.0
DEFAULT_STALL_SECONDS = 5.0


@dataclass(frozen=True)
class Patience:
    """How long a lost source is looked for, and how long one may be silent before it counts as lost, in seconds.

    `awaits_first` waits for a source that is not there at the start like for one that was lost.
    """

    reconnect_seconds: float = DEFAULT_RECONNECT_SECONDS
    stall_seconds: float = DEFAULT_STALL_SECONDS
    awaits_first: bool = False
