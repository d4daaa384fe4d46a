"""Whether one condition holds whenever another does, as far as their form says: `$.n > 5` lies inside `$.n > 3`.

Only comparisons with a number or a text written out are understood; anything else is the same when it is written the
same. So what is found is certain, and not everything is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FloatLiteral,
    IntegerLiteral,
    LogicalExpression,
    StringLiteral,
)

from domain.expressions.comparisons import MIRRORED

_PARTS: Final = 8
"""Parts of a condition that are compared; whoever joins more of them is not understood."""


class Comparison(NamedTuple):
    """What is compared, as text, with the operator between it and the literal."""

    side: str
    operator: str
    literal: float | str


class Part(NamedTuple):
    text: str
    comparison: Comparison | None


class Condition(NamedTuple):
    """`needs`: what must hold, all of it (its `&&`); `suffices`: what is enough, any of it (its `||`)."""

    needs: list[Part]
    suffices: list[Part]


def understood(expression: Expression) -> Condition:
    return Condition(_parts(expression, "&&"), _parts(expression, "||"))


def lies_inside(one: Condition, other: Condition) -> bool:
    """Whether `other` holds whenever `one` does."""
    return any(_implies(need, enough) for need in one.needs for enough in other.suffices)


def _implies(one: Part, other: Part) -> bool:
    if one.text == other.text:
        return True
    if one.comparison is None or other.comparison is None:
        return False
    return _within(one.comparison, other.comparison)


def _within(one: Comparison, other: Comparison) -> bool:
    a, b = one.literal, other.literal
    if one.side != other.side or isinstance(a, str) != isinstance(b, str):
        return False  # There is no order between a number and a text.
    order = (a > b) - (a < b)  # type: ignore[operator]  # Both are numbers, or both texts.
    return (one.operator, other.operator) in _WITHIN[order]


_WITHIN: Final = {
    -1: {
        *(("==", wider) for wider in ("<", "<=", "!=")),
        *(("<", wider) for wider in ("<", "<=", "!=")),
        *(("<=", wider) for wider in ("<", "<=", "!=")),
    },
    0: {("==", "=="), ("==", "<="), ("==", ">="), ("<", "<="), (">", ">="), ("<", "!="), (">", "!=")},
    1: {
        *(("==", wider) for wider in (">", ">=", "!=")),
        *((">", wider) for wider in (">", ">=", "!=")),
        *((">=", wider) for wider in (">", ">=", "!=")),
    },
}
"""By how the first literal stands to the second, less, equal or greater: (narrower, wider) operators."""


def _parts(expression: Expression, operator: str) -> list[Part]:
    parts = list(_split(expression, operator))
    return [Part(str(part), _comparison(part)) for part in parts] if len(parts) <= _PARTS else []


def _split(expression: Expression, operator: str) -> Iterator[Expression]:
    if isinstance(expression, LogicalExpression) and expression.operator == operator:
        yield from _split(expression.left, operator)
        yield from _split(expression.right, operator)
    else:
        yield expression


def _comparison(expression: Expression) -> Comparison | None:
    if not isinstance(expression, ComparisonExpression):
        return None
    left, operator, right = expression.left, expression.operator, expression.right
    if isinstance(left, IntegerLiteral | FloatLiteral | StringLiteral):
        left, operator, right = right, MIRRORED[operator], left
    if isinstance(right, IntegerLiteral | FloatLiteral | StringLiteral):
        return Comparison(str(left), operator, right.value)
    return None
