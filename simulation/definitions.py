"""Random definitions: every kind of step, nested, with undos, policies, handlers, signals, deadlines; and an order.

Valid by construction, and they come to an end once services work and somebody acts for whoever is waited for: what goes
back does so by a decision on data that a working service sets to 0, or for errors that only a failing one gives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from domain.definition.document import read_document
from domain.definition.model import DefinitionModel
from domain.definition.parse import Deployable
from domain.digest import digest

Tree = dict[str, Any]
QUEUES = ("q", "slow")
POLICIES: tuple[Tree, ...] = (
    {"maxAttempts": 1},
    {"maxAttempts": 2, "initialInterval": "200ms"},
    {"maxAttempts": 4, "initialInterval": "100ms", "jitter": 0.5, "nonRetryableErrors": ["A"]},
)
ALWAYS = 1.0
CHILD_ERRORS = (
    "ChildFailedError",
    "ChildTerminatedError",
    "ChildTimedOutError",
    "ChildCompensationFailedError",
)

ORDER = Path(__file__).with_name("order.yaml")
"""The order saga, in its form with an approval, a deadline and a savepoint."""


@cache
def order() -> Tree:
    tree: Tree = read_document(ORDER.read_text(encoding="utf-8"), ORDER.name).tree
    return tree


def deployable(tree: Tree) -> Deployable:
    """As it would be deployed. What the verifier warns of, or refuses, can be tried too."""
    text = json.dumps(tree)
    return Deployable(DefinitionModel.model_validate(tree), tree, text, "simulation", digest(tree), [])


class Writer:
    """Writes one definition. `children` are the names of those that its steps may run."""

    def __init__(self, random: Random, name: str, children: Sequence[str] = ()) -> None:
        self._random = random
        self._name = name
        self._children = children
        self._undos: list[Tree] = []
        self._tasks: list[str] = []
        self._savepoints: list[str] = []
        self._number = 0
        # Without limits of time nothing but a lost lease frees a step: what the engine forgets stands still for ever.
        self._limited = random.random() < 0.6

    def definition(self) -> Tree:
        steps = self._block(depth=0)
        top = [step["id"] for step in steps]
        tree: Tree = {
            "name": self._name,
            "signals": {
                "stop": {"do": "cancel", "reason": "$.signal.payload.why"},
                "note": {"set": {"note": "$.signal.payload"}},
                "go": {},
            },
            "results": {"cancelled": {"why": "$.end.reason"}, "succeeded": "$.flag"},
            "businessStatus": {"compensating": "undoing", "cancelled": "called off"},
            "onFailure": "fail" if self._one_in(5) else "compensate",
            "errorHandlers": [self._handler(top) for _ in range(self._random.choice((0, 0, 1, 2)))],
            "steps": steps + self._undos,
        }
        if self._children and self._one_in(2):  # A child's failure waits for a person.
            tree["errorHandlers"].insert(0, {"errors": list(CHILD_ERRORS), "do": "pause"})
        if self._limited and self._one_in(2):
            tree |= {"timeout": "25s", "onTimeout": self._random.choice(("fail", "compensate"))}
        if self._tasks and self._one_in(2):
            tree["deadlines"] = {"soon": self._deadline()}
        return tree

    def _handler(self, top: list[str]) -> Tree:
        errors = self._random.choice((["A"], ["B", "TimeoutError"]))
        if self._one_in(2):
            return {"errors": errors, "next": self._random.choice(top)}
        some = self._random.choice((errors, ["*"]))
        return {"errors": some, "do": self._random.choice(("compensate", "pause", "fail"))}

    def _deadline(self) -> Tree:
        after = self._random.choice(["start", *({"step": task} for task in self._tasks)])
        reach = {"step": self._random.choice(self._tasks)}
        return {"after": after, "within": "8s", "reach": reach, "escalate": [50, 100]}

    def _block(self, depth: int) -> list[Tree]:
        ids = [self._id() for _ in range(self._random.randint(1, 5 if depth == 0 else 2))]
        return [self._step(ids, number, depth) for number in range(len(ids))]

    def _id(self) -> str:
        self._number += 1
        return f"s{self._number}"

    def _step(self, ids: list[str], number: int, depth: int) -> Tree:
        after = ids[number + 1] if number + 1 < len(ids) else None
        kinds = ["task"] * 6 + ["wait"] + ["compensate", "ending"] * (number > 0)
        kinds += ["parallel", "parallel", "map"] * (depth < 2) + ["decision"] * 2 * (
            number > 0 and after is not None
        )
        kinds += ["workflow"] * (3 if self._children else 0)
        kind, id = self._random.choice(kinds), ids[number]
        match kind:
            case "decision":
                return {"id": id, "type": "decision", "next": self._ways(ids, number)}
            case "ending" if self._one_in(2):
                return {"id": id, "type": "succeed"}
            case "ending":
                return {"id": id, "type": "fail", "error": {"type": "C", "message": "as written"}}
            case "wait":
                step = self._wait(ids[number:])
            case "compensate":
                step = self._compensate(may_go_on=depth == 0)
                if depth > 0 or self._one_in(3):
                    after = None
            case "parallel":
                step = self._parallel(depth)
            case "map":
                step = self._map(depth)
            case "workflow":
                step = self._workflow(id, ids[number + 1 :])
            case _:
                step = self._task(id, ids[number + 1 :])
        step["id"] = id
        return step if after is None else step | {"next": after}

    def _ways(self, ids: list[str], number: int) -> list[Tree]:
        """Back only by what a working service ends."""
        back = {"condition": "$.flag == 1", "next": self._random.choice(ids[:number])}
        return [back, {"next": ids[number + 1]}]

    def _task(self, id: str, later: list[str]) -> Tree:
        random = self._random
        self._tasks.append(id)
        step: Tree = {"type": "task", "action": self._action(id), **self._limits()}
        if random.random() < 0.5:
            step["output"] = random.choice(({"flag": "$.flag"},) * 5 + ({"other": "$.missing"},))
        if random.random() < 0.6:
            step["compensateWith"] = f"u{id}"
            limits = {name: value for name, value in self._limits().items() if name != "businessStatus"}
            undo = {"why": "$.undo.reason", "output": {"$coalesce": ["$.undo.output", None]}}
            self._undos.append(
                {"id": f"u{id}", "type": "task", "action": self._action(f"u{id}"), **limits, "input": undo}
            )
        self._say_more(step, id, later)
        return step

    def _workflow(self, id: str, later: list[str]) -> Tree:
        """What its own definition says of the child is written in `families.py`."""
        random = self._random
        self._tasks.append(id)
        step: Tree = {
            "type": "workflow",
            "definition": random.choice(self._children),
            "input": random.choice(({"flag": {"$coalesce": ["$.flag", 0]}},) * 20 + ("$.missing",)),
            "onParentClose": random.choice(("cancel",) * 6 + ("terminate", "terminate", "abandon")),
        }
        choices: dict[str, tuple[float, tuple[Any, ...]]] = {
            "timeout": (0.4 if self._limited else 0, ("4s", "12s")),
            "version": (0.3, ("1", "2")),
            "retryPolicy": (0.4, POLICIES),
            "onMaxRetriesExceeded": (0.4, ("compensate", "pause", "fail")),
            "output": (0.7, ({"flag": "$"}, {"flag": "$"}, {"other": "$.missing"})),
            "correlationId": (0.2, ("k",)),
            "priority": (0.2, ("high",)),
        }
        step |= {
            name: random.choice(values)
            for name, (share, values) in choices.items()
            if random.random() < share
        }
        self._say_more(step, id, later)
        return step

    def _say_more(self, step: Tree, id: str, later: list[str]) -> None:
        """What any step may have that is attempted."""
        if later and self._one_in(8):
            step["fallback"] = self._random.choice(later)
        if self._one_in(4):
            step["savepoint"] = f"p{id}"
            self._savepoints.append(f"p{id}")

    def _action(self, id: str) -> str:
        return self._random.choice(
            (f"worker:q/{id}", f"worker:q/{id}", f"worker:slow/{id}", f"http:shop/{id}")
        )

    def _limits(self) -> Tree:
        random = self._random
        limits: dict[str, tuple[float, tuple[Any, ...]]] = {
            "timeout": (0.6, ("3s", {"$max": [{"$ms": "1s"}, 500]})),
            "scheduleToStart": (0.15, ("4s",)),
            "scheduleToClose": (0.3, ("6s", "15s")),
            "heartbeat": (0.3, ("2s",)),
        }
        choices: dict[str, tuple[float, tuple[Any, ...]]] = {
            **(limits if self._limited else {}),
            "alertAfter": (0.2, ("2s",)),
            "retryPolicy": (0.7, POLICIES),
            "onMaxRetriesExceeded": (0.4, ("compensate", "pause", "fail")),
            "priority": (0.2, ("high",)),
            "businessStatus": (0.2, ("packing", "sending")),
            "input": (
                ALWAYS,
                ({"now": "$.now", "flag": {"$coalesce": ["$.flag", 0]}},) * 20 + ("$.missing",),
            ),
        }
        return {
            name: random.choice(values)
            for name, (share, values) in choices.items()
            if random.random() < share
        }

    def _wait(self, onwards: list[str]) -> Tree:
        if self._one_in(3):
            return {"type": "wait", "for": "2s"}
        step: Tree = {"type": "wait", "signal": self._random.choice(("go", "go", "note"))}
        if self._one_in(2):
            step["for"] = "3s"
            if onwards[1:] and self._one_in(2):
                step["onTimeout"] = self._random.choice(onwards[1:])
        return step

    def _compensate(self, *, may_go_on: bool) -> Tree:
        step: Tree = {"type": "compensate", "reason": "as written"}
        if may_go_on and self._savepoints and self._one_in(2):
            step["to"] = self._random.choice(self._savepoints)
        elif may_go_on and self._tasks and self._one_in(2):
            step["steps"] = [self._random.choice(self._tasks)]
        return step

    def _parallel(self, depth: int) -> Tree:
        branches = {f"b{number}": self._block(depth + 1) for number in range(self._random.randint(1, 3))}
        join = self._random.choice(("all", "all", "any", min(2, len(branches))))
        on_failure = self._random.choice(("cancel", "wait"))
        return {"type": "parallel", "branches": branches, "join": join, "onBranchFailure": on_failure}

    def _map(self, depth: int) -> Tree:
        items = self._random.choice(([], [1], [1, 2, 3], ["a", "b"], "$.missing"))
        step: Tree = {"type": "map", "items": items, "steps": self._block(depth + 1), "join": "all"}
        step["onBranchFailure"] = self._random.choice(("cancel", "wait"))
        if isinstance(items, list) and len(items) > 1:
            step["join"] = self._random.choice(("all", "any", 2))
            step["maxConcurrency"] = self._random.randint(1, 3)
        return step

    def _one_in(self, number: int) -> bool:
        return self._random.random() * number < 1
