"""Random definitions for the laws: every kind of step, nested, with undos, policies, handlers, signals, deadlines.

They are made of trees as they would be read from YAML, valid by construction: a jump stays in its block, the steps
that undo stand at the end and are reached through `compensateWith` alone.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Tree = dict[str, Any]
POLICIES = st.sampled_from(
    [
        {"maxAttempts": 1},
        {"maxAttempts": 2, "initialInterval": "1s"},
        {"maxAttempts": 3, "initialInterval": "100ms", "jitter": 0.5, "nonRetryableErrors": ["A"]},
    ]
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.sampled_from(["30s", {"$max": [{"$ms": "1s"}, 500]}]),
        "scheduleToStart": st.just("20s"),
        "scheduleToClose": st.sampled_from(["40s", "5m"]),
        "heartbeat": st.just("10s"),
        "alertAfter": st.just("15s"),
        "retryPolicy": POLICIES,
        "onMaxRetriesExceeded": st.sampled_from(["compensate", "pause", "fail"]),
        "priority": st.just("high"),
        "businessStatus": st.sampled_from(["packing", "sending"]),
        "input": st.sampled_from(
            [{"now": "$.now", "flag": {"$coalesce": ["$.flag", 0]}}] * 3 + ["$.missing"]
        ),
    },
)
CHILD = st.fixed_dictionaries(
    {"onParentClose": st.sampled_from(["cancel", "cancel", "cancel", "terminate", "abandon"])},
    optional={
        "retryPolicy": POLICIES,
        "onMaxRetriesExceeded": st.sampled_from(["compensate", "pause", "fail"]),
        "timeout": st.just("30s"),
        "input": st.sampled_from(["$.input", "$.missing"]),
        "output": st.just({"flag": "$.flag"}),
    },
)
ITEMS = st.sampled_from(
    [[], [{"n": 0}], "$.list", "$.missing", "$.flag"]
    + [[{"n": 0}, {"n": 1}, 7], ["a", "b", "c", "d", "e"]] * 3
)
OF_ITEM = st.sampled_from(
    [{"item": "$.item", "index": "$.index"}] * 3
    + [{"flag": {"$coalesce": ["$.flag", "$.index"]}}, "$.item.n"]
)
OUTPUTS = st.sampled_from([None] * 2 + [{"flag": "$.flag"}] * 4 + [{"other": "$.missing"}])
ONE_IN = {n: st.integers(0, n - 1).map(lambda number: number == 0) for n in (2, 3, 4, 8)}


class Writer:
    """Writes one definition; `draw` decides."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.undos: list[Tree] = []
        self.tasks: list[str] = []
        self.savepoints: list[str] = []
        self.maps = 0  # Around what is being written.
        self._number = 0

    def definition(self, first: str | None) -> Tree:
        steps = self.block(depth=0, first=first)
        top = [step["id"] for step in steps]
        tree: Tree = {
            "name": "random",
            "signals": {"stop": {"do": "cancel", "reason": "$.signal.payload.why"}, "note": NOTE, "go": {}},
            "results": {"cancelled": {"why": "$.end.reason"}, "succeeded": "$.flag"},
            "businessStatus": {"compensating": "undoing", "cancelled": "called off"},
            "onFailure": "compensate" if not self.draw(ONE_IN[4]) else "fail",
            "errorHandlers": [self.handler(top) for _ in range(self.draw(st.integers(0, 2)))],
            "steps": steps + self.undos,
        }
        if self.draw(ONE_IN[3]):
            tree |= {"timeout": "2m", "onTimeout": self.draw(st.sampled_from(["fail", "compensate"]))}
        if self.tasks and self.draw(ONE_IN[2]):
            tree["deadlines"] = {"soon": self.deadline()}
        return tree

    def handler(self, top: list[str]) -> Tree:
        errors = self.draw(st.sampled_from([["A"], ["B", "TimeoutError"], ["*"]]))
        if self.draw(ONE_IN[2]):
            return {"errors": errors, "next": self.draw(st.sampled_from(top))}
        return {"errors": errors, "do": self.draw(st.sampled_from(["compensate", "pause", "fail"]))}

    def deadline(self) -> Tree:
        after = self.draw(st.sampled_from(["start", *({"step": task} for task in self.tasks)]))
        reach = {"step": self.draw(st.sampled_from(self.tasks))}
        return {"after": after, "within": "50s", "reach": reach, "escalate": [50, 100]}

    def block(self, depth: int, first: str | None = None) -> list[Tree]:
        ids = [self.id() for _ in range(self.draw(st.integers(1, 4 if depth == 0 else 2)))]
        return [self.step(ids, number, depth, None if number else first) for number in range(len(ids))]

    def id(self) -> str:
        self._number += 1
        return f"s{self._number}"

    def step(self, ids: list[str], number: int, depth: int, kind: str | None) -> Tree:
        kinds = (
            ["task"] * 5
            + ["workflow", "wait", "compensate", "ending"]
            + ["parallel", "map"] * 2 * (depth < 2)
        )
        kinds += ["decision"] * (number > 0)
        kind = kind or self.draw(st.sampled_from(kinds))
        after = ids[number + 1] if number + 1 < len(ids) else None
        step: Tree = {"id": ids[number]}
        match kind:
            case "task":
                self.task(step, ids)
            case "workflow":
                self.child(step, ids)
            case "decision":
                ways = st.sampled_from([one for one in ids if one != ids[number]] or ids)
                near = {"condition": "$.flag == 1", "next": self.draw(ways)}
                default = {"next": after or self.draw(ways)}
                return step | {"type": "decision", "next": [near] + [default] * (not self.draw(ONE_IN[8]))}
            case "wait":
                self.wait(step, ids)
            case "compensate":
                self.compensate(step, may_go_on=depth == 0)
                if depth > 0 or self.draw(ONE_IN[3]):
                    return step
            case "ending" if self.draw(ONE_IN[2]):
                return step | {"type": "succeed", "result": self.draw(st.sampled_from([None, "$.flag", [1]]))}
            case "ending":
                return step | {"type": "fail", "error": {"type": "A", "message": "as written"}}
            case "parallel":
                self.parallel(step, depth)
            case "map":
                self.map(step, depth)
        return step if after is None else step | {"next": after}

    def task(self, step: Tree, ids: list[str]) -> None:
        id = step["id"]
        self.tasks.append(id)
        step |= {"type": "task", "action": f"worker:q/{id}", **self.draw(LIMITS)}
        output = self.draw(OUTPUTS)
        if output is not None:
            step["output"] = output
        if self.maps and self.draw(ONE_IN[2]):
            step["input"] = self.draw(OF_ITEM)
        if self.draw(ONE_IN[2]):
            step["compensateWith"] = f"u{id}"
            self.undos.append(self.undo(f"u{id}"))
        if self.draw(ONE_IN[8]):
            step["fallback"] = self.draw(st.sampled_from(ids))
        if self.draw(ONE_IN[4]):
            step["savepoint"] = f"p{id}"
            self.savepoints.append(f"p{id}")

    def child(self, step: Tree, ids: list[str]) -> None:
        step |= {"type": "workflow", "definition": "other", **self.draw(CHILD)}
        self.tasks.append(step["id"])
        if self.draw(ONE_IN[8]):
            step["fallback"] = self.draw(st.sampled_from(ids))

    def undo(self, id: str) -> Tree:
        limits = {key: value for key, value in self.draw(LIMITS).items() if key != "businessStatus"}
        reason = {"why": "$.undo.reason", "output": {"$coalesce": ["$.undo.output", None]}}
        late = {"why": {"$coalesce": ["$.compensation.reason", "late"]}}
        of_item = [{"item": "$.item", "index": "$.index", "n": "$.undo.input"}] if self.maps else []
        input = self.draw(st.sampled_from([reason, late, *of_item]))
        return {"id": id, "type": "task", "action": f"worker:q/{id}", **limits, "input": input}

    def wait(self, step: Tree, ids: list[str]) -> None:
        step |= {"type": "wait"}
        if self.draw(ONE_IN[4]):
            step["for"] = "10s"
            return
        step["signal"] = self.draw(st.sampled_from(["go", "go", "note"]))
        if self.draw(ONE_IN[2]):
            step["for"] = "10s"
            if self.draw(ONE_IN[2]):
                step["onTimeout"] = self.draw(st.sampled_from(ids))

    def compensate(self, step: Tree, *, may_go_on: bool) -> None:
        step |= {"type": "compensate", "reason": "as written"}
        if may_go_on and self.savepoints and self.draw(ONE_IN[2]):
            step["to"] = self.draw(st.sampled_from(self.savepoints))
        elif may_go_on and self.tasks and self.draw(ONE_IN[2]):
            step["steps"] = [self.draw(st.sampled_from(self.tasks))]

    def parallel(self, step: Tree, depth: int) -> None:
        branches = {f"b{number}": self.block(depth + 1) for number in range(self.draw(st.integers(1, 3)))}
        join = self.draw(st.sampled_from(["all", "all", "any", min(2, len(branches))]))
        on_failure = self.draw(st.sampled_from(["cancel", "wait"]))
        step |= {"type": "parallel", "branches": branches, "join": join, "onBranchFailure": on_failure}

    def map(self, step: Tree, depth: int) -> None:
        self.maps += 1
        step |= {
            "type": "map",
            "steps": self.block(depth + 1),
            "items": self.draw(ITEMS),
            "join": self.draw(st.sampled_from(["all", "all", "all", "any", 2])),
            "onBranchFailure": self.draw(st.sampled_from(["cancel", "wait"])),
        }
        self.maps -= 1
        if isinstance(step["items"], list) and step["join"] == 2 > len(step["items"]):
            step["join"] = "any"
        if self.draw(ONE_IN[2]):
            step["maxConcurrency"] = self.draw(st.integers(1, 2))
        output = self.draw(st.sampled_from([None, None, {}, {"flag": "$[0]", "list": "$"}]))
        if output is not None:
            step["output"] = output


NOTE = {"set": {"note": "$.signal.payload"}}


@st.composite
def definitions(draw: Any, first: str | None = None) -> Tree:
    """Of the kind `first` is the first step, where that is given."""
    return Writer(draw).definition(first)
