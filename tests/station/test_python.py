"""Stations from Python: no command, no signal, and nothing of the process is left changed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading

import cv2
import pytest
from click.testing import CliRunner

from edgeleather.cli.main import main
from edgeleather.errors import EdgeLeatherError
from edgeleather.events.alarms import AlarmRules
from edgeleather.events.journal import Journal, StoreSettings
from edgeleather.events.stop import Stop
from edgeleather.events.store import STORE_FILE, VERDICT_TOPICS, Filter, Store
from edgeleather.sources.address import parse_address
from edgeleather.station.running import RunSettings, inspect_source
from edgeleather.station.station import Station
from tests.events.receivers import MjpegCamera, leather_like, wait_until


def station_file(folder, bundle, address, *more):
    file = folder / "line-3.toml"
    text = f'schema = 1\nname = "line-3"\nbundle = "{bundle.folder}"\n[source]\naddress = "{address}"\n'
    file.write_text(text + "\n".join(more) + "\n")
    return file


def rows(folder):
    """How many frames a store has; none before it is begun."""
    if (folder / STORE_FILE).exists():
        with contextlib.suppress(EdgeLeatherError), contextlib.closing(Store(folder)) as store:  # it is just being made
            return len(list(store.select(Filter(topics=VERDICT_TOPICS))))
    return 0


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def wakeup_fd():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


def state_of_the_process():
    """What the issue names: handlers, switch interval, OpenCV's level; and logging's."""
    logger = logging.getLogger("edgeleather")
    return {
        "handlers": {number: signal.getsignal(number) for number in SIGNALS},
        "wakeup": wakeup_fd(),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "switch": sys.getswitchinterval(),
        "opencv": cv2.utils.logging.getLogLevel(),
        "ffmpeg": os.environ.get("OPENCV_FFMPEG_LOGLEVEL"),
        "logging": (logger.level, list(logger.handlers)),
    }


@pytest.fixture
def unlike_the_defaults():
    """Values that neither the library nor the commands would choose."""
    before = state_of_the_process()
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.setswitchinterval(0.003)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    yield state_of_the_process()
    signal.signal(signal.SIGTERM, before["handlers"][signal.SIGTERM])
    sys.setswitchinterval(before["switch"])
    cv2.utils.logging.setLogLevel(before["opencv"])


def test_a_station_of_files_runs_to_their_end_and_logs_its_life(bundle, dataset_folder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "edgeleather")
    file = station_file(tmp_path, bundle, f"{dataset_folder}/test/hole/*.png")
    summary = Station.read(file).run()
    assert (
        summary.captured == summary.inferred == 3 and summary.backend == "onnxruntime" and not summary.stopped_by_signal
    )
    first, *_, last = [line for line in caplog.messages if line.startswith("station ")]
    assert first.startswith("station line-3 starts: bundle") and "edgeleather 0" in first and "onnxruntime 1" in first
    assert last.startswith("station line-3 ends: 3 captured = 3 inferred + 0 dropped + 0 failed")
    assert any(line.startswith("alarm raised: defects, frame 0 of ") for line in caplog.messages)


def test_stop_from_another_thread_ends_a_watching_station(bundle, good_picture, tmp_path, unlike_the_defaults):
    (tmp_path / "in").mkdir()
    station = Station.read(str(station_file(tmp_path, bundle, "in", 'watch = "all"')))
    summaries = []
    thread = threading.Thread(target=lambda: summaries.append(station.run()))
    thread.start()
    for number, name in enumerate(
        ("a.png", "b.png"), 1
    ):  # the look that finds the second one finds the first one again
        shutil.copy(good_picture, tmp_path / "in" / name)
        wait_until(lambda number=number: rows(tmp_path / "store") == number, 30, name)
    station.stop()
    thread.join(20)
    assert not thread.is_alive() and summaries[0].stopped_by_signal and summaries[0].captured == 2
    assert state_of_the_process() == unlike_the_defaults


def test_two_stations_at_once_leave_the_process_as_the_first_found_it(
    bundle, good_picture, tmp_path, unlike_the_defaults
):
    """The first one that begins is the first one that ends."""
    running = []
    for name in ("a", "b"):
        (tmp_path / name / "in").mkdir(parents=True)
        shutil.copy(good_picture, tmp_path / name / "in/a.png")
        station = Station.read(station_file(tmp_path / name, bundle, "in", 'watch = "all"'))
        thread = threading.Thread(target=station.run)
        thread.start()
        running.append((station, thread))
        wait_until(lambda name=name: rows(tmp_path / name / "store"), 30, name)
    for number, (station, thread) in enumerate(running):
        assert (round(sys.getswitchinterval(), 6), cv2.utils.logging.getLogLevel()) == (0.0002, 0), number
        station.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert state_of_the_process() == unlike_the_defaults


def test_a_lost_source_is_one_line_of_the_log(bundle, good_picture, tmp_path, caplog):
    caplog.set_level(logging.INFO, "edgeleather")
    (tmp_path / "in").mkdir()
    shutil.copy(good_picture, tmp_path / "in/a.png")
    station = Station.read(station_file(tmp_path, bundle, "in", 'watch = "all"'))
    thread = threading.Thread(target=station.run)
    thread.start()
    wait_until(lambda: rows(tmp_path / "store"), 30, caplog.messages)
    shutil.rmtree(tmp_path / "in")
    wait_until(lambda: "No such file" in caplog.text, 30, caplog.messages)
    station.stop()
    thread.join(20)
    (line,) = [line for line in caplog.messages if "No such file" in line and not line.startswith("station ")]
    assert line.startswith("fault raised: source, ") and not thread.is_alive()


def test_a_camera_is_let_go_when_the_writers_cannot_be_opened(bundle):
    def no_writers():
        wait_until(lambda: "camera" in names_of_threads(), 10, "the camera is not open")
        raise EdgeLeatherError("no room")

    def names_of_threads():
        return [thread.name for thread in threading.enumerate()]

    before = names_of_threads().count("camera")
    camera = MjpegCamera([leather_like(0)])
    with camera.running():
        settings = RunSettings(bundle.folder, parse_address(camera.address))
        with pytest.raises(EdgeLeatherError, match="no room"):
            inspect_source(settings, no_writers)
        assert names_of_threads().count("camera") == before


def test_neither_station_nor_command_leaves_the_process_changed(bundle, good_picture, tmp_path, unlike_the_defaults):
    file = station_file(tmp_path, bundle, good_picture)
    Station.read(file).run()
    assert state_of_the_process() == unlike_the_defaults
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"x")
    commands = [
        ["inspect", bundle.folder, "--source", good_picture, "--store", tmp_path / "s"],
        ["inspect", bundle.folder, "--source", damaged],
        ["inspect", bundle.folder, "--source", tmp_path / "absent"],
        ["station", "run", file],
        ["station", "check", file],
        ["events", "list", tmp_path / "s", "--log-level", "debug", "--log-file", tmp_path / "log"],
        ["dataset", "check", tmp_path],
    ]
    for command in commands:
        CliRunner().invoke(main, [str(one) for one in command])
        assert state_of_the_process() == unlike_the_defaults, command


def test_a_station_that_cannot_be_opened_says_why_and_leaves_nothing(bundle, tmp_path, unlike_the_defaults):
    with pytest.raises(EdgeLeatherError, match="found nothing there"):
        Station.read(station_file(tmp_path, bundle, "absent.png")).run()
    assert state_of_the_process() == unlike_the_defaults
    with pytest.raises(EdgeLeatherError, match="expected a station file"):
        Station.read(tmp_path / "absent.toml")


def test_it_runs_where_the_commands_cannot_be_imported(bundle, good_picture, tmp_path):
    file = station_file(tmp_path, bundle, good_picture)
    code = "import sys\nsys.modules['edgeleather.cli'] = None\nsys.modules['click'] = None\n"
    code += "from edgeleather.station.station import Station\n"
    code += f"print(Station.read({str(file)!r}).run().inferred)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")


def test_inspect_with_a_store_goes_on_with_nothing_of_an_earlier_run(bundle, good_picture, tmp_path):
    """Only a station does: it takes up pictures that came while it was down, and ends the fault of a lost source."""
    (tmp_path / "in").mkdir()
    store = tmp_path / "store"
    journal = Journal(store, StoreSettings(), AlarmRules(), "x", None)
    journal.source_changed("lost", "away")
    journal.close(Stop())
    command = ["inspect", str(bundle.folder), "--source", str(good_picture), "--store", str(store)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0 and "streaming" not in result.output
    with contextlib.closing(Store(store)) as opened:
        assert opened.is_raised("fault", "source")
    Station.read(station_file(tmp_path, bundle, good_picture)).run()
    with contextlib.closing(Store(store)) as opened:
        assert not opened.is_raised("fault", "source")
