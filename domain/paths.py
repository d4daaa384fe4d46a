"""How an execution is named: one visit of one step, `path#visit`.

    ship#1                          the first visit of ship
    prepare.pack[2].packItem#1      packItem, in item 2 of the map pack, in the scope prepare
    prepare#2.papers#1              an enclosing scope's visit is written when it is not the first
    ship#1/undo                     the undo of ship#1

Step ids hold letters, digits, `_` and `-` only, so the separators never clash.
"""

from __future__ import annotations

from collections.abc import Iterator

UNDO = "/undo"
SLOW = "/slow"
"""Ends the id of an alert that says a step is slow; the rest is its execution."""


def child_path(scope: str, step: str, index: str | None = None) -> str:
    """The path of `step` inside the scope's execution (`""`: the instance itself)."""
    if not scope:
        return step
    inside = scope.removesuffix("#1")
    return f"{inside}[{index}].{step}" if index is not None else f"{inside}.{step}"


def scope_of(execution: str) -> str:
    """The execution of the scope that it runs in; `""` for one that runs in the instance itself, as undos do."""
    if execution.endswith(UNDO):
        return ""
    head, dot, _ = execution.rpartition(".")
    if not dot:
        return ""
    if head.endswith("]"):
        head = head[: head.rindex("[")]
    _, _, last = head.rpartition(".")
    return head if "#" in last else head + "#1"


def index_of(execution: str) -> str | None:
    """The index of the block it runs in, when its scope is a map; None for an undo, which runs in none."""
    if execution.endswith(UNDO):
        return None
    head, dot, _ = execution.rpartition(".")
    return head[head.rindex("[") + 1 : -1] if dot and head.endswith("]") else None


def blocks_of(execution: str) -> Iterator[tuple[str, str]]:
    """(scope, index) of every block of a map that it runs in, the innermost first."""
    while "[" in execution:
        scope, index = scope_of(execution), index_of(execution)
        if index is not None:
            yield scope, index
        execution = scope


def path_of(execution: str) -> str:
    return execution.rpartition("#")[0]


def visit_of(execution: str) -> int:
    return int(execution.rpartition("#")[2])


def undo_of(execution: str) -> str:
    return execution + UNDO


def is_within(execution: str, scope: str) -> bool:
    """Whether it runs inside the scope's execution, at any depth."""
    while execution:
        execution = scope_of(execution)
        if execution == scope:
            return True
    return False
