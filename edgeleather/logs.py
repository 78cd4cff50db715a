"""Logging of a process: what the `edgeleather.*` loggers say goes to standard error and a file, written by a thread of its own.

A terminal or disk that is held up therefore delays nobody who logs. The library itself sets up nothing of this.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TextIO

from edgeleather.errors import EdgeLeatherError
from edgeleather.files import cannot_write

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FORMATS: tuple[LogFormat, ...] = ("text", "json")
LARGEST_FILE_BYTES = 10_000_000
KEPT_FILES = 5
FILE_ONLY = {"is_for_file_only": True}  # the `extra` of a record that the terminal is told in another way
_MOST_WAITING = 1000
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True)
class LogSettings:
    """What is logged and where: always on standard error, and in `file` where one is given.

    A file of 10 MB is renamed to `<name>.1`, and five such files are kept.
    """

    level: Level = "info"
    format: LogFormat = "text"
    file: Path | None = None


class TextFormatter(logging.Formatter):
    """Formats a record as time with offset from UTC, level, logger and message; further lines are indented."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage() + (f"\n{record.exc_text}" if record.exc_text else "")
        text = text.replace("\n", "\n  ")
        return f"{local_time(record.created)} {record.levelname} {record.name}: {text}"


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: `at`, `level`, `logger`, `message`, and `traceback` of a bug."""

    def format(self, record: logging.LogRecord) -> str:
        named = {
            "at": local_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(named | ({"traceback": record.exc_text} if record.exc_text else {}), ensure_ascii=False)


def local_time(at: float) -> str:
    """A Unix time in seconds as local time with its offset from UTC: 2026-11-27T19:02:03.123+01:00."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")


class BoundedQueueHandler(logging.Handler):
    """Hands records to the writing thread; what does not fit into its queue is dropped and counted.

    The one of `logging.handlers` would cost each command the import of `socket`.
    """

    def __init__(self, most_waiting: int) -> None:
        super().__init__()
        self.records: queue.Queue[logging.LogRecord | None] = queue.Queue(most_waiting)
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Made into text here: what an argument holds may be another thing later.
            ready = copy.copy(record)
            ready.msg, ready.args = record.getMessage(), None
            if record.exc_info:
                ready.exc_text, ready.exc_info = logging.Formatter().formatException(record.exc_info), None
            self.records.put_nowait(ready)
        except queue.Full:
            self.dropped += 1
        except Exception:  # a message that does not fit its arguments: shown by logging, as for any other handler
            self.handleError(record)


class _Output(Protocol):
    """Where lines go, written by one thread."""

    is_file: bool

    def write_line(self, line: str) -> None:
        """Write a line; one that cannot be written is lost, and nothing else."""

    def close(self) -> None: ...


class _StandardError:
    """Standard error; who read it may be gone."""

    is_file = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write_line(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        pass


class RotatingFile:
    """A file that becomes `<name>.1` when it is full, as `<name>.1` becomes `<name>.2`, up to the number that is kept.

    It is no handler of `logging`, which at the end of the process would wait for one whose disk does not answer.
    """

    is_file = True

    def __init__(self, path: Path, largest_bytes: int = LARGEST_FILE_BYTES, kept: int = KEPT_FILES) -> None:
        """Open the file for appending.

        Raises:
            EdgeLeatherError: it cannot be written.
        """
        self._path, self._largest_bytes, self._kept = path, largest_bytes, kept
        self._descriptor, self._size_bytes = -1, 0
        try:
            self._open()
        except OSError as error:
            raise EdgeLeatherError(cannot_write(path, error)) from error

    def write_line(self, line: str) -> None:
        """Write a line; while a full file cannot be renamed or a new one not be opened, lines are lost and each tries again."""
        content = (line + "\n").encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            if self._size_bytes and self._size_bytes + len(content) > self._largest_bytes:
                self.close()
                self._rotate()
                self._size_bytes = 0  # else a line that tries to open it again would rename the older ones again
            if self._descriptor < 0:
                self._open()
            self._size_bytes += os.write(self._descriptor, content)

    def close(self) -> None:
        # The number is forgotten first: once it is closed, any other file of this process may get it.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size_bytes = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)


class _WritingThread:
    """Writes records to the outputs. Its end is waited for a moment only: nobody may hold the process by not reading."""

    def __init__(self, handler: BoundedQueueHandler, outputs: Sequence[_Output], formatter: logging.Formatter) -> None:
        self._handler, self._outputs, self._formatter, self._told = handler, outputs, formatter, 0
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._handler.records.put(None, timeout=_CLOSE_SECONDS)
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            for output in self._outputs:
                output.close()

    def _work(self) -> None:
        while (record := self._handler.records.get()) is not None:
            self._write(record)
            dropped = self._handler.dropped
            if dropped > self._told:
                text = f"{dropped - self._told} lines of this log were dropped: it was written too slowly"
                self._told = dropped
                self._write(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))

    def _write(self, record: logging.LogRecord) -> None:
        line = self._formatter.format(record)
        for output in self._outputs:
            if output.is_file or not getattr(record, "is_for_file_only", False):
                output.write_line(line)


@contextlib.contextmanager
def logging_to(settings: LogSettings) -> Iterator[None]:
    """Log inside the block as the settings say, and put back what was set before.

    Raises:
        EdgeLeatherError: the log file cannot be written.
    """
    outputs: list[_Output] = [_StandardError(sys.stderr)] if sys.stderr is not None else []
    outputs += [RotatingFile(settings.file)] if settings.file else []
    handler = BoundedQueueHandler(_MOST_WAITING)
    writing = _WritingThread(handler, outputs, JsonFormatter() if settings.format == "json" else TextFormatter())
    logger = logging.getLogger("edgeleather")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(settings.level.upper())
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        writing.close()
        handler.close()
