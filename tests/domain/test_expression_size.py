"""What a template may make of its data: bounded in bytes and in depth, whatever it is short for."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import ExpressionError, LimitExceededError
from domain.expressions import compile_value
from domain.expressions.size import bounded, joined
from domain.limits import MAX_VALUE_BYTES, MAX_VALUE_DEPTH


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_value_within_its_bounds_is_given_back_itself() -> None:
    value = {"a": [1, None, True, 1.5, "text"], "b": {}}
    assert bounded(value) is value
    assert bounded(nested(MAX_VALUE_DEPTH)) == nested(MAX_VALUE_DEPTH)
    assert bounded("x" * (MAX_VALUE_BYTES - 3)) == "x" * (MAX_VALUE_BYTES - 3)


@pytest.mark.parametrize(
    "value",
    [
        "x" * (MAX_VALUE_BYTES - 2),
        ["x" * 1000] * 1100,
        {"k" * 100_000 + str(number): 1 for number in range(11)},
        [0] * 150_000,
        [[]] * 400_000,
    ],
    ids=["text", "texts", "keys", "numbers", "lists"],
)
def test_too_many_bytes_are_refused(value: Any) -> None:
    with pytest.raises(LimitExceededError) as refused:
        bounded(value)
    details = refused.value.details
    assert (details["limit"], details["unit"]) == (MAX_VALUE_BYTES, "bytes")
    assert details["subject"] == "the value that an expression makes"


def test_too_deep_is_refused() -> None:
    with pytest.raises(LimitExceededError) as refused:
        bounded(nested(MAX_VALUE_DEPTH + 1))
    details = refused.value.details
    assert (details["actual"], details["limit"], details["unit"]) == (
        MAX_VALUE_DEPTH + 1,
        MAX_VALUE_DEPTH,
        "levels",
    )


def test_texts_are_joined_up_to_the_limit_and_no_further() -> None:
    half = "x" * (MAX_VALUE_BYTES // 2)
    assert joined([half, half]) == half + half
    with pytest.raises(LimitExceededError) as refused:
        joined([half, half, "x"])
    assert refused.value.details["actual"] == MAX_VALUE_BYTES + 1


@pytest.mark.parametrize("template", [{"$concat": ["$.a", "$.a"]}, ["$.a", "$.a"], {"x": "$.a", "y": "$.a"}])
def test_a_template_that_makes_too_much_is_refused_when_it_is_evaluated(template: Any) -> None:
    value = compile_value(template)
    assert value({"a": "x"})
    with pytest.raises(LimitExceededError):
        value({"a": "x" * (MAX_VALUE_BYTES // 2 + 1)})


def test_what_is_only_read_has_the_bounds_that_it_came_in_with() -> None:
    large = "x" * (2 * MAX_VALUE_BYTES)
    assert compile_value("$.a")({"a": large}) is large


def test_too_long_a_text_that_is_written_out_is_refused_where_it_stands() -> None:
    with pytest.raises(ExpressionError, match="limit"):
        compile_value({"$concat": ["x" * MAX_VALUE_BYTES, "x"]})
