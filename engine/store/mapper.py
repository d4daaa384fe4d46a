"""How an event goes into the log: under its own name, its payload's bytes as they are.

No class paths and no second encoding, so SQL can read the log and a class may be renamed. What a payload
means, and how an old one is read today, is the business of `domain/codec.py`. Next: `recorder.py`, which
writes what this makes.
"""

from __future__ import annotations

from typing import Any

from eventsourcing.persistence import Mapper, Notification, StoredEvent

from engine.ports import Recorded


class EventMapper(Mapper[str]):
    """Recorded <-> StoredEvent. The library's own would write class paths, and read by importing them."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Of a `Recorded`; its position is the database's to give."""
        return StoredEvent(
            originator_id=domain_event.stream,
            originator_version=domain_event.version,
            topic=domain_event.topic,
            state=domain_event.payload,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The `Recorded`; with its position when it was read from the log as a whole."""
        return Recorded(
            stream=str(stored_event.originator_id),
            version=stored_event.originator_version,
            topic=stored_event.topic,
            payload=stored_event.state,
            position=stored_event.id if isinstance(stored_event, Notification) else 0,
        )
