"""The states of a source that may come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["streaming", "lost", "streaming again", "given up", "closed"]
StateListener = Callable[[State, str], None]
