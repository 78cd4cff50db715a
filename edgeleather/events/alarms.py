"""When verdicts become an alarm: N defects of M frames raise it, fewer clear it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgeleather.inspection.decisions import VerdictName

AlarmChange = Literal["raised", "cleared"]
_MOST_FRAMES = 10_000


@dataclass(frozen=True)
class AlarmRules:
    """An alarm is raised at `raise_frames` defects among the last `of_frames`, and cleared when `clear_frames` or fewer are left.

    The gap between the two is the hysteresis. A frame that failed tells nothing: it neither raises nor clears.
    """

    DEFAULTS_APPLY: ClassVar[bool] = True
    raise_frames: int = 1
    of_frames: int = 1
    clear_frames: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.raise_frames <= self.of_frames <= _MOST_FRAMES:
            raise ValueError(
                f"expected 1 <= raise_frames <= of_frames <= {_MOST_FRAMES}, got {self.raise_frames} of {self.of_frames}"
            )
        if not 0 <= self.clear_frames < self.raise_frames:
            raise ValueError(
                f"expected 0 <= clear_frames < raise_frames ({self.raise_frames}), got {self.clear_frames}"
            )


class Alarm:
    """The state of an alarm, frame by frame."""

    def __init__(self, rules: AlarmRules, is_raised: bool = False) -> None:
        """`is_raised` is how an earlier run left it; it is then cleared after a whole window at the earliest."""
        self.is_raised = is_raised
        self._rules = rules
        self._defects: deque[bool] = deque([is_raised] * rules.of_frames, rules.of_frames)

    def take(self, verdict: VerdictName) -> AlarmChange | None:
        """Take a frame's verdict; what it changed."""
        if verdict == "failed":
            return None
        self._defects.append(verdict == "defect")
        count = sum(self._defects)
        if not self.is_raised and count >= self._rules.raise_frames:
            self.is_raised = True
            return "raised"
        if self.is_raised and count <= self._rules.clear_frames:
            self.is_raised = False
            return "cleared"
        return None
