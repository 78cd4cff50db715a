"""Live sources, against a real RTSP server and a real web server."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeleather.dataset.film import write_film
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.stop import Stop
from edgeleather.sources.devices.opencv import has_gstreamer
from edgeleather.sources.devices.table import DEVICES
from edgeleather.sources.live import LiveSource
from edgeleather.sources.opening import open_source
from edgeleather.sources.patience import Patience
from edgeleather.station.loop import run_loop
from tests.events.receivers import MjpegCamera, free_port, leather_like, wait_until
from tests.sources.toy_devices import AlwaysHangs, HangsAfterThreeFrames
from tests.tiny import SETTINGS, write_cut_film

SERVER = Path(__file__).with_name("rtsp_server.py")


@contextmanager
def rtsp_server(picture, port):
    process = subprocess.Popen(
        ["/usr/bin/python3", str(SERVER), str(picture), str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def brown_picture(tmp_path):
    """Leather that is brown for certain: were channels exchanged, it would be blue."""
    rng = np.random.default_rng(0)
    picture = np.full((256, 256, 3), (40, 80, 150), np.uint8) + rng.integers(0, 12, (256, 256, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "brown.png"), picture)
    return tmp_path / "brown.png"


class Listener:
    def __init__(self):
        self.states = []

    def __call__(self, state, detail):
        self.states.append(state)


@pytest.mark.rtsp
def test_a_stream_gives_its_latest_frames_with_their_colours(brown_picture):
    port, listener = free_port(), Listener()
    with rtsp_server(brown_picture, port):
        source = open_source(f"rtsp://127.0.0.1:{port}/leather", listener=listener)
        frames = []
        iterator = iter(source)
        for frame in iterator:
            frames.append(frame)
            time.sleep(0.12)  # slower than the 20 frames a second that come
            if len(frames) == 8:
                break
        iterator.close()
    assert source.drop_policy == "keep_latest" and source.dropped > 0
    numbers = [frame.index for frame in frames]
    assert numbers == sorted(set(numbers)) and numbers[-1] > 8
    mean_bgr = frames[-1].image.reshape(-1, 3).mean(0)
    assert np.abs(mean_bgr - cv2.imread(str(brown_picture)).reshape(-1, 3).mean(0)).max() < 12
    assert listener.states == ["streaming", "closed"]


@pytest.mark.rtsp
def test_inspect_goes_on_when_a_server_that_was_killed_is_back(bundle, brown_picture, tmp_path):
    """within 5 s of the server's return (or 4 s and what a new client needs, on a busy machine); what was captured adds up."""
    port, jsonl, log = free_port(), tmp_path / "records.jsonl", tmp_path / "log.txt"
    address = f"rtsp://operator:secret@127.0.0.1:{port}/leather"
    # The tiny bundle's model size is 64, the stream's frames are square too.
    command = [sys.executable, "-c", "from edgeleather.cli.main import main; main()", "inspect", str(bundle.folder)]
    options = ["--source", address, "--jsonl", str(jsonl), "--quiet", "--json"]

    def records():
        return jsonl.read_text().splitlines() if jsonl.exists() else []

    def wait_for(is_so, until):
        while not is_so():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.02)

    with contextlib.ExitStack() as ending:
        with rtsp_server(brown_picture, port):
            error = ending.enter_context(log.open("w"))
            process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=error, text=True)
            ending.callback(process.kill)
            wait_for(lambda: len(records()) > 5, time.monotonic() + 60)
        wait_for(lambda: "lost: " in log.read_text(), time.monotonic() + 30)
        time.sleep(4)
        before = len(records())
        with rtsp_server(brown_picture, port):
            back_at = time.monotonic()
            of_a_new_client = iter(open_source(address))
            next(of_a_new_client)
            new_client_seconds = time.monotonic() - back_at
            of_a_new_client.close()
            wait_for(lambda: len(records()) > before, back_at + max(5, 4 + new_client_seconds))
            wait_for(lambda: len(records()) > before + 5, time.monotonic() + 30)
            signalled_at = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
            end_seconds = time.monotonic() - signalled_at
    err = log.read_text()
    assert process.returncode == 0, err
    summary = json.loads(out)
    last = json.loads(records()[-1])
    assert summary["captured"] == summary["inferred"] + summary["dropped"] + summary["failed"]
    # A frame's number counts what was captured, in another place than the summary does.
    # On a busy machine the server's 20 frames a second go on coming while the process ends.
    assert last["frame"] < summary["captured"] <= last["frame"] + 3 + 25 * max(0, end_seconds - 1)
    assert summary["inferred"] == len(records()) and summary["stopped_by_signal"]
    assert "lost: " in err and "streaming again: " in err
    assert "secret" not in err + out + jsonl.read_text()
    assert last["source"] == f"rtsp://127.0.0.1:{port}/leather"


