"""What a template may make of its data: so many bytes and so deep, or the refusal says so.

A template is short and may name a large value many times over, and a loop may feed its result to it again: without a
bound, text that doubles with every visit would fill the memory of everybody's engine.
"""

from __future__ import annotations

from typing import Any

from domain.errors import LimitExceededError
from domain.limits import MAX_VALUE_BYTES, MAX_VALUE_DEPTH

SUBJECT = "the value that an expression makes"


def bounded(value: Any) -> Any:
    """The value itself. Raises LimitExceededError. Looks at no more of it than fits in the limit."""
    size, depth, level = 0, 0, [value]
    while level:
        depth += 1
        below: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is str:
                size += len(one) + 3
            elif kind is dict:
                size += 2 + sum(map(len, one)) + 4 * len(one)
                below += one.values()
            elif kind is list:
                size += 2 + len(one)
                below += one
            else:
                size += 8
            if size > MAX_VALUE_BYTES:
                raise LimitExceededError(subject=SUBJECT, actual=size, limit=MAX_VALUE_BYTES, unit="bytes")
        if depth == MAX_VALUE_DEPTH and below:
            raise LimitExceededError(subject=SUBJECT, actual=depth + 1, limit=MAX_VALUE_DEPTH, unit="levels")
        level = below
    return value


def joined(texts: list[str]) -> str:
    """All of them in one. Raises LimitExceededError before it is made."""
    size = sum(map(len, texts))
    if size > MAX_VALUE_BYTES:
        raise LimitExceededError(subject=SUBJECT, actual=size, limit=MAX_VALUE_BYTES, unit="bytes")
    return "".join(texts)
