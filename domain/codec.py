"""Events as they are stored: topic = name, payload = plain UTF-8 JSON, so that SQL can read them.

Upcasting: when a shape changes, the new class is registered as `Name@2` and `UPCASTS` says how the old one is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from domain import events, moves, other_events
from domain.errors import CorruptHistoryError
from domain.events import Event

TOPICS: dict[str, type[Event]] = {
    name: kind
    for name, kind in {**vars(events), **vars(moves), **vars(other_events)}.items()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}
UPCASTS: dict[str, Callable[[Any], Event]] = {}
"""Stored names that no class has any more → how their payload becomes an event of today."""

_encoder = msgspec.json.Encoder()
_decoders = {name: msgspec.json.Decoder(kind) for name, kind in TOPICS.items()}


def topic_of(event: Event) -> str:
    return type(event).__name__


def encode(event: Event) -> bytes:
    return _encoder.encode(event)


def decode(topic: str, payload: bytes) -> Event:
    """The event; raises CorruptHistoryError for a topic that this release does not know, or a payload unlike it."""
    try:
        if topic in UPCASTS:
            return UPCASTS[topic](msgspec.json.decode(payload))
        return _decoders[topic].decode(payload)
    except KeyError:
        raise CorruptHistoryError(
            instance_id="?", version="?", problem=f"this release does not know events named {topic!r}"
        ) from None
    except msgspec.MsgspecError as error:
        raise CorruptHistoryError(instance_id="?", version="?", problem=f"{topic}: {error}") from error
