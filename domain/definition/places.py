"""Where a field of a definition stands in its document: fields are named in camelCase, but may be written otherwise."""

from __future__ import annotations

from typing import Any, Final

from pydantic.alias_generators import to_snake

from domain.definition.document import Path

_OTHER_NAMES: Final = {"for": "for_", "schema": "payload_schema"}


def as_written(tree: Any, path: Path) -> Path:
    """Return `path` with each field as the author spelt it: camelCase, or snake_case where that is what stands there.

    What does not exist in `tree` is kept as it is.
    """
    written: list[str | int] = []
    node = tree
    for part in path:
        key = _spelling(node, part)
        written.append(key)
        node = _inside(node, key)
    return tuple(written)


def value_at(tree: Any, path: Path) -> Any:
    """Return the value at `path`, None where there is none."""
    for part in path:
        tree = _inside(tree, part)
    return tree


def step_at(tree: Any, path: Path) -> str | None:
    """Return the id of the innermost step that `path` leads through."""
    found = None
    for depth, part in enumerate(path):
        tree = _inside(tree, part)
        in_steps = (
            "steps" in path[max(depth - 1, 0) : depth]
            or "branches" in path[max(depth - 2, 0) : max(depth - 1, 0)]
        )
        if in_steps and isinstance(tree, dict) and isinstance(tree.get("id"), str):
            found = tree["id"]
    return found


def _inside(node: Any, part: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _spelling(node: Any, part: str | int) -> str | int:
    if isinstance(part, int) or not isinstance(node, dict) or part in node:
        return part
    other = to_snake(part) if to_snake(part) in node else _OTHER_NAMES.get(part, part)
    return other if other in node else part
