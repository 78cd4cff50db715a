"""The kinds of sinks, and what every sink's settings have in common."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edgeleather.events.sinks.sink import Sink
from edgeleather.events.store import Topic
from edgeleather.records import decode
from edgeleather.sources.credentials import Credentials

# The class of a kind's settings; `open` makes the sink of them.
SINKS = {
    "command": "edgeleather.events.sinks.command:CommandSettings",
    "jsonl": "edgeleather.events.sinks.json_lines:JsonLinesSettings",
    "mqtt": "edgeleather.events.sinks.mqtt:MqttSettings",
    "webhook": "edgeleather.events.sinks.webhook:WebhookSettings",
}
DEFAULT_TOPICS: tuple[Topic, ...] = ("alarm", "fault")


class SinkSettings(Protocol):
    """A frozen record, a sink of a station file: its kind, which topics it receives, and how it is opened."""

    @property
    def kind(self) -> str: ...

    @property
    def receives(self) -> tuple[Topic, ...]: ...

    def open(self, credentials: Credentials, folder: Path, station: str) -> Sink:
        """The sink, without reaching its receiver yet; `folder` is where relative paths start.

        Raises:
            EdgeLeatherError: a secret, file or package is missing.
        """


def decode_sink(value: Any, where: str) -> SinkSettings:
    """A sink's table of a station file as the record of its kind.

    Raises:
        ValueError: no table, no such kind, or keys that the kind does not have.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a table, got {value!r}")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in SINKS:
        raise ValueError(f"{where}.kind: expected one of {', '.join(SINKS)}, got {kind!r}")
    module, _, attribute = SINKS[kind].partition(":")
    schema = getattr(importlib.import_module(module), attribute)
    settings: SinkSettings = decode(schema, value, where)
    if not settings.receives:
        raise ValueError(f"{where}.receives: expected at least one topic")
    return settings
