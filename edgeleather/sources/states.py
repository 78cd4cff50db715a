"""The states of a source that may come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["streaming", "lost", "silent", "frozen", "streaming again", "moving again", "given up", "closed"]
StateListener = Callable[[State, str], None]

# Those that are the fault `source`, and those that end it.
STATES_OF_FAULT: tuple[State, ...] = ("lost", "silent", "frozen")
STATES_IN_ORDER: tuple[State, ...] = ("streaming", "streaming again", "moving again")
