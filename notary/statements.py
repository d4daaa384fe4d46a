"""SQL lives in `ledger.sql`, one named statement with one line of why each. `{notary}` is the notary's schema, `{log}`
the event log's table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

Statements = Mapping[str, sql.Composed]

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(*, notary: str, log: sql.Identifier) -> Statements:
    """By name, for one notary of one log."""
    _, *parts = _HEADING.split(Path(__file__).with_name("ledger.sql").read_text(encoding="utf-8"))
    return {
        name: sql.SQL(text.strip()).format(notary=sql.Identifier(notary), log=log)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
