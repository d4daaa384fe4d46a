"""How often a JSON Schema may look at one value: alternatives that lead on to each other double it with every level.

A schema is asked inside the server, and nothing interrupts it. So the places that a value can be in are walked here,
each with the subschemas that apply there and how often, down to the depth that JSON may have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from domain.limits import MAX_DEPTH

MAX_LOOKS: Final = 1_000
"""Subschemas that may apply to one value."""
MAX_STEPS: Final = 200_000
"""Subschemas that are walked in all places together; a schema for which that does not do is refused."""

Looks = Counter[int]
"""Subschema, by the identity of its object → how often it applies in one place."""

_SAME: Final = ("not", "if", "then", "else")
_SAME_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_NAMED: Final = ("dependentSchemas", "dependencies")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_INSIDE: Final = (
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
)
_INSIDE_LISTS: Final = ("items", "prefixItems")


class SchemaWork:
    """`problem()` says what is wrong with the schema, in words, or None."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._nodes: dict[int, dict[str, Any]] = {}
        self._named: dict[str, dict[str, Any]] = {"#": schema}
        self._unknown: str | None = None
        self._steps = 0
        self._learn()

    def problem(self) -> str | None:
        seen: set[frozenset[tuple[int, int]]] = set()
        places = [Counter([id(self._schema)])]
        for _ in range(MAX_DEPTH):
            below: list[Looks] = []
            for place in places:
                all_here = self._all_here(place)
                if self._unknown is not None:
                    return f"it refers to {self._unknown!r}; refer to a part of it as `#/…`"
                if all_here is None:
                    return f"it may look at one value more than {MAX_LOOKS} times, as its parts lead on to each other"
                for inside in self._inside(all_here):
                    key = frozenset(inside.items())
                    if key not in seen:
                        seen.add(key)
                        below.append(inside)
            places = below
        return None

    def _learn(self) -> None:
        """Every object in it, and the names that it can be referred to by."""
        pending: list[Any] = [self._schema]
        while pending:
            node = pending.pop()
            if isinstance(node, dict):
                self._nodes[id(node)] = node
                for word, mark in (("$id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
                    if isinstance(name := node.get(word), str):
                        self._named[mark + name] = node
                pending.extend(node.values())
            elif isinstance(node, list):
                pending.extend(node)

    def _all_here(self, place: Looks) -> Looks | None:
        """With all that applies to the same value; None when that is too much."""
        found: Looks = Counter()
        looks = 0
        pending = list(place.items())
        while pending:
            node, times = pending.pop()
            found[node] += times
            looks += times
            self._steps += 1
            if looks > MAX_LOOKS or self._steps > MAX_STEPS:
                return None
            pending.extend((id(part), times) for part in self._parts(self._nodes[node]))
        return found

    def _parts(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The subschemas that are for the value itself."""
        parts = [node[word] for word in _SAME if word in node]
        for word in _SAME_LISTS:
            parts.extend(node.get(word, ()))
        for word in _SAME_NAMED:
            parts.extend(node.get(word, {}).values())
        parts.extend(self._target(node[word]) for word in _REFERENCES if word in node)
        return (part for part in parts if isinstance(part, dict))

    def _inside(self, here: Looks) -> Iterator[Looks]:
        """The places right inside the value: each named property, and any other one or item."""
        anywhere: Looks = Counter()
        named: dict[str, Looks] = {}
        for node, times in here.items():
            schema = self._nodes[node]
            others = [schema.get(word) for word in _INSIDE]
            others.extend(schema.get("patternProperties", {}).values())
            for word in _INSIDE_LISTS:
                others.extend(schema[word] if isinstance(schema.get(word), list) else ())
            for other in others:
                if isinstance(other, dict):
                    anywhere[id(other)] += times
            for name, value in schema.get("properties", {}).items():
                if isinstance(value, dict):
                    named.setdefault(name, Counter())[id(value)] += times
        yield anywhere
        for looks in named.values():
            yield looks + anywhere

    def _target(self, reference: str) -> Any:
        if reference in self._named:
            return self._named[reference]
        node: Any = self._schema
        if reference.startswith("#/"):
            for part in reference[2:].split("/"):
                key = unquote(part).replace("~1", "/").replace("~0", "~")
                if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                    node = node[int(key)]
                elif isinstance(node, dict) and key in node:
                    node = node[key]
                else:
                    break
            else:
                return node
        self._unknown = reference
        return None
