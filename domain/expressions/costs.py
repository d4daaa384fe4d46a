"""What conditions look through: the lists and objects that their queries range over.

What one condition may cost is bounded when it is compiled, but a map may ask it for each of its items, in one command:
`domain/bounds.py` adds up. A query of one value (`$.a.b`) costs next to nothing, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from domain.errors import ExpressionError
from domain.expressions.parsing import parse_logical, queries_in
from domain.expressions.paths import Key, root_getter
from domain.expressions.queries import keys_of, stem_of
from domain.expressions.values import function_of

NO_TEMPLATES = ("next", "steps", "branches")
"""Fields of a step: its transitions, and the steps inside it."""


class Look(NamedTuple):
    """Through everything below one place in the data, so many times."""

    stem: tuple[Key, ...]
    times: int


def looks_of(condition: str) -> list[Look]:
    """One for each of its queries that may select several values. Compiling it is what refuses a bad one."""
    try:
        expression, _ = parse_logical(condition)
    except ExpressionError:
        return []
    operators = 1 + sum(map(condition.count, ("&&", "||", "?", ",")))
    ranging = [query.query for query in queries_in(expression) if keys_of(query.query) is None]
    return [Look(stem_of(query), operators) for query in ranging]


def conditions_in(step: dict[str, Any]) -> Iterator[str]:
    """Of a step as plain JSON: those of its transitions, and of `$if` in its templates; not of steps inside it."""
    ways = step.get("next")
    for way in ways if isinstance(ways, list) else ():
        if way.get("condition") is not None:
            yield way["condition"]
    yield from _of_template({name: value for name, value in step.items() if name not in NO_TEMPLATES})


def _of_template(template: Any) -> Iterator[str]:
    name = function_of(template)
    if name == "$literal":
        return
    if name == "$if":
        condition, *template = template[name]
        yield condition
    if isinstance(template, dict | list):
        for item in template.values() if isinstance(template, dict) else template:
            yield from _of_template(item)


def values_below(data: dict[str, Any], stem: tuple[Key, ...]) -> int:
    """How many values there are at a place in the data, in all; 1 for what is not there."""
    count, level = 0, [root_getter(stem)(data) if stem else data]
    while level:
        count += len(level)
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                below += one.values()
            elif type(one) is list:
                below += one
        level = below
    return count
