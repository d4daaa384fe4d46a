"""Schemas that could look at one value for ever are refused; those that people write are not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from domain.definition.verification.schema_work import SchemaWork

TREE = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "number"}}}
FORMULA = {
    "$defs": {
        "formula": {
            "oneOf": [
                {"type": "number"},
                {"properties": {"add": {"type": "array", "items": {"$ref": "#/$defs/formula"}}}},
                {"properties": {"negate": {"$ref": "#/$defs/formula"}, "of": {"$ref": "#number"}}},
            ]
        },
        "number": {"$anchor": "number", "type": "number"},
    },
    "$ref": "#/$defs/formula",
}
TWICE = {"$defs": {"n": {"anyOf": [{"items": {"$ref": "#/$defs/n"}}] * 2}}, "$ref": "#/$defs/n"}


def two_of(level: int) -> dict[str, Any]:
    """No schema refers to itself, and yet each level is looked at twice as often as the one above."""
    return {"allOf": [{"properties": {"a": {"$ref": f"#/$defs/l{level}"}}} for _ in range(2)]}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        FORMULA,
        {"oneOf": [{"const": number} for number in range(900)]},
        {"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}},
    ],
    ids=["empty", "tree", "formula", "choice", "wide"],
)
def test_what_people_write_is_sound(schema: dict[str, Any]) -> None:
    assert SchemaWork(schema).problem() is None


@pytest.mark.parametrize(
    "schema",
    [
        TWICE,
        {"$defs": {f"l{level}": two_of(level + 1) for level in range(40)} | {"l40": {}}, **two_of(0)},
        {"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}]}}, "$ref": "#/$defs/n"},
        {"oneOf": [{"const": number} for number in range(2_000)]},
        {"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
    ],
    ids=["alternatives", "levels", "itself", "choice", "patterns"],
)
def test_what_could_take_for_ever_is_refused_at_once(schema: dict[str, Any]) -> None:
    began = time.perf_counter()
    assert "more than 1000 times" in (SchemaWork(schema).problem() or "")
    assert time.perf_counter() - began < 1


HERE = {"$ref": "#/$defs/n"}


def again(schema: dict[str, Any]) -> str | None:
    """The problem of a schema that the part `n` refers to itself in."""
    return SchemaWork({"$defs": {"n": schema}, **HERE}).problem()


@pytest.mark.parametrize(
    "inside",
    [
        {word: HERE}
        for word in (
            "items",
            "additionalItems",
            "unevaluatedItems",
            "contains",
            "additionalProperties",
            "unevaluatedProperties",
            "propertyNames",
        )
    ]
    + [
        {"items": [HERE]},
        {"prefixItems": [HERE]},
        {"patternProperties": {"x": HERE}},
        {"properties": {"a": HERE}},
    ],
    ids=str,
)
def test_what_is_asked_twice_of_what_is_inside_is_asked_for_ever(inside: dict[str, Any]) -> None:
    twice = "it may look at one value more than 1000 times, as its parts lead on to each other"
    assert again(inside) is None
    for word in ("allOf", "anyOf", "oneOf"):
        assert again({word: [inside, inside]}) == twice
    for word in ("dependentSchemas", "dependencies"):
        assert again({word: {"a": inside, "b": inside}}) == twice
    for word in ("not", "if", "then", "else"):
        assert again({word: inside, **inside}) == twice


def test_a_property_is_asked_what_holds_for_it_and_what_holds_for_any() -> None:
    assert "1000 times" in (again({"properties": {"a": HERE}, "additionalProperties": HERE}) or "")
    assert again({"properties": {"a": HERE, "b": HERE}}) is None


def test_a_part_is_found_by_its_place_and_by_its_name() -> None:
    def refers_to(reference: str) -> str | None:
        parts = {
            "a/b": {},
            "c~d": {"$id": "c.json"},
            "l": [{"$anchor": "first"}],
            "m": {"$dynamicAnchor": "x"},
        }
        return SchemaWork({"$defs": parts, "$ref": reference}).problem()

    for known in ("a~1b", "a%2Fb", "c~0d", "l/0"):
        assert refers_to(f"#/$defs/{known}") is None
    for known in ("c.json", "#first", "#x"):
        assert refers_to(known) is None
    for unknown in ("#/$defs/l/1", "#/$defs/l/x", "#/$defs/z", "#/a/b", "d.json", "#last"):
        assert refers_to(unknown) == f"it refers to {unknown!r}; refer to a part of it as `#/…`"


def test_a_reference_that_is_not_understood_is_refused() -> None:
    assert "'item.json'" in (SchemaWork({"$id": "here.json", "$ref": "item.json"}).problem() or "")
