"""The definitions that a definition starts as its children: whether they are there, and lead back to it.

What is deployed the engine knows (`engine/registry.py`), and hands in; a definition may come after its parent, so one
that is missing is only a warning, and what is deployed later may close a circle: then the depth limit ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from domain.definition.document import Path, read_document
from domain.definition.findings import Finding
from domain.definition.parse import Deployable
from domain.definition.verification.report import Report


class Child(NamedTuple):
    """A definition as a step names it; `version` None is the newest."""

    name: str
    version: str | None


Known = Mapping[Child, Sequence[Child] | None]
"""What each of them starts in turn; None for one that is not deployed."""


def children_in(tree: Mapping[str, Any]) -> list[Child]:
    """Those that a definition's document names, each once."""
    return list(dict.fromkeys(child for child, _ in _placed(tree, ())))


def verify_children(deployable: Deployable, known: Known) -> list[Finding]:
    """Return what there is to say of its children, in the order of the document."""
    placed = list(_placed(deployable.tree, ()))
    if not placed:
        return []
    report = Report(read_document(deployable.text, deployable.source))
    for child, path in placed:
        way = _way_back(child, deployable, known)
        if way is not None:
            names = [deployable.model.name, *(each.name for each in way)]
            said = " starts ".join(map(repr, names))
            report.add("cyclic-children", f"{said}: they would never end", path)
        elif not _is(child, deployable) and known.get(child) is None:
            version = "" if child.version is None else f" in version {child.version!r}"
            report.add("unknown-child", f"no definition {child.name!r} is deployed{version}", path)
    return report.findings()


def _way_back(child: Child, deployable: Deployable, known: Known) -> list[Child] | None:
    """The shortest way from the child to the definition itself."""
    ways = [[child]]
    seen = {child}
    for way in ways:
        if _is(way[-1], deployable):
            return way
        for after in known.get(way[-1]) or ():
            if after not in seen:
                seen.add(after)
                ways.append([*way, after])
    return None


def _is(child: Child, deployable: Deployable) -> bool:
    """Whether it is what is being deployed, which will be the newest."""
    model = deployable.model
    return child.name == model.name and child.version in (None, model.version)


def _placed(block: Mapping[str, Any], path: Path) -> Iterator[tuple[Child, Path]]:
    for number, step in enumerate(block.get("steps") or ()):
        place = (*path, "steps", number)
        if not isinstance(step, Mapping):
            return  # The steps of a `compensate` are ids.
        if step.get("type") == "workflow":
            yield Child(step["definition"], step.get("version")), (*place, "definition")
        if step.get("type") == "map":  # The `steps` of a `compensate` step are names.
            yield from _placed(step, place)
        for name, branch in (step.get("branches") or {}).items():
            yield from (
                (child, (*place, "branches", name, *inner[1:]))
                for child, inner in _placed({"steps": branch}, ())
            )
