"""Which data an expression uses, for verification at deploy: "data used before it is set".

Knows where an expression looks, not whether anything is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonpath_rfc9535.filter_expressions import (
    Expression,
    FilterQuery,
    LogicalExpression,
    PrefixExpression,
    RelativeFilterQuery,
)
from msgspec import Struct

from domain.expressions.conditions import check_condition
from domain.expressions.parsing import filters_in, parse_logical, queries_in
from domain.expressions.paths import Key
from domain.expressions.queries import stem_of
from domain.expressions.values import function_of, is_path, parse_path


class Reference(Struct, frozen=True):
    """One place in the data: the names and indices after `$`.

    `optional` when its absence is expected: inside `$coalesce`, or where a condition asks whether it exists.
    `tested` when a condition is that path alone (`$.a`, `!$.a`): it asks for existence, not for truth.
    """

    path: tuple[Key, ...]
    optional: bool = False
    tested: bool = False


def paths_of_condition(text: str) -> frozenset[Reference]:
    """Return what a condition refers to; of a query for several values, the path they all begin with."""
    expression, source = parse_logical(text)
    check_condition(expression, source)
    return frozenset(_of_logical(expression))


def paths_of_value(template: Any) -> frozenset[Reference]:
    """Return what a value template refers to. Expects one that `compile_value` accepts."""
    return frozenset(_of_template(template, optional=False))


def _of_template(template: Any, *, optional: bool) -> Iterator[Reference]:
    name = function_of(template)
    if name == "$literal":
        return
    if name == "$if":
        condition, *branches = template[name]
        for used in paths_of_condition(condition):
            yield Reference(used.path, optional=optional or used.optional, tested=used.tested)
        yield from _of_template(branches, optional=optional)
    elif isinstance(template, dict):
        for item in template.values():
            yield from _of_template(item, optional=optional or name == "$coalesce")
    elif isinstance(template, list):
        for item in template:
            yield from _of_template(item, optional=optional)
    elif is_path(template):
        yield Reference(parse_path(template), optional=optional)


def _of_logical(expression: Expression) -> Iterator[Reference]:
    match expression:
        case FilterQuery():
            yield from _of_query(expression, tested=True)
        case LogicalExpression():
            yield from _of_logical(expression.left)
            yield from _of_logical(expression.right)
        case PrefixExpression():
            yield from _of_logical(expression.right)
        case _:
            for query in queries_in(expression):
                yield from _of_query(query, tested=False)


def _of_query(query: FilterQuery, *, tested: bool) -> Iterator[Reference]:
    if not isinstance(query, RelativeFilterQuery):
        yield Reference(stem_of(query.query), optional=tested, tested=tested)
    for expression in filters_in(query.query):
        yield from _of_logical(expression)
