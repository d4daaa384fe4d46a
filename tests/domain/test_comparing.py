"""Where two JSON values differ, and how one became the other, as people are told."""

from __future__ import annotations

from typing import Any

import pytest

from domain.comparing import MAX_CHANGES, MAX_DIFFERENCES, changes, differences


def test_what_is_the_same_has_no_differences() -> None:
    value = {"a": [1, {"b": None}], "c": "x"}
    assert differences(value, {"c": "x", "a": [1, {"b": None}]}) == []
    assert changes(value, dict(value)) == ([], False)


@pytest.mark.parametrize(
    ("live", "replayed", "expected"),
    [
        (1, 2, {"path": "$", "live": 1, "replayed": 2}),
        (1, True, {"path": "$", "live": 1, "replayed": True}),
        (1, 1.0, {"path": "$", "live": 1, "replayed": 1.0}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"path": "$.a.b", "live": 1, "replayed": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"path": "$.b", "live": 2}),
        ({"a": 1}, {"a": 1, "b": None}, {"path": "$.b", "replayed": None}),
        ({"a": [0, [1]]}, {"a": [0, [2]]}, {"path": "$.a[1][0]", "live": 1, "replayed": 2}),
        ([1], [1, 2], {"path": "$", "live": [1], "replayed": [1, 2]}),
        ({"a": {}}, {"a": []}, {"path": "$.a", "live": {}, "replayed": []}),
    ],
)
def test_a_difference_is_told_with_its_path_and_both_sides(
    live: Any, replayed: Any, expected: dict[str, Any]
) -> None:
    assert differences(live, replayed) == [expected]


def test_differences_stand_in_the_order_of_what_is_live_and_then_of_what_is_new() -> None:
    found = differences({"b": 1, "a": 1}, {"c": 1, "a": 2, "b": 2})
    assert [one["path"] for one in found] == ["$.b", "$.a", "$.c"]


def test_no_more_than_a_hundred_differences_are_told() -> None:
    many = {str(number): number for number in range(MAX_DIFFERENCES + 1)}
    assert differences(many, {}) == [{"path": f"$.{key}", "live": int(key)} for key in list(many)[:-1]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"a": None}, {"op": "add", "path": "$.a", "after": None}),
        ({"a": {"b": 1}}, {"a": {}}, {"op": "remove", "path": "$.a.b", "before": 1}),
        ({"a": 1}, {"a": True}, {"op": "replace", "path": "$.a", "before": 1, "after": True}),
        ({"a": 1}, {"a": 2}, {"op": "replace", "path": "$.a", "before": 1, "after": 2}),
        ([1], [1, 2], {"op": "add", "path": "$[1]", "after": 2}),
        ([1, 2], [1], {"op": "remove", "path": "$[1]", "before": 2}),
        ([{"a": 1}], [{"a": 2}], {"op": "replace", "path": "$[0].a", "before": 1, "after": 2}),
        (
            {"charge#1": 1},
            {"charge#1": 2},
            {"op": "replace", "path": "$['charge#1']", "before": 1, "after": 2},
        ),
        ({"_a1": 1}, {}, {"op": "remove", "path": "$._a1", "before": 1}),
        ({}, {"1a": 1}, {"op": "add", "path": "$['1a']", "after": 1}),
        ([], {}, {"op": "replace", "path": "$", "before": [], "after": {}}),
    ],
)
def test_a_change_is_told_with_its_path_and_what_was_and_is_there(
    before: Any, after: Any, expected: dict[str, Any]
) -> None:
    assert changes(before, after) == ([expected], False)


def test_more_than_a_thousand_changes_are_cut_and_it_is_said() -> None:
    many = {f"k{number}": number for number in range(MAX_CHANGES)}
    found, more = changes({}, many)
    assert (len(found), more) == (MAX_CHANGES, False)
    found, more = changes({}, many | {"last": 0})
    assert ([one["path"] for one in found], more) == ([f"$.{key}" for key in many], True)
