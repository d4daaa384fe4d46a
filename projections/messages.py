"""What the server and the process of its projections say to each other: one JSON object a line, over a pipe each way.

Next: `process.py` (the far end), `remote.py` (this end).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from projections.rebuilding import Comparison
from projections.runner import Progress


class Begin(Struct, frozen=True, tag=True, kw_only=True):
    """The first message. It comes by the pipe because the database's address holds a password."""

    database: str
    log: str
    views: str
    table: str
    published: str | None
    level: int
    projections: list[str]


class Wake(Struct, frozen=True, tag=True):
    """The log has grown."""


class WaitFor(Struct, frozen=True, tag=True, kw_only=True):
    number: int
    position: int
    timeout: float
    names: list[str]


class RebuildOne(Struct, frozen=True, tag=True, kw_only=True):
    number: int
    name: str
    swap: bool


class Told(Struct, frozen=True, tag=True):
    """How far every projection is; said whenever that has changed."""

    progress: list[Progress]


class Reached(Struct, frozen=True, tag=True):
    number: int
    reached: bool


class Rebuilt(Struct, frozen=True, tag=True):
    number: int
    comparison: Comparison


class Refused(Struct, frozen=True, tag=True):
    """`kind` is the name of a TenutoError's class, or of whatever went wrong; `details` of the former."""

    number: int
    kind: str
    details: dict[str, Any]
    problem: str


Asked = Begin | Wake | WaitFor | RebuildOne
Answered = Told | Reached | Rebuilt | Refused

encode = msgspec.json.Encoder(enc_hook=str).encode
read_asked = msgspec.json.Decoder(Asked).decode
read_answered = msgspec.json.Decoder(Answered).decode


def line(message: Struct) -> bytes:
    return encode(message) + b"\n"
