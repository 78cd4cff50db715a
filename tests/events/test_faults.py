from __future__ import annotations

import time

import pytest

from edgeleather.events.faults import Faults
from edgeleather.inspection.inspector import Inspection


def inspection(verdict):
    error = "no picture" if verdict == "failed" else None
    reason = "too dark" if verdict == "unfamiliar" else None
    return Inspection(
        0, time.time(), "x", verdict, None, None, None, (), {}, error, None, None, None, reason=reason
    )  # fmt: skip


def told(letters, raised=()):
    """What each letter's frame changed, as (number of the frame, state, fault)."""
    names = {"g": "good", "d": "defect", "f": "failed", "u": "unfamiliar"}
    changes = []
    faults = Faults(raised, lambda state, what, detail: changes.append((state, what, detail)))
    found = []
    for number, letter in enumerate(letters):
        faults.take(inspection(names[letter]))
        found += [(number, *change) for change in changes]
        changes.clear()
    return found


def short(found):
    return [(number, state, what) for number, state, what, _ in found]


def test_ten_frames_in_a_row_that_failed_are_a_fault_until_one_is_inspected():
    assert told("f" * 9 + "g") == []
    found = told("f" * 12 + "g")
    assert short(found) == [(9, "raised", "frames"), (12, "cleared", "frames")]
    assert found[0][3] == "10 frames in a row failed; the last: no picture"


def test_nine_of_ten_frames_that_fail_are_one_fault_though_never_ten_in_a_row():
    found = told(("f" * 9 + "g") * 20)
    assert short(found) == [(26, "raised", "frames")]
    assert found[0][3] == "25 of the last 50 frames failed; the last: no picture"


@pytest.mark.parametrize("letters", ["fg" * 12 + "g" * 30, "fggg" * 50])
def test_fewer_than_half_of_the_frames_that_fail_are_none(letters):
    assert told(letters) == []


def test_frames_that_flicker_around_the_limit_raise_the_fault_once():
    assert short(told("fg" * 25 + "fgg" * 40)) == [(48, "raised", "frames")]


def test_after_a_long_outage_ten_inspected_frames_in_a_row_clear_the_fault_for_good():
    assert short(told("f" * 100 + "g" * 100)) == [(9, "raised", "frames"), (109, "cleared", "frames")]


def test_ten_of_twenty_unfamiliar_frames_are_the_fault_view_until_five_are_left():
    found = told("u" * 10 + "g" * 30)
    assert short(found) == [(9, "raised", "view"), (24, "cleared", "view")]
    assert found[0][3] == "10 of the last 20 frames do not look like what was taught; the last: too dark"
    assert told("ug" * 9 + "g" * 30) == [] and told("uggg" * 50) == []
    assert short(told("ug" * 100)) == [(18, "raised", "view")]


def test_a_frame_that_failed_says_nothing_about_the_view():
    assert [what for _, _, what in short(told("u" * 9 + "f" * 9 + "u"))] == ["view"]


def test_what_an_earlier_run_left_raised_is_not_raised_again_and_is_cleared():
    assert short(told("f" * 20 + "u" * 20, ["frames", "view"])) == [(29, "cleared", "frames")]
    assert short(told("g" * 20, ["view", "engine"])) == [(0, "cleared", "engine"), (14, "cleared", "view")]
