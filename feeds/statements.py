"""SQL lives in the `.sql` files of this folder, one named statement with one line of why each.

`{log}` stands for the event log's table, `{feeds}` for the schema of the tables that delivery keeps for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

Statements = Mapping[str, sql.Composed]

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(name: str, **names: sql.Identifier) -> Statements:
    """The statements of `<name>.sql`, by name."""
    text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)
    return {
        title: sql.SQL(body.strip()).format(**names)
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }
