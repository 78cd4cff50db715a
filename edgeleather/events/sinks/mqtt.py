"""MQTT: each event is published with QoS 1, and delivered once the broker has acknowledged it."""

from __future__ import annotations

import contextlib
import queue
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from edgeleather.errors import MissingPartError
from edgeleather.events.sinks.sink import DeliveryError
from edgeleather.events.sinks.table import DEFAULT_TOPICS
from edgeleather.events.sinks.webhook import require_address
from edgeleather.events.store import Topic
from edgeleather.sources.address import without_credentials
from edgeleather.sources.credentials import Credentials

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_KEEPALIVE_SECONDS = 30


@dataclass(frozen=True)
class MqttSettings:
    """`address` is mqtt://HOST or mqtts://HOST and may hold `${NAME}` and `${file:PATH}`."""

    DEFAULTS_APPLY: ClassVar[bool] = True
    kind: Literal["mqtt"]
    address: str
    topic: str
    receives: tuple[Topic, ...] = DEFAULT_TOPICS
    timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        require_address(self.address, tuple(_PORTS))
        if not 0 < self.timeout_seconds <= 60:
            raise ValueError(f"timeout_seconds: expected more than 0 and at most 60, got {self.timeout_seconds}")
        topic = self.topic
        if not topic or len(topic.encode()) > 65_535 or any(c in "+#" or not c.isprintable() for c in topic):
            raise ValueError(f"topic: expected a topic to publish to, without + and #, got {topic!r}")

    def open(self, credentials: Credentials, folder: Path, station: str) -> Mqtt:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise MissingPartError("paho-mqtt", "mqtt") from error
        return Mqtt(credentials.fill(self.address, encoded=True), self.topic, self.timeout_seconds, self.address)


class Mqtt:
    """A connection that is made at the first event, and again when it was lost.

    MQTT 5, whose acknowledgement says whether the broker has taken the event; 3.1.1, whose cannot, where a broker knows no other.
    """

    def __init__(self, address: str, topic: str, timeout_seconds: float, template: str) -> None:
        self._place, self._topic = urlsplit(address), topic
        self._timeout_seconds, self._shown = timeout_seconds, without_credentials(template)
        self._client: Client | None = None
        self._is_old_broker = False
        self._acknowledged: queue.Queue[tuple[int, ReasonCode]] = queue.Queue()

    def deliver(self, event_id: str, body: str) -> None:
        try:
            published = self._connected().publish(self._topic, body.encode(), qos=1)
            code = self._acknowledgement(published.mid)
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise DeliveryError(f"{self._shown} cannot be reached: {error}.") from error
        if code.is_failure:
            raise DeliveryError(f"{self._shown} refuses the event ({code}).")

    def _acknowledgement(self, message: int) -> ReasonCode:
        until = time.monotonic() + self._timeout_seconds
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                acknowledged, code = self._acknowledged.get(timeout=left)
                if acknowledged == message:
                    return code
        raise OSError(f"it did not acknowledge within {self._timeout_seconds:g} s")

    def _connected(self) -> Client:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        # A new session each time, never connected again by itself: what is to be sent once more the outbox knows.
        version = MQTTProtocolVersion.MQTTv311 if self._is_old_broker else MQTTProtocolVersion.MQTTv5
        client = Client(CallbackAPIVersion.VERSION2, protocol=version, reconnect_on_failure=False)
        client.connect_timeout = self._timeout_seconds
        if self._place.username is not None:
            client.username_pw_set(unquote(self._place.username), unquote(self._place.password or ""))
        if self._place.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        answers: queue.Queue[ReasonCode] = queue.Queue()
        client.on_connect = lambda _client, _userdata, _flags, code, _properties: answers.put(code)
        acknowledged: queue.Queue[tuple[int, ReasonCode]] = queue.Queue()
        self._acknowledged = acknowledged
        client.on_publish = lambda _client, _userdata, message, code, _properties: acknowledged.put((message, code))
        client.connect(self._place.hostname or "", self._place.port or _PORTS[self._place.scheme], _KEEPALIVE_SECONDS)
        self._client = client
        client.loop_start()
        try:
            code = answers.get(timeout=self._timeout_seconds)
        except queue.Empty:
            raise OSError("it takes connections, but does not answer as an MQTT broker") from None
        if code.is_failure:
            self._is_old_broker = self._is_old_broker or "protocol version" in str(code).lower()
            raise OSError(f"it refuses the connection ({code})")
        return client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
