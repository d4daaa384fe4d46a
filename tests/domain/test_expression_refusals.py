"""What a refused expression is told: the whole sentence, the place in it, and what was given."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import ExpressionError
from domain.expressions import compile_condition, compile_value


@pytest.mark.parametrize(
    ("condition", "position", "message"),
    [
        ("$.a == 1, 0", 10, "a condition is one logical expression, without a comma"),
        ("$.a]['b'", 4, "a condition is one logical expression; this one closes a bracket too early"),
        ("!true", 1, "a literal must be compared with something"),
        ("length($.a)", 0, "result of length() must be compared"),
        ("$.items[?count(@.*)]", 8, "result of count() must be compared"),
        ("value($..*) == 1 == 2", 17, "only values can be compared: a path, a literal or a function"),
        ("$.a == (1)", 7, "a compared value cannot stand in parentheses"),
        ("$.a && (", 7, "'(' is never closed"),
        ("$.a == 01", 7, "'01' is no number"),
        ("$.a == 1e400", 7, "the number '1e400' is out of range"),
        ("$.a[1:2:3:4]", 9, "the expression should end here, or go on with && or ||"),
        ("$.a == '\\u00'", 8, "incomplete escape sequence"),
        ('$.a == "\\u00x\ud800"', 0, "it is malformed"),
        ("$.a = 1", 4, "unexpected '='; write == to compare"),
        (" || ".join(["$.a"] * 102), 0, "the expression has more than 100 operators"),
        ("$.a" + "[?@.a" * 9 + "]" * 9, 0, "the expression has more than 8 filters"),
        ("$." + "a" * 2000, 0, "the expression is longer than 2000 characters"),
    ],
)
def test_a_condition_is_refused_with_a_whole_sentence(condition: str, position: int, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_condition(condition)
    assert refused.value.details == {"message": message, "position": position, "expression": condition}


def test_a_filter_inside_a_filter_is_refused_at_its_own_place() -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_condition("count($.a[?!true]) == 1")
    assert refused.value.details["message"] == "a literal must be compared with something"
    assert refused.value.details["position"] == 12


DOLLAR = "; write $$x for text that starts with a dollar sign"
UNKNOWN = (
    "unknown function $foo; there are $if, $coalesce, $max, $min, $add, $subtract, $multiply, $ms, $concat,"
    " $length, $literal ($literal keeps anything as it is)"
)


@pytest.mark.parametrize(
    ("template", "message", "expression", "path"),
    [
        ({"$ms": "soon"}, "$ms takes a duration such as 30m, but was given text.", "soon", ("$ms",)),
        ({"a": {"$foo": 1}}, UNKNOWN, '{"$foo": 1}', ("a",)),
        ({"$length": {"$foo": 1}}, UNKNOWN, '{"$foo": 1}', ("$length",)),
        ({"a": [{"$max": []}]}, "$max takes a list of at least one value", "[]", ("a", 0, "$max")),
        ({"$max": 3}, "$max takes a list of at least one value", "3", ("$max",)),
        ({"$subtract": [1]}, "$subtract takes a list of 2", "[1]", ("$subtract",)),
        ({"$length": 3}, "$length takes text, a list or an object, but was given 3.", "3", ("$length",)),
        ({"$add": [1, "é"]}, "$add takes numbers, but was given text.", '[1, "é"]', ("$add",)),
        ({"$concat": [None]}, "$concat takes text and numbers, but was given null.", "[null]", ("$concat",)),
        (
            {"$multiply": [1e308, 10]},
            "$multiply takes numbers whose result JSON can hold, but was given 1e+308, 10.",
            "[1e+308, 10]",
            ("$multiply",),
        ),
        (
            {"k": {"$if": ["$.a", 1]}},
            "$if takes a list of three: a condition as text, and the two values",
            '["$.a", 1]',
            ("k", "$if"),
        ),
        ({"k": {"$if": ["$.a ==", 1, 2]}}, "unexpected end of expression", "$.a ==", ("k", "$if", 0)),
        (
            {"k": {"$coalesce": [1, "$.*"]}},
            "a value comes from one place: only names and indices can follow $",
            "$.*",
            ("k", "$coalesce", 1),
        ),
        (
            {"k": {"$coalesce": "$.a"}},
            "$coalesce takes a list of at least one value",
            "$.a",
            ("k", "$coalesce"),
        ),
        ({"a": "$x"}, "expected '.', '..' or a bracketed selection, found 'x'" + DOLLAR, "$x", ("a",)),
        ({"$add": ["x" * 90]}, "$add takes numbers, but was given text.", '["' + "x" * 78, ("$add",)),
    ],
)
def test_a_template_is_refused_with_its_place_and_what_was_given(
    template: Any, message: str, expression: str, path: tuple[str | int, ...]
) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_value(template)
    details = refused.value.details
    assert (details["message"], details["expression"]) == (message, expression)
    assert details.get("path", path) == path
