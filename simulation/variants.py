"""Another version of a definition: some steps have other ids, limits or workers, and now and then one is in the way.

With it comes the mapping of ids that leads there; turned round, it leads back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

Tree = dict[str, Any]
Mapping = dict[str, str]

# Fields that name steps: one, or a list of them.
ONE = ("id", "next", "fallback", "compensateWith", "onTimeout", "step")
SEVERAL = ("steps",)


def variant(tree: Tree, random: Random) -> tuple[Tree, Mapping]:
    """The same flow, and what has become of its ids."""
    other = copy.deepcopy(tree) | {"description": "another version"}
    for step in steps_of(other["steps"]):
        _change(step, random)
    renamed = {step["id"]: f"{step['id']}x" for step in steps_of(other["steps"]) if random.random() < 0.2}
    _rename(other, renamed)
    return other, renamed


def steps_of(block: list[Tree]) -> Iterator[Tree]:
    """All of a block, nested ones included."""
    for step in block:
        yield step
        for inner in [
            *step.get("branches", {}).values(),
            step.get("steps", []) if step["type"] == "map" else [],
        ]:
            yield from steps_of(inner)


def _change(step: Tree, random: Random) -> None:
    kind, dice = step["type"], random.random()
    if kind == "task" and dice < 0.3:
        queue = "slow" if "worker:q/" in step["action"] else "q"
        step["action"] = f"worker:{queue}/{step['id']}"
    elif kind == "task" and dice < 0.4:
        step["retryPolicy"] = {"maxAttempts": 2}
    elif kind == "task" and dice < 0.45:
        step.pop("compensateWith", None)
    elif kind == "map" and dice < 0.5:
        step["maxConcurrency"] = random.randint(1, 4)
    elif kind == "map" and dice < 0.6:
        step["join"] = "any"
    elif kind == "workflow" and dice < 0.2:
        step["onParentClose"] = random.choice(("cancel", "abandon", "terminate"))
    elif kind == "workflow" and dice < 0.3:
        step["retryPolicy"] = {"maxAttempts": 2}
    elif kind == "wait" and "signal" in step and dice < 0.2:
        step["signal"] = "note"


def _rename(value: Any, ids: Mapping) -> None:
    """In place, wherever a step is named."""
    if isinstance(value, list):
        for inner in value:
            _rename(inner, ids)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in ONE and isinstance(inner, str):
                value[key] = ids.get(inner, inner)
            elif key in SEVERAL and inner and isinstance(inner[0], str):
                value[key] = [ids.get(one, one) for one in inner]
            elif key not in ("input", "output", "result", "results", "items", "action"):
                _rename(inner, ids)
