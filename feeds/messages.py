"""What is told of an event, and to whom: the CloudEvents 1.0 envelope, and the filter of a consumer.

An event is told under its stored name. Asked for by the topic `workflow.state.changed`, a change of status is told
under that name instead, in the words of that event: instanceId, previousStatus, newStatus, reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from domain.codec import TOPICS, UPCASTS
from domain.times import rfc3339

STATE_CHANGED = "workflow.state.changed"
STATUS_CHANGED = "StatusChanged"
ENDED = frozenset({"outcome", "result", "error", "standing"})
"""What the last change of an instance's status says beside the brief's four fields."""
KNOWN_TOPICS = frozenset({*TOPICS, *UPCASTS, STATE_CHANGED})
TYPE = "tenuto."
"""Before an event's own name in the envelope's `type`."""


class Origin(Struct, frozen=True):
    """Of a stream: whose it is, and what it can be chosen by."""

    namespace: str
    definition: str | None = None
    labels: Mapping[str, str] = {}


class Filter(Struct, frozen=True, kw_only=True):
    """All that are given must hold: any one of the topics, every label."""

    namespace: str
    topics: AbstractSet[str] = frozenset()
    definition: str | None = None
    instance: str | None = None
    labels: Mapping[str, str] = {}

    def admits(self, message: Message) -> bool:
        origin = message.origin
        return (
            origin.namespace == self.namespace
            and (not self.topics or message.topic in self.topics or self.renames(message))
            and self.instance in (None, message.stream)
            and self.definition in (None, origin.definition)
            and all(origin.labels.get(key) == value for key, value in self.labels.items())
        )

    def renames(self, message: Message) -> bool:
        """Whether this consumer knows the event under its other name."""
        return message.topic == STATUS_CHANGED and STATE_CHANGED in self.topics

    def chosen(self, messages: Iterable[Message]) -> list[Message]:
        return [message for message in messages if self.admits(message)]

    def told(self, message: Message) -> bytes:
        """The envelope, as JSON in one line."""
        return message.renamed if self.renames(message) else message.plain


class Message(Struct, frozen=True, dict=True):
    """One event at its place in the log. Its envelope is written once, however many read it."""

    position: int
    stream: str
    version: int
    topic: str
    payload: bytes
    at: datetime
    origin: Origin = field(default_factory=lambda: Origin(""))

    @property
    def plain(self) -> bytes:
        return self._once("_plain", lambda: (TYPE + self.topic, msgspec.Raw(self.payload)))

    @property
    def renamed(self) -> bytes:
        return self._once("_renamed", lambda: (STATE_CHANGED, self._change()))

    def _once(self, name: str, make: Any) -> bytes:
        kept: bytes | None = self.__dict__.get(name)
        if kept is None:
            kept = self.__dict__[name] = msgspec.json.encode(self._envelope(*make()))
        return kept

    def _envelope(self, type: str, data: Any) -> dict[str, Any]:
        said = {
            "specversion": "1.0",
            "id": str(self.position),
            "source": f"/namespaces/{self.origin.namespace}",
            "type": type,
            "subject": self.stream,
            "time": rfc3339(self.at),
            "datacontenttype": "application/json",
            "streamversion": self.version,
        }
        if self.origin.definition is not None:
            said["definition"] = self.origin.definition
        return {**said, "data": data}

    def _change(self) -> dict[str, Any]:
        stored: dict[str, Any] = msgspec.json.decode(self.payload)
        more = {key: value for key, value in stored.items() if key in ENDED}
        return {
            "instanceId": self.stream,
            "previousStatus": stored["from"],
            "newStatus": stored["to"],
            "reason": stored["reason"],
            **more,
        }
