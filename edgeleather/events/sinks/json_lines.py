"""A JSON-lines file: each event is a line, on the disk before the next one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgeleather.errors import EdgeLeatherError, is_one_line
from edgeleather.events.line_file import LineFile
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.events.sinks.table import DEFAULT_TOPICS
from edgeleather.events.store import Topic
from edgeleather.sources.credentials import Credentials


@dataclass(frozen=True)
class JsonLinesSettings:
    """`path` is appended to."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    kind: Literal["jsonl"]
    path: str
    receives: tuple[Topic, ...] = DEFAULT_TOPICS

    def __post_init__(self) -> None:
        if not self.path.strip() or not is_one_line(self.path):
            raise ValueError(f"path: expected a file's name, got {self.path!r}")

    def open(self, credentials: Credentials, folder: Path, station: str) -> JsonLines:
        return JsonLines(folder / self.path)


class JsonLines:
    """The file is opened at each event, so that a log may be moved away while the station runs."""

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise EdgeLeatherError(f"expected a folder at {path.parent} for {path.name}, found none. Make it.")
        if path.is_dir():
            raise EdgeLeatherError(f"{path}: expected a file to append to, got a folder.")
        self._path = path

    def deliver(self, event_id: str, body: str) -> None:
        try:
            file = LineFile(self._path)
            try:
                file.append(body)
            finally:
                file.close()
        except EdgeLeatherError as error:
            raise DeliveryError(str(error)) from error

    def close(self) -> None:
        pass
