"""Syntax tree to closures: queries, and the logical expressions in their filters (RFC 9535, 2.3 to 2.5).

A closure takes `(root, current)`, what `$` and `@` stand for. Compiling refuses whatever is not well-typed,
so that evaluating never raises. `conditions.py` and `values.py` decide which of this is open to authors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterExpressionLiteral,
    FilterQuery,
    FloatLiteral,
    FunctionExtension,
    IntegerLiteral,
    LogicalExpression,
    PrefixExpression,
    RootFilterQuery,
)
from jsonpath_rfc9535.query import JSONPathQuery
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath_rfc9535.selectors import (
    FilterSelector,
    IndexSelector,
    JSONPathSelector,
    NameSelector,
    SliceSelector,
    WildcardSelector,
)

from domain.expressions.comparisons import Literal, Operand, comparison
from domain.expressions.parsing import Source
from domain.expressions.paths import (
    MISSING,
    Getter,
    Key,
    Nodes,
    Predicate,
    current_getter,
    root_getter,
    whole,
)
from domain.expressions.patterns import Matcher, PatternError, matcher

Select = Callable[[Any, Any], Iterable[Any]]
Step = Callable[[list[Any], Any], list[Any]]


def keys_of(query: JSONPathQuery) -> tuple[Key, ...] | None:
    """Return the names and indices of a singular query, None for a query that may select several values."""
    keys = stem_of(query)
    return keys if len(keys) == len(query.segments) else None


def stem_of(query: JSONPathQuery) -> tuple[Key, ...]:
    """Return the names and indices that a query begins with: all that it selects stands below them."""
    keys: list[Key] = []
    for segment in query.segments:
        if isinstance(segment, JSONPathRecursiveDescentSegment) or len(segment.selectors) != 1:
            break
        match segment.selectors[0]:
            case NameSelector(name=name):
                keys.append(name)
            case IndexSelector(index=index):
                keys.append(index)
            case _:
                break
    return tuple(keys)


def compile_nodes(query: JSONPathQuery, source: Source, *, relative: bool = False) -> Nodes:
    """Compile a query to the list of values it selects, from `$` or, if `relative`, from `@`."""
    steps = [_step(segment, source) for segment in query.segments]

    def nodes(root: Any, current: Any = None) -> list[Any]:
        root = whole(root)
        values = [current if relative else root]
        for step in steps:
            values = step(values, root)
        return values

    return nodes


def _step(segment: JSONPathSegment, source: Source) -> Step:
    selects = [_select(selector, source) for selector in segment.selectors]

    def children(values: list[Any], root: Any) -> list[Any]:
        return [found for value in values for select in selects for found in select(value, root)]

    if isinstance(segment, JSONPathRecursiveDescentSegment):
        return lambda values, root: children([below for value in values for below in _descend(value)], root)
    return children


def _descend(value: Any) -> list[Any]:
    """Return `value` and everything in it, parents before children and in order; iterative for any depth."""
    visited: list[Any] = []
    pending = [value]
    while pending:
        node = pending.pop()
        visited.append(node)
        if type(node) is dict:
            pending.extend(reversed(node.values()))
        elif type(node) is list:
            pending.extend(reversed(node))
    return visited


def _select(selector: JSONPathSelector, source: Source) -> Select:
    match selector:
        case NameSelector(name=name):
            return lambda value, root: (value[name],) if type(value) is dict and name in value else ()
        case IndexSelector(index=index):
            return lambda value, root: (
                (value[index],) if type(value) is list and -len(value) <= index < len(value) else ()
            )
        case SliceSelector(slice=bounds):
            if bounds.step == 0:
                return lambda value, root: ()
            return lambda value, root: value[bounds] if type(value) is list else ()
        case WildcardSelector():
            return lambda value, root: _members(value)
        case FilterSelector(expression=filter_expression):
            holds = compile_logical(filter_expression.expression, source)
            return lambda value, root: [member for member in _members(value) if holds(root, member)]
        case _:
            raise source.refusal("unknown selector", selector.token)


def _members(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return value.values()
    return value if type(value) is list else ()


def compile_logical(expression: Expression, source: Source) -> Predicate:
    """Compile a logical-expr: `&&`, `||`, `!`, a comparison, or a test that something exists or matches."""
    match expression:
        case LogicalExpression(operator=symbol):
            left = compile_logical(expression.left, source)
            right = compile_logical(expression.right, source)
            if symbol == "&&":
                return lambda root, current=None: left(root, current) and right(root, current)
            return lambda root, current=None: left(root, current) or right(root, current)
        case PrefixExpression():
            inner = compile_logical(expression.right, source)
            return lambda root, current=None: not inner(root, current)
        case ComparisonExpression(operator=symbol):
            return comparison(symbol, _operand(expression.left, source), _operand(expression.right, source))
        case FilterQuery():
            return _exists(expression, source)
        case FunctionExtension(name="match" | "search"):
            return _matches(expression, source)
        case FunctionExtension(name=name):
            raise source.refusal(f"the result of {name}() must be compared", expression.token)
        case _:
            raise source.refusal("a literal must be compared with something", expression.token)


def _exists(query: FilterQuery, source: Source) -> Predicate:
    if keys_of(query.query) is not None:
        get = _getter(query, source)
        return lambda root, current=None: get(root, current) is not MISSING
    nodes = _nodes(query, source)
    return lambda root, current=None: bool(nodes(root, current))


def _operand(expression: Expression, source: Source) -> Operand:
    match expression:
        case IntegerLiteral() | FloatLiteral():
            return Literal(_number(expression))
        case FilterExpressionLiteral(value=value):
            return Literal(value)
        case FilterQuery():
            return _getter(expression, source)
        case FunctionExtension(name="length" | "count" | "value"):
            return _function(expression, source)
        case _:
            raise source.refusal(
                "only values can be compared: a path, a literal or a function", expression.token
            )


def _number(literal: FilterExpressionLiteral[Any]) -> int | float:
    """Read a number from its text: the parser goes through float, which loses digits beyond 2**53."""
    text = literal.token.value
    return int(Decimal(text)) if isinstance(literal, IntegerLiteral) else float(text)


def _getter(query: FilterQuery, source: Source) -> Getter:
    keys = keys_of(query.query)
    if keys is None:
        raise source.refusal("a query that may select several values cannot be compared", query.token)
    return root_getter(keys) if isinstance(query, RootFilterQuery) else current_getter(keys)


def _nodes(query: Expression, source: Source) -> Nodes:
    if not isinstance(query, FilterQuery):
        raise source.refusal("the argument must be a query", query.token)
    return compile_nodes(query.query, source, relative=not isinstance(query, RootFilterQuery))


def _function(call: FunctionExtension, source: Source) -> Getter:
    (argument,) = call.args
    if call.name == "length":
        operand = _operand(argument, source)
        if isinstance(operand, Literal):
            constant = _length(operand.value)
            return lambda root, current=None: constant
        return lambda root, current=None: _length(operand(root, current))
    nodes = _nodes(argument, source)
    if call.name == "count":
        return lambda root, current=None: len(nodes(root, current))

    def value(root: Any, current: Any = None) -> Any:
        selected = nodes(root, current)
        return selected[0] if len(selected) == 1 else MISSING

    return value


def _length(value: Any) -> Any:
    return len(value) if isinstance(value, str | list | dict) else MISSING


def _matches(call: FunctionExtension, source: Source) -> Predicate:
    """Compile `match()` or `search()`; a pattern that is no I-Regexp matches nothing (RFC 9535, 2.4.6)."""
    text, pattern = (_as_getter(_operand(argument, source)) for argument in call.args)
    anywhere = call.name == "search"
    if isinstance(call.args[1], FilterExpressionLiteral):
        accepts = _matcher_or_never(call.args[1].value, anywhere=anywhere)
        return lambda root, current=None: accepts(text(root, current))

    def matches(root: Any, current: Any = None) -> bool:
        return _matcher_or_never(pattern(root, current), anywhere=anywhere)(text(root, current))

    return matches


def _as_getter(operand: Operand) -> Getter:
    if not isinstance(operand, Literal):
        return operand
    constant = operand.value
    return lambda root, current=None: constant


def _matcher_or_never(pattern: Any, *, anywhere: bool) -> Matcher:
    try:
        return matcher(pattern, anywhere=anywhere) if isinstance(pattern, str) else lambda value: False
    except PatternError:
        return lambda value: False
