"""SQL lives in the `.sql` file beside each module, one named statement with one line of why each.

`-- name: …` begins a statement; the lines of comment under it are for people. `{views}` stands for the schema
that the statement works in, `{log}` for the event log's table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

Statements = Mapping[str, sql.Composed]

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(name: str, *, views: str, log: sql.Identifier, **more: sql.Composable) -> Statements:
    """The statements of `<name>.sql`, by name, for one schema of views and one log."""
    _, *parts = _HEADING.split(source(name))
    return {
        title: sql.SQL(text.strip()).format(views=sql.Identifier(views), log=log, **more)
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def source(name: str) -> str:
    """The text of `<name>.sql`."""
    return Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