@pytest.mark.rtsp
def test_a_server_that_never_comes_back_is_given_up(bundle, brown_picture, tmp_path):
    port, listener = free_port(), Listener()
    with rtsp_server(brown_picture, port) as server:
        source = open_source(f"rtsp://127.0.0.1:{port}/leather", None, Patience(1.0), listener)
        frames = iter(source)
        next(frames)
        server.kill()
        started = time.monotonic()
        with pytest.raises(
            EdgeLeatherError, match=r"no frame came any more .* did not come back within 1 s\. Check the ad"
        ):
            for _ in frames:
                pass
    assert time.monotonic() - started < 6
    assert listener.states == ["streaming", "lost", "given up", "closed"]


@pytest.mark.rtsp
def test_a_signal_ends_the_wait_for_a_lost_stream(brown_picture):
    port, stop = free_port(), Stop()
    with rtsp_server(brown_picture, port) as server:
        source = open_source(f"rtsp://127.0.0.1:{port}/leather", stop, Patience(60.0))
        frames = iter(source)
        next(frames)
        server.kill()
        threading.Timer(1.0, stop.set).start()
        started = time.monotonic()
        for _ in frames:
            pass
    assert time.monotonic() - started < 5


@contextmanager
def web_server(folder):
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_a_film_on_a_web_server_ends_where_it_ends(tmp_path):
    write_film(tmp_path / "film.mkv", 12, SETTINGS)
    with web_server(tmp_path) as port:
        source = open_source(f"http://127.0.0.1:{port}/film.mkv", patience=Patience(0.0))
        frames = list(source)
    assert len(frames) + source.dropped == 12 and frames[-1].index == 11
    assert frames[-1].image.shape == (64, 64, 3)


def test_a_film_that_is_cut_off_is_an_error_and_is_not_begun_again(tmp_path):
    path = tmp_path / "film.avi"
    write_cut_film(path, kept=1 / 2)
    with web_server(tmp_path) as port, pytest.raises(EdgeLeatherError, match="of 60 frames; it is damaged, or"):
        for frame in open_source(f"http://127.0.0.1:{port}/film.avi", None, Patience(5.0)):
            assert frame.index < 60


def test_who_stops_listening_does_not_stop_the_frames(tmp_path):
    write_film(tmp_path / "film.mkv", 12, SETTINGS)

    def broken(state, detail):
        raise BrokenPipeError

    with web_server(tmp_path) as port:
        source = open_source(f"http://127.0.0.1:{port}/film.mkv", None, Patience(0.0), broken)
        assert len(list(source)) + source.dropped == 12


@pytest.fixture
def toy(monkeypatch):
    """Makes a class of `toy_devices` the device of camera numbers."""
    return lambda name: monkeypatch.setitem(DEVICES, "camera:", f"tests.sources.toy_devices:{name}")


def test_a_source_that_opens_and_gives_nothing_is_given_up_in_time(toy):
    listener = Listener()
    toy("OpensAndGivesNothing")
    source = open_source("0", None, Patience(1.0), listener)
    started = time.monotonic()
    with pytest.raises(EdgeLeatherError, match="no frame came any more after 0, and it did not come back within 1 s"):
        list(source)
    assert 0.9 < time.monotonic() - started < 6 and listener.states == ["lost", "given up", "closed"]


@pytest.mark.parametrize("name", ["Throws", "ThrowsAtTheEnd"])
def test_a_driver_that_throws_is_an_error_and_no_hang(toy, name):
    toy(name)
    with pytest.raises(EdgeLeatherError, match="reading failed: the driver broke"):
        list(open_source("0"))


def test_a_driver_that_says_its_address_tells_no_secret(monkeypatch):
    monkeypatch.setitem(DEVICES, "rtsp://", "tests.sources.toy_devices:SaysItsAddress")
    with pytest.raises(EdgeLeatherError, match=r"does not open\. cannot open rtsp://host/1$"):
        open_source("rtsp://me:secret@host/1")


class CountingInspector:
    """Stands where the inspector stands in the loop; the engine is not what is tested here."""

    def __init__(self, after, stop):
        self.seen, self._after, self._stop = 0, after, stop

    def inspect(self, frame):
        from edgeleather.inspection.inspector import Inspection

        self.seen += 1
        if self.seen == self._after:
            self._stop.set()
        time.sleep(0.01)
        return Inspection(frame.index, 0.0, "", "good", 0.0, 1.0, 0.0, (), {}, None, None, None, None)


