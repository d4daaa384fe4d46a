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


def test_a_reference_that_is_not_understood_is_refused() -> None:
    assert "'item.json'" in (SchemaWork({"$id": "here.json", "$ref": "item.json"}).problem() or "")
