from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.events.alarms import Alarm, AlarmRules


def changes(alarm, verdicts):
    names = {"g": "good", "d": "defect", "f": "failed"}
    return [alarm.take(names[letter]) for letter in verdicts]


def test_by_default_each_change_of_the_verdict_is_one():
    assert changes(Alarm(AlarmRules()), "gddgg") == [None, "raised", None, "cleared", None]


def test_two_of_three_raise_and_three_good_ones_clear():
    rules = AlarmRules(raise_frames=2, of_frames=3)
    assert changes(Alarm(rules), "dgd") == [None, None, "raised"]
    assert changes(Alarm(rules), "dggdggg") == [None] * 7, "never two of three"
    assert changes(Alarm(rules), "ddgggd") == [None, "raised", None, None, "cleared", None]


def test_hysteresis_keeps_an_alarm_that_flickers():
    rules = AlarmRules(raise_frames=3, of_frames=4, clear_frames=1)
    assert changes(Alarm(rules), "dddgdgdg").count("raised") == 1
    assert changes(Alarm(rules), "dddgdgdg").count("cleared") == 0
    assert changes(Alarm(rules), "dddggg")[-1] == "cleared"


def test_a_frame_that_failed_neither_raises_nor_clears():
    alarm = Alarm(AlarmRules(raise_frames=2, of_frames=2))
    assert changes(alarm, "dfd") == [None, None, "raised"]
    assert changes(alarm, "fff") == [None] * 3 and alarm.is_raised


def test_an_alarm_that_an_earlier_run_left_is_cleared_after_a_whole_window():
    alarm = Alarm(AlarmRules(raise_frames=2, of_frames=3), is_raised=True)
    assert changes(alarm, "ggg") == [None, None, "cleared"]
    assert "raised" not in changes(Alarm(AlarmRules(), is_raised=True), "ddd")


@given(st.lists(st.sampled_from("gdf"), max_size=60), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_changes_alternate_and_say_what_the_window_holds(verdicts, raise_frames, more, clear):
    rules = AlarmRules(raise_frames, raise_frames + more, min(clear, raise_frames - 1))
    alarm = Alarm(rules)
    counted, seen = [], []
    for letter in verdicts:
        (change,) = changes(alarm, letter)
        seen += [letter] if letter != "f" else []
        defects = seen[-rules.of_frames :].count("d")
        if change:
            counted.append(change)
        if change == "raised":
            assert defects >= rules.raise_frames
        if change == "cleared":
            assert defects <= rules.clear_frames
        assert alarm.is_raised or defects < rules.raise_frames
    assert counted == ["raised", "cleared"] * (len(counted) // 2) + ["raised"] * (len(counted) % 2)


@pytest.mark.parametrize(
    "values", [{"raise_frames": 0}, {"raise_frames": 3, "of_frames": 2}, {"clear_frames": 1}, {"of_frames": 20_000}]
)
def test_rules_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        AlarmRules(**values)


def test_an_unfamiliar_frame_counts_as_a_defect_above_the_threshold_and_else_tells_nothing():
    alarm = Alarm(AlarmRules(raise_frames=2, of_frames=2))
    assert [alarm.take("unfamiliar", is_above) for is_above in (True, False, True)] == [None, None, "raised"]
    assert [alarm.take("unfamiliar") for _ in range(5)] == [None] * 5 and alarm.is_raised
    assert [alarm.take("good") for _ in range(2)] == [None, "cleared"]