def test_frames_that_wait_at_the_end_count_as_dropped(tmp_path):
    write_film(tmp_path / "film.mkv", 60, SETTINGS)
    with web_server(tmp_path) as port:
        stop = Stop()
        source = open_source(f"http://127.0.0.1:{port}/film.mkv", stop, Patience(0.0))
        summary = run_loop(source, CountingInspector(3, stop), [], stop)
    assert summary.inferred == 3 and summary.captured == 3 + summary.dropped == source._captured


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("97", r"camera 97 does not open\. Cameras here"),
        ("/dev/video97", "camera /dev/video97 does not open"),
        ("rtsp://me:secret@127.0.0.1:9/x?token=1", r"^rtsp://127\.0\.0\.1:9/x does not open\. Check the address"),
        ("http://127.0.0.1:9/x.mjpg", "http://127.0.0.1:9/x.mjpg does not open"),
        ("rtsp://[bad", r"rtsp://\[bad does not open"),
        ("rtsp://me:pa/ss@127.0.0.1:9/x", r"^rtsp://127\.0\.0\.1:9/x does not open"),
        ("rtsp://me:p#s?s@127.0.0.1:9/x", r"^rtsp://127\.0\.0\.1:9/x does not open"),
        ("99999999999999", "found nothing there"),
    ],
)
def test_what_is_not_there_is_one_clear_message_at_once(source, message):
    started = time.monotonic()
    with pytest.raises(EdgeLeatherError, match=message):
        open_source(source)
    assert time.monotonic() - started < 5


def test_an_mjpeg_camera_that_falls_silent_is_opened_again():
    """connected, but silent."""
    camera, listener = MjpegCamera([leather_like(0)]), Listener()
    with camera.running():
        source = open_source(camera.address, None, Patience(30.0, stall_seconds=1.0), listener)
        frames = iter(source)
        first = next(frames)
        assert first.image.shape == (64, 64, 3) and np.abs(first.image.mean((0, 1)) - (45, 85, 155)).max() < 6
        camera.is_silent = True
        wait_until(lambda: "lost" in listener.states, 8, listener.states)
        camera.is_silent = False
        started = time.monotonic()
        while next(frames).index <= first.index + 30:
            pass
        assert time.monotonic() - started < 8 and camera.connections >= 2
        frames.close()
    assert listener.states[:3] == ["streaming", "lost", "streaming again"] and listener.states[-1] == "closed"


def test_a_driver_that_hangs_is_left_and_the_device_opened_again(toy):
    toy("HangsAfterThreeFrames")
    listener = Listener()
    source = open_source("0", None, Patience(60.0, stall_seconds=0.3), listener)
    started = time.monotonic()
    with contextlib.closing(iter(source)) as frames:
        last = next(frame for frame in frames if frame.index >= 6)  # of the third opening
    assert time.monotonic() - started < 6 and HangsAfterThreeFrames.opened == 3 and last.image.shape == (8, 8, 3)
    assert listener.states[:4] == ["streaming", "lost", "streaming again", "lost"]
    HangsAfterThreeFrames.hung.set()


def test_no_more_than_a_few_threads_are_left_in_a_driver_that_always_hangs(toy):
    before = threading.active_count()
    toy("AlwaysHangs")
    with pytest.raises(EdgeLeatherError, match="did not come back within 3 s"):
        list(open_source("0", None, Patience(3.0, stall_seconds=0.1)))
    assert threading.active_count() - before <= 3
    AlwaysHangs.hung.set()


def test_a_station_awaits_a_source_that_is_not_there_yet():
    camera, listener = MjpegCamera([leather_like(0)]), Listener()
    source = open_source(camera.address, None, Patience(30.0, awaits_first=True), listener)
    frames = iter(source)
    with contextlib.ExitStack() as stack:
        timer = threading.Timer(1.5, lambda: stack.enter_context(camera.running()))
        timer.start()
        first = next(frames)
        assert first.index == source.dropped  # numbers count what was captured, from 0 on, waited for or not
        timer.join()
        frames.close()
    assert listener.states == ["lost", "streaming", "closed"]


def test_a_pipeline_needs_an_opencv_with_gstreamer():
    if has_gstreamer():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(EdgeLeatherError, match="expected an OpenCV with GStreamer"):
        open_source("gstreamer:videotestsrc ! appsink")


@pytest.mark.camera
def test_a_camera_gives_frames():
    source = open_source("0")
    frames = iter(source)
    assert isinstance(source, LiveSource) and next(frames).image.ndim == 3
    frames.close()
