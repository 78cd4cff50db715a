"""Cameras that deliver and do not see."""

from __future__ import annotations

import threading
import time

import numpy as np

from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.stop import Stop
from edgeleather.sources.opening import open_source
from edgeleather.sources.patience import Patience
from edgeleather.sources.stillness import Stillness
from tests.events.receivers import MjpegCamera, leather_like, wait_until


class HangingCamera(MjpegCamera):
    """Gives other frames each time, or the same one while it hangs."""

    def __init__(self):
        super().__init__([leather_like(seed) for seed in range(50)])
        self._moving = self._jpegs

    def hang(self):
        self._jpegs = self._moving[:1]

    def move(self):
        self._jpegs = self._moving


def test_a_camera_that_hangs_is_a_fault_until_it_moves_again(tmp_path):
    camera, states, frames, stop = HangingCamera(), [], [], threading.Event()
    journal = Journal(tmp_path / "store", StoreSettings(), AlarmRules(), "line-3", None)

    def listen(state, detail):
        states.append(state)
        journal.source_changed(state, detail)

    with camera.running():
        source = open_source(camera.address, stop, Patience(still_seconds=1.5), listen)
        thread = threading.Thread(target=lambda: frames.extend(source))
        thread.start()
        try:
            wait_until(lambda: len(frames) > 40, 30, "no frames")
            assert states == ["streaming"] and not any(frame.is_frozen for frame in frames)
            camera.hang()
            wait_until(lambda: states[-1] == "frozen", 30, states)
            wait_until(lambda: frames[-1].is_frozen, 10, "the frames say nothing")
            assert frames[-1].frozen_seconds >= 1.5
            camera.move()
            wait_until(lambda: states[-1] == "moving again", 10, states)
            wait_until(lambda: not frames[-1].is_frozen, 10, "it stays frozen")
        finally:
            stop.set()
            thread.join()
            journal.close(Stop())
    assert states == ["streaming", "frozen", "moving again", "closed"]
    import json

    from edgeleather.events.store import Filter, Store

    rows = [json.loads(one.event.body) for one in Store(tmp_path / "store").select(Filter(topics=("fault",)))]
    assert [(row["what"], row["state"]) for row in rows] == [("source", "raised"), ("source", "cleared")]
    assert "the same frame for" in rows[0]["detail"]


def test_a_still_scene_can_be_allowed():
    camera, stop = MjpegCamera([leather_like(0)]), threading.Event()
    states = []
    with camera.running():
        for still_seconds, expected in ((0.0, False), (0.5, True)):
            source = open_source(
                camera.address, stop, Patience(still_seconds=still_seconds), lambda s, d: states.append(s)
            )
            until, frozen = time.monotonic() + 2.5, set()
            frames = iter(source)
            while time.monotonic() < until:
                frozen.add(next(frames).is_frozen)
            frames.close()
            assert (True in frozen) is expected and ("frozen" in states) is expected


def test_ten_frames_and_the_time_are_needed_and_one_other_pixel_row_is_a_new_frame():
    image = leather_like(0, size=480)
    stillness = Stillness(10.0)
    assert [stillness.take(image.copy(), float(second)) for second in range(9)] == [None] * 9
    assert stillness.take(image, 9.0) is None  # ten frames, nine seconds
    assert stillness.take(image, 10.5) == 10.5
    assert stillness.take(leather_like(1, size=480), 11.0) is None
    few = Stillness(10.0)
    assert [few.take(image, at) for at in (0.0, 20.0, 40.0)] == [None] * 3  # three frames
    assert few.take(np.zeros((480, 480), np.uint8), 50.0) is None  # another shape


def test_a_look_at_a_frame_costs_little():
    image, stillness = leather_like(0, size=1024), Stillness(10.0)
    stillness.take(image, 0.0)
    takes = []
    for _ in range(50):
        started = time.perf_counter()
        stillness.take(image, 1.0)
        takes.append(time.perf_counter() - started)
    copies = []
    for _ in range(50):
        started = time.perf_counter()
        image.copy()
        copies.append(time.perf_counter() - started)
    assert np.median(takes) < np.median(copies)
