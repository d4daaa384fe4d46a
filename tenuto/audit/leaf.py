"""What a leaf of the tree holds: one event of the log, whole, in bytes that can be read in one way only.

    0x01 · position (8) · length (4) stream · version (8) · length (4) topic · length (4) payload

Numbers are big-endian and signed as PostgreSQL's are; texts are UTF-8; a length of 0xFFFFFFFF stands for NULL, which
Tenuto never writes and a forger might. THIS FORM IS KEPT FOR EVER: another one gets another first byte.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import NamedTuple

NULL = 0xFFFFFFFF

_head = Struct(">BBqI")  # with the 0x00 that makes it a leaf
_middle = Struct(">qI")
_length = Struct(">I")


class Row(NamedTuple):
    """One event as it stands in the log. `position` is its notification id."""

    position: int
    stream: str
    version: int
    topic: str | None
    payload: bytes | None


def leaf_of(row: tuple[int, str, int, str | None, bytes | None]) -> bytes:
    """The hash of the leaf of an event."""
    position, stream, version, topic, payload = row
    name = stream.encode()
    data = _head.pack(0, 1, position, len(name)) + name
    if topic is None:
        data += _middle.pack(version, NULL)
    else:
        kind = topic.encode()
        data += _middle.pack(version, len(kind)) + kind
    if payload is None:
        return sha256(data + _length.pack(NULL)).digest()
    return sha256(data + _length.pack(len(payload)) + payload).digest()
