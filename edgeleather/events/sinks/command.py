"""A command: each event starts a program with the event's JSON object on standard input. No shell is involved."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Literal

from edgeleather.errors import EdgeLeatherError, printable
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.events.sinks.table import DEFAULT_TOPICS
from edgeleather.events.store import Topic
from edgeleather.sources.credentials import Credentials

_TAIL_BYTES = 4096


@dataclass(frozen=True)
class CommandSettings:
    """`command` is the program and its arguments, given to it as they stand; exit code 0 says that it has the event."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    kind: Literal["command"]
    command: tuple[str, ...]
    receives: tuple[Topic, ...] = DEFAULT_TOPICS
    timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.command or not self.command[0].strip() or any("\0" in part for part in self.command):
            raise ValueError("command: expected a list of a program and its arguments, got none (or a zero byte in it)")
        if not 0 < self.timeout_seconds <= 600:
            raise ValueError(f"timeout_seconds: expected more than 0 and at most 600, got {self.timeout_seconds}")

    def open(self, credentials: Credentials, folder: Path, station: str) -> Command:
        name = self.command[0]
        program = str(folder / name) if os.sep in name else shutil.which(name)
        if program is None or shutil.which(program) is None:
            raise EdgeLeatherError(f"expected a program that can be run, got {name!r}. Check its name and rights.")
        return Command((program, *self.command[1:]), self.timeout_seconds, credentials)


class Command:
    """The program gets no variable with one of the station's secrets. At its time limit it ends, with all that it started.

    What it leaves running when it exits by itself (a siren's sound) is left alone.
    """

    def __init__(self, command: tuple[str, ...], timeout_seconds: float, credentials: Credentials) -> None:
        self._command, self._timeout_seconds, self._credentials = command, timeout_seconds, credentials
        self._process: subprocess.Popen[bytes] | None = None

    def deliver(self, event_id: str, body: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in self._credentials.names}
        try:
            self._process = process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment | {"EDGELEATHER_EVENT_ID": event_id},
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(f"{self._command[0]} cannot be started: {error.strerror}.") from error
        said = _Tail(process.stderr)
        feeder = threading.Thread(target=_feed, args=(process.stdin, body.encode()), daemon=True)
        feeder.start()
        try:
            process.wait(self._timeout_seconds)
        except subprocess.TimeoutExpired as error:
            self.close()
            process.wait()
            raise DeliveryError(f"{self._command[0]} took longer than {self._timeout_seconds:g} s.") from error
        finally:
            self._process = None
        if process.returncode:
            last = said.last_line()
            raise DeliveryError(f"{self._command[0]} ended with {process.returncode}{': ' + last if last else ''}.")

    def close(self) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


class _Tail:
    """The end of what a program says, however much that is; read on a thread until nobody can say more."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._said = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def last_line(self) -> str:
        self._thread.join(0.2)
        return printable(self._said.decode(errors="replace").strip().rpartition("\n")[2])[:200]

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while part := os.read(stream.fileno(), _TAIL_BYTES):
                self._said = (self._said + part)[-_TAIL_BYTES:]


def _feed(stream: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError), stream:  # it need not read what it is told
        stream.write(content)
