"""What conditions look through: which of them range over lists, where, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from domain.expressions.costs import Look, conditions_in, looks_of, values_below
from tests.domain.given import Run


@pytest.mark.parametrize(
    ("condition", "looks"),
    [
        ("$.a.b == 1 && $.c[0]", []),
        ("$.a.b[?@.x == 1]", [Look(("a", "b"), 2)]),
        ("$.a[0][?@.x == 1 && @.y] || $.b[*]", [Look(("a", 0), 4), Look(("b",), 4)]),
        ("$..x", [Look((), 1)]),
        ("count($.a[1:3]) > 1", [Look(("a",), 1)]),
        ("$['a','b']", [Look((), 2)]),
    ],
)
def test_a_query_of_several_values_is_a_look_below_its_stem(condition: str, looks: list[Look]) -> None:
    assert looks_of(condition) == looks


def test_conditions_are_found_in_transitions_and_templates_but_not_in_steps_inside() -> None:
    step: dict[str, Any] = {
        "id": "m",
        "type": "map",
        "next": [{"next": "x", "condition": "$.a"}, {"next": "y", "condition": None}],
        "input": {"deep": [{"$if": ["$.b", 1, {"$if": ["$.c", 2, 3]}]}]},
        "steps": [{"id": "s", "type": "decision", "next": [{"next": "z", "condition": "$.not"}]}],
    }
    assert list(conditions_in(step)) == ["$.a", "$.b", "$.c"]


def test_what_only_looks_like_a_condition_is_none() -> None:
    step: dict[str, Any] = {
        "input": {"next": "ship", "condition": "new", "why": {"$literal": {"$if": ["who knows?", 1, 2]}}},
        "next": "ship",
    }
    assert list(conditions_in(step)) == []
    assert looks_of("who knows?") == []
    given = "input: {next: ship, condition: new, v: {$literal: {$if: ['who knows?', 1, 2]}}}"
    run = Run(f"steps: [{{id: a, type: task, action: 'http:shop/a', {given}}}]").start({})
    assert run.input == {"next": "ship", "condition": "new", "v": {"$if": ["who knows?", 1, 2]}}


def test_values_are_counted_below_a_place() -> None:
    data = {"a": [{"x": 1, "y": [2, 3]}], "b": "text"}
    assert values_below(data, ("a",)) == 6
    assert values_below(data, ("a", 0, "y")) == 3
    assert values_below(data, ()) == 8
    assert values_below(data, ("gone",)) == 1


def test_an_object_of_a_template_is_no_step_though_it_has_an_id_and_a_type() -> None:
    lines = [{"id": 1, "type": "gift", "wrapped": {"$if": ["$.gifts[?@.id == 1]", True, False]}}]
    assert list(conditions_in({"id": "a", "type": "task", "input": lines})) == ["$.gifts[?@.id == 1]"]
