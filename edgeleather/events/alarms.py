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


class FrameWindow:
    """Some of the last frames, and how many of them are of one kind (`count`)."""

    def __init__(self, of_frames: int, begins_full: bool = False) -> None:
        """`begins_full` takes all that came before the first frame to be of that kind."""
        self.count = of_frames if begins_full else 0
        self._frames: deque[bool] = deque([begins_full] * of_frames, of_frames)

    def take(self, is_counted: bool) -> None:
        """Take a frame, and forget the oldest one."""
        self.count += is_counted - self._frames[0]
        self._frames.append(is_counted)

    def empty(self) -> None:
        """Forget all frames."""
        self.count = 0
        self._frames.extend([False] * len(self._frames))


class Alarm:
    """The state of an alarm, frame by frame."""

    def __init__(self, rules: AlarmRules, is_raised: bool = False) -> None:
        """`is_raised` is how an earlier run left it; it is then cleared after a whole window at the earliest."""
        self.is_raised = is_raised
        self._rules = rules
        self._defects = FrameWindow(rules.of_frames, begins_full=is_raised)

    def take(self, verdict: VerdictName, is_above_threshold: bool = False) -> AlarmChange | None:
        """Take a frame's verdict; what it changed.

        An unfamiliar frame whose score is above the threshold counts as a defect; any other one tells nothing.
        """
        if verdict == "failed" or (verdict == "unfamiliar" and not is_above_threshold):
            return None
        self._defects.take(verdict != "good")
        if not self.is_raised and self._defects.count >= self._rules.raise_frames:
            self.is_raised = True
            return "raised"
        if self.is_raised and self._defects.count <= self._rules.clear_frames:
            self.is_raised = False
            return "cleared"
        return None
