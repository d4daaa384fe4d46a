"""How RFC 9535 compares (section 2.3.5.2.2): deep equality, and an order on numbers and on text only.

What surprises people and is the rule: a missing value equals a missing value, `<` across types is false and
so is `>`, `1 == 1.0` is true, and true is no number although Python thinks so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from domain.expressions.paths import Getter, Predicate

Compare = Callable[[Any, Any], bool]

ORDERS: Final[dict[str, Compare]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; Python's bool is an int, JSON's is not."""
    kind = type(value)
    return kind is int or kind is float


def equal(left: Any, right: Any) -> bool:
    """Deep equality of two JSON values or MISSING. Iterative, so that no nesting can exhaust the stack."""
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        kind = type(a)
        if kind is not type(b):
            if not (is_number(a) and is_number(b) and a == b):
                return False
        elif kind is dict:
            if a.keys() != b.keys():
                return False
            pending.extend((value, b[key]) for key, value in a.items())
        elif kind is list:
            if len(a) != len(b):
                return False
            pending.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def ordered(symbol: str, left: Any, right: Any) -> bool:
    """Evaluate `left symbol right` for one of `<`, `<=`, `>`, `>=`."""
    if (is_number(left) and is_number(right)) or (type(left) is str and type(right) is str):
        return ORDERS[symbol](left, right)
    return symbol in ("<=", ">=") and equal(left, right)


class Literal(NamedTuple):
    """An operand that is written in the expression itself."""

    value: Any


Operand = Literal | Getter


def comparison(symbol: str, left: Operand, right: Operand) -> Predicate:
    """Compile `left symbol right`; a comparison with a literal, the usual case, knows its type beforehand."""
    if isinstance(left, Literal):
        if isinstance(right, Literal):
            verdict = _holds(symbol, left.value, right.value)
            return lambda root, current=None: verdict
        return comparison(MIRRORED[symbol], right, left)
    if symbol == "!=":
        same = comparison("==", left, right)
        return lambda root, current=None: not same(root, current)
    if isinstance(right, Literal):
        return _equals(left, right.value) if symbol == "==" else _orders(symbol, left, right.value)
    getter = right
    if symbol == "==":
        return lambda root, current=None: equal(left(root, current), getter(root, current))
    return lambda root, current=None: ordered(symbol, left(root, current), getter(root, current))


def _holds(symbol: str, left: Any, right: Any) -> bool:
    if symbol in ORDERS:
        return ordered(symbol, left, right)
    return equal(left, right) is (symbol == "==")


def _equals(get: Getter, literal: Any) -> Predicate:
    if literal is None or isinstance(literal, bool):
        return lambda root, current=None: get(root, current) is literal
    if isinstance(literal, str):
        return lambda root, current=None: get(root, current) == literal

    def equals_number(root: Any, current: Any = None) -> bool:
        value = get(root, current)
        return value == literal and value is not True and value is not False

    return equals_number


def _orders(symbol: str, get: Getter, literal: Any) -> Predicate:
    compare = ORDERS[symbol]
    if isinstance(literal, str):

        def orders_text(root: Any, current: Any = None) -> bool:
            value = get(root, current)
            return type(value) is str and compare(value, literal)

        return orders_text
    if not is_number(literal):
        # null and booleans have no order: `<=` and `>=` still hold when both sides are equal.
        return _equals(get, literal) if symbol in ("<=", ">=") else lambda root, current=None: False

    def orders_number(root: Any, current: Any = None) -> bool:
        value = get(root, current)
        kind = type(value)
        return (kind is int or kind is float) and compare(value, literal)

    return orders_number
