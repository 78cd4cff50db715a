"""What is wrong with a station itself, so that nobody would see a defect: one state per fault, raised and cleared once each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from edgeleather.events.alarms import AlarmChange, FrameWindow
from edgeleather.inspection.inspector import Inspection
from edgeleather.sources.states import STATES_IN_ORDER, STATES_OF_FAULT, State

FaultName = Literal["source", "frames", "view", "engine"]
FAULTS: tuple[FaultName, ...] = ("source", "frames", "view", "engine")
_IN_A_ROW = 10  # frames that failed raise the fault `frames`; as many that did not clear it
_FAILED_OF, _FAILED_RAISES, _FAILED_CLEARS = 50, 25, 12
_UNFAMILIAR_OF, _UNFAMILIAR_RAISES, _UNFAMILIAR_CLEARS = 20, 10, 5


class Faults:
    """The faults `source`, `frames`, `view` and `engine`.

    `source`: it is lost, silent or frozen; `frames`: too many of them fail; `view`: too many are unfamiliar; `engine`: it hangs.
    `source` and `engine` may be told from any thread, frames from the loop's alone.
    """

    def __init__(self, raised: Collection[FaultName], on_change: Callable[[AlarmChange, FaultName, str], None]) -> None:
        """`raised` are those that an earlier run left so; `on_change` gets each change with its reason."""
        self._raised = set(raised)
        self._on_change = on_change
        self._failed = FrameWindow(_FAILED_OF)
        self._failed_in_a_row = self._inspected_in_a_row = 0
        self._unfamiliar = FrameWindow(_UNFAMILIAR_OF, begins_full="view" in self._raised)

    def is_raised(self, what: FaultName) -> bool:
        return what in self._raised

    def change(self, state: AlarmChange, what: FaultName, detail: str) -> bool:
        """Raise or clear a fault; False, and nothing happens, where it is so already."""
        if (state == "raised") == (what in self._raised):
            return False
        if state == "raised":
            self._raised.add(what)
        else:
            self._raised.discard(what)
        self._on_change(state, what, detail)
        return True

    def source_changed(self, state: State, detail: str) -> bool:
        """Take a state of a source; one that is lost, silent or frozen is a fault until new frames come again.

        Whether that raised or cleared the fault.
        """
        if state in STATES_OF_FAULT:
            return self.change("raised", "source", detail)
        return state in STATES_IN_ORDER and self.change("cleared", "source", detail)

    def take(self, inspection: Inspection) -> None:
        """Take a frame."""
        verdict = inspection.verdict
        if verdict in ("good", "defect") and not (self._raised or self._failed.count or self._unfamiliar.count):
            return  # nearly every frame of a station that is well
        if verdict == "failed":
            self._take_failed(inspection)
            return
        self._take_inspected()
        self._take_view(inspection)

    def _take_failed(self, inspection: Inspection) -> None:
        self._failed.take(True)
        self._inspected_in_a_row = 0
        self._failed_in_a_row += 1
        last = f"the last: {inspection.error}"
        if self._failed_in_a_row >= _IN_A_ROW:
            self.change("raised", "frames", f"{_IN_A_ROW} frames in a row failed; {last}")
        elif self._failed.count >= _FAILED_RAISES:
            self.change("raised", "frames", f"{self._failed.count} of the last {_FAILED_OF} frames failed; {last}")

    def _take_inspected(self) -> None:
        self._failed.take(False)
        self._failed_in_a_row = 0
        self._inspected_in_a_row += 1
        if self._raised:
            self.change("cleared", "engine", "it answers again")
            if "frames" in self._raised:
                if self._inspected_in_a_row >= _IN_A_ROW:
                    self._failed.empty()  # else those of before would raise it again at the next one
                if self._failed.count <= _FAILED_CLEARS:
                    self.change("cleared", "frames", "frames are inspected again")

    def _take_view(self, inspection: Inspection) -> None:
        is_unfamiliar = inspection.verdict == "unfamiliar"
        self._unfamiliar.take(is_unfamiliar)
        count = self._unfamiliar.count
        if is_unfamiliar and count >= _UNFAMILIAR_RAISES:
            what = f"{count} of the last {_UNFAMILIAR_OF} frames do not look like what was taught"
            self.change("raised", "view", f"{what}; the last: {inspection.reason}")
        elif count <= _UNFAMILIAR_CLEARS:
            self.change("cleared", "view", "frames look like what was taught again")
