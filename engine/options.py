"""What whoever opens an engine may choose."""

from __future__ import annotations

from msgspec import Struct


class EngineOptions(Struct, frozen=True, kw_only=True):
    """`shard` is part of every instance id; a session unheard of for `lease_seconds` loses its leases.

    While there is much to do, each batch is gathered for `gather_seconds`: a commit costs the same for one command as
    for many.
    """

    shard: str = "0"
    lease_seconds: float = 5.0
    gather_seconds: float = 0.0
