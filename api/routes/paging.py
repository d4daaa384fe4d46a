"""Pages of what is already in memory: `{<plural>: […], "next": cursor | null}`, cut by the key of the last item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from api.errors import InvalidCursorError

DEFAULT_PAGE = 100
MAX_PAGE = 1_000

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most so many on a page.", examples=[100])]
Cursor = Annotated[
    str | None, Query(max_length=2_000, description="The `next` of an earlier page.", examples=["100"])
]


def number_of(cursor: str | None) -> int:
    """A cursor that counts. Raises InvalidCursorError."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise InvalidCursorError(cursor=cursor)
    return int(cursor)


def page(items: Sequence[Item], limit: int, cursor: str | None) -> tuple[Sequence[Item], str | None]:
    """The page after `cursor`, which says how many items came before it. Only for lists that grow at their end."""
    begin = number_of(cursor)
    end = begin + limit
    return items[begin:end], str(end) if end < len(items) else None
