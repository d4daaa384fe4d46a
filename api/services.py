"""Services that a definition calls and this server has no URL for: a warning at deploy, with its place."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from connectors.http import setting_of
from domain.definition.document import read_document
from domain.definition.findings import Finding
from domain.definition.parse import Deployable

HTTP = "http:"


def unknown_services(
    deployable: Deployable, known: AbstractSet[str], *, severity: Literal["error", "warning"]
) -> list[Finding]:
    """One finding per action whose service is none of `known`, in the order of the text."""
    unknown = [
        (path, service)
        for path, action in _actions(deployable.tree, ())
        if (service := action.removeprefix(HTTP).partition("/")[0]) not in known
    ]
    if not unknown:
        return []
    document = read_document(deployable.text, deployable.source)
    return [
        document.finding(
            "unknown-service",
            f"no URL is known for the service {service!r}",
            path,
            severity=severity,
            fix=f"set {setting_of(service)}",
        )
        for path, service in unknown
    ]


def _actions(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, dict):
        action = node.get("action")
        if isinstance(action, str) and action.startswith(HTTP) and "id" in node:
            yield (*path, "action"), action
        for key, value in node.items():
            yield from _actions(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _actions(value, (*path, index))
