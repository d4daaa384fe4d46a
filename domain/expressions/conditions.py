"""Conditions: exactly one RFC 9535 logical-expr over the workflow's data (wire.md, *Condition*).

`$` is the data and `@` exists only inside the filter of a query, so a condition asks about the data and
nothing else. What it may cost is bounded here, before it ever runs: it is evaluated inside the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FunctionExtension,
    LogicalExpression,
    PrefixExpression,
    RelativeFilterQuery,
    RootFilterQuery,
    StringLiteral,
)
from jsonpath_rfc9535.query import JSONPathQuery
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment

from domain.expressions.parsing import Source, filters_in, parse_logical, parse_query, queries_in
from domain.expressions.patterns import PatternError, matcher
from domain.expressions.queries import compile_logical, compile_nodes, keys_of
from domain.limits import MAX_FILTER_NESTING, MAX_QUERY_FANOUT

_SAME = "this is the same for every item: ask it outside the filter"

Scope = Mapping[str, Any]
Condition = Callable[[Scope], bool]


def compile_condition(text: str) -> Condition:
    """Compile `text` to a function from the data to a verdict, which never raises.

    The data is a dict or a ChainMap of dicts; it is read in place. Raises ExpressionError, whose `position`
    counts from 0 in `text`.
    """
    expression, source = parse_logical(text)
    check_condition(expression, source)
    return compile_logical(expression, source)


def compile_query(text: str) -> Callable[[Any], list[Any]]:
    """Compile a whole RFC 9535 query to the values it selects from any JSON value. Raises ExpressionError.

    Unlike a condition it may take patterns from the data and nest as it likes: it is not for definitions.
    """
    query, source = parse_query(text)
    return compile_nodes(query, source)


def check_condition(expression: Expression, source: Source) -> None:
    """Refuse what RFC 9535 allows in a filter but a condition has no meaning or no bound for."""
    for query in queries_in(expression):
        if isinstance(query, RelativeFilterQuery):
            raise source.refusal("@ has no meaning here; write $ for the workflow's data", query.token)
        _check_query(query.query, source, nesting=0)
    _check_patterns(expression, source)


def _check_query(query: JSONPathQuery, source: Source, *, nesting: int) -> None:
    """Bound the work of one query: for data of n nodes, about n steps for each of its operators and ways."""
    filters = list(filters_in(query))
    descents = [s for s in query.segments if isinstance(s, JSONPathRecursiveDescentSegment)]
    if descents and (filters or nesting):
        raise source.refusal("`..` cannot be combined with a filter in a condition", descents[0].token)
    if len(descents) > 1:
        raise source.refusal("a condition's query can hold only one `..`", descents[1].token)
    if prod(len(segment.selectors) for segment in query.segments) > MAX_QUERY_FANOUT:
        raise source.refusal(
            f"the query selects more than {MAX_QUERY_FANOUT} ways at once", query.segments[0].token
        )
    if filters and nesting >= MAX_FILTER_NESTING:
        raise source.refusal(f"filters nest deeper than {MAX_FILTER_NESTING}", filters[0].token)
    for expression in filters:
        for inner in queries_in(expression):
            if isinstance(inner, RootFilterQuery) and keys_of(inner.query) is None:
                raise source.refusal(
                    "inside a filter, `$` can name one value only: what it selects is the same for every item",
                    inner.token,
                )
            _check_query(inner.query, source, nesting=nesting + 1)
        _check_that_it_asks_of_the_item(expression, source)
        _check_patterns(expression, source)


def _check_that_it_asks_of_the_item(expression: Expression, source: Source) -> None:
    """What may take long, for one value that is large, is not asked again for each of many items."""
    match expression:
        case LogicalExpression():
            _check_that_it_asks_of_the_item(expression.left, source)
            _check_that_it_asks_of_the_item(expression.right, source)
        case PrefixExpression():
            _check_that_it_asks_of_the_item(expression.right, source)
        case ComparisonExpression():
            if _is_of_the_data(expression.left) and _is_of_the_data(expression.right):
                raise source.refusal(_SAME, expression.left.token)
        case FunctionExtension(name="match" | "search", args=[text, _]):
            if _is_of_the_data(text):
                raise source.refusal(_SAME, text.token)
        case _:
            pass


def _is_of_the_data(expression: Expression) -> bool:
    """Whether it is a value that `$` leads to, of whatever size."""
    if isinstance(expression, FunctionExtension) and expression.name == "value":
        return _is_of_the_data(expression.args[0])
    return isinstance(expression, RootFilterQuery)


def _check_patterns(expression: Expression, source: Source) -> None:
    """Require literal patterns, so that a definition is deployed with patterns known to be good."""
    match expression:
        case LogicalExpression() | ComparisonExpression():
            _check_patterns(expression.left, source)
            _check_patterns(expression.right, source)
        case PrefixExpression():
            _check_patterns(expression.right, source)
        case FunctionExtension(name="match" | "search" as name, args=[_, pattern]):
            if not isinstance(pattern, StringLiteral):
                raise source.refusal(
                    f"the pattern of {name}() must be written out in a condition", pattern.token
                )
            try:
                matcher(pattern.value, anywhere=name == "search")
            except PatternError as error:
                raise source.refusal(str(error), pattern.token) from error
        case _:
            pass
