from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from edgeleather.cli.endings import ending_on_signals, ending_signals
from edgeleather.cli.main import CommandTable
from edgeleather.cli.reporting import stop_on_signals
from edgeleather.events.stop import Stop

# The main thread is in a C library that no signal interrupts, as in an engine that does not come back.
IN_A_LIBRARY = """
import ctypes, os, sys, threading
from edgeleather.cli.reporting import stop_on_signals
from edgeleather.events.stop import Stop

stop = Stop()
def say():
    stop.wait()
    os.write(1, b"stopped")

with stop_on_signals(stop):
    threading.Thread(target=say, daemon=True).start()
    os.write(1, b"ready")
    c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)
"""


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def number(request):
    return getattr(signal, request.param)


def test_a_command_ends_by_an_exception_so_that_nothing_half_made_stays(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as exit_of, ending_on_signals():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert exit_of.value.code == 128 + number and signal.getsignal(number) == before
    assert "interrupted. Nothing half-written is left" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 1)])
def test_an_ending_that_a_library_makes_an_error_of_is_still_one(number, code, monkeypatch):
    """ONNX Runtime's module says "initialization failed" where a signal comes during its import."""

    @click.command()
    def importing():
        try:
            signal.raise_signal(getattr(signal, number))
        except BaseException as ending:
            raise ImportError("initialization failed") from ending

    monkeypatch.setattr(CommandTable, "get_command", lambda *_: importing)
    result = CliRunner().invoke(CommandTable(), ["importing"])
    assert result.exit_code == code and isinstance(result.exception, SystemExit)
    assert result.output.count("Error: interrupted. Nothing half-written is left") == 1


def test_a_loop_is_stopped_by_the_first_signal_and_ended_by_the_second(number):
    before, stop = signal.getsignal(number), Stop()
    with pytest.raises(KeyboardInterrupt), stop_on_signals(stop):
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        assert stop.is_set()
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert signal.getsignal(number) == before and signal.set_wakeup_fd(-1) == -1


def test_what_was_started_to_outlive_its_terminal_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
        stop = Stop()
        with ending_on_signals(), stop_on_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
        assert not stop.is_set() and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_heard_while_the_main_thread_is_inside_a_library(number):
    process = subprocess.Popen([sys.executable, "-c", IN_A_LIBRARY], stdout=subprocess.PIPE)
    try:
        assert process.stdout.read(5) == b"ready"
        time.sleep(0.3)
        process.send_signal(number)
        assert process.stdout.read(7) == b"stopped"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(number)
        assert process.wait(10) == 1
    finally:
        process.kill()
        process.communicate()
