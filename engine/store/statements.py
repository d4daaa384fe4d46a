"""The SQL of the store, by name. Knows the shape of `statements.sql`, and nothing of what the statements
mean.

Next: `statements.sql` beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def _named(text: str) -> Mapping[str, bytes]:
    """`-- name: <name>` opens a statement, which goes on to the next one; as bytes, which psycopg takes as
    written."""
    _, *parts = _HEADING.split(text)
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}


SQL = _named(Path(__file__).with_name("statements.sql").read_text(encoding="utf-8"))
SCHEMA = Path(__file__).with_name("schema.sql").read_bytes()
