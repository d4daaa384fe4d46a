"""What can have happened to an instance beside its way: it moved to another version, or was made of another one.

As in `domain/events.py`: THESE NAMES AND FIELDS ARE STORED FOR EVER. What they make of the state: `domain/moved.py`.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from domain.events import Event, Json


class Migrated(Event):
    """It follows another version of its definition from here on.

    `steps` is the mapping of step ids that was asked for. `positions` says, of every open execution and of every other
    one whose step has another id now, at which step it stands; `undos`, where that changes, which step undoes it.
    """

    from_version: str
    to_version: str
    to_hash: str
    positions: dict[str, str] = {}
    undos: dict[str, str] = {}
    steps: dict[str, str] = {}


class Origin(Struct, rename="camel", frozen=True):
    """The instance, and how many of its events, that another one was made of."""

    instance_id: str
    version: int


class Forked(Event):
    """All events before it are copies of `origin`'s; all after it are this instance's own.

    Times that were still to come are put off by `delay_ms`, which is how long ago that point was. `input` and `data`
    are what is different.
    """

    origin: Origin = field(name="from")
    delay_ms: int
    input: Json | UnsetType = UNSET
    data: dict[str, Json] | None = None
