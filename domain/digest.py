"""Digests of JSON values: two values that are equal as JSON have the same one."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_canonical = msgspec.json.Encoder(order="deterministic")


def digest(value: Any) -> str:
    """SHA-256 of the value's JSON with sorted keys, as 64 hex digits."""
    return hashlib.sha256(_canonical.encode(value)).hexdigest()
