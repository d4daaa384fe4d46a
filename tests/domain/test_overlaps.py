"""A condition that is said to lie inside another never holds where the other does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.definition.verification.overlaps import lies_inside, understood
from domain.expressions import compile_condition
from domain.expressions.parsing import parse_logical

LITERALS = st.sampled_from(["1", "2", "2.0", "2.5", "3", "'a'", "'b'", "'10'", "true", "null"])
OPERATORS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
COMPARISONS = st.builds("{} {} {}".format, st.sampled_from(["$.n", "$.m"]), OPERATORS, LITERALS) | st.builds(
    "{} {} $.n".format, LITERALS, OPERATORS
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds("({} && {})".format, inner, inner) | st.builds("({} || {})".format, inner, inner),
    max_leaves=6,
)
VALUES = st.sampled_from([0, 1, 1.5, 2, 2.5, 2.75, 3, 4, "", "a", "aa", "b", "10", True, None])
DATA = st.fixed_dictionaries({}, optional={"n": VALUES, "m": VALUES})


def inside(one: str, other: str) -> bool:
    return lies_inside(understood(parse_logical(one)[0]), understood(parse_logical(other)[0]))


@given(CONDITIONS, CONDITIONS, st.lists(DATA, min_size=1, max_size=20))
def test_what_lies_inside_another_holds_only_where_the_other_does(
    one: str, other: str, data: list[dict[str, Any]]
) -> None:
    if inside(one, other):
        assert [
            each for each in data if compile_condition(one)(each) and not compile_condition(other)(each)
        ] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$.n > 5", "$.n > 3"),
        ("5 < $.n", "$.n >= 5"),
        ("$.n == 2", "$.n <= 2.0"),
        ("$.n <= 2", "$.n != 3"),
        ("$.n == 'a'", "$.n < 'b'"),
        ("$.n == 1 && $.m == 2", "$.m == 2 || $.m == 3"),
    ],
)
def test_what_is_narrower_lies_inside(one: str, other: str) -> None:
    assert inside(one, other)
    assert not inside(other, one)
