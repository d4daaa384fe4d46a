"""Data in a map: each item's own; scopes in scopes, signals and waits, and what is undone, with its item (S029)."""

from __future__ import annotations

from domain import commands as c
from domain.errors import UnknownExecutionError
from domain.events import (
    AlertRaised,
    BlockFailed,
    CompensationStarted,
    ResultIgnored,
    ScopeClosed,
    SignalHandled,
    StatusChanged,
    StepFailed,
    StepScheduled,
    WaitEnded,
)
from tests.domain.given import Run
from tests.domain.test_map import mapped, t

OWN = """
steps:
  - {id: before, type: task, action: http:shop/before, output: {x: $, y: $}, next: m}
  - id: m
    type: map
    items: $.input
    steps:
      - {id: a, type: task, action: http:shop/a, output: {x: $}, input: {x: $.x, y: $.y}, next: b}
      - {id: b, type: task, action: http:shop/b, output: {}, input: {x: $.x, y: $.y, item: $.item}}
    next: after
  - {id: after, type: task, action: http:shop/after, input: {x: $.x}}
"""


def test_what_an_items_steps_set_is_for_that_item_alone() -> None:
    run = Run(OWN).start(["p", "q"]).complete("before", 0)
    run.complete("m[0].a#1", "of p").complete("m[1].a#1", "of q")
    inputs = {event.execution: event.input for event in run.all(StepScheduled)}
    assert inputs["m[1].a#1"] == {"x": 0, "y": 0}
    assert inputs["m[0].b#1"] == {"x": "of p", "y": 0, "item": "p"}
    assert inputs["m[1].b#1"] == {"x": "of q", "y": 0, "item": "q"}
    assert run.complete("m[0].b#1").complete("m[1].b#1").input == {"x": 0}


def test_conditions_read_the_items_data() -> None:
    steps = "{id: a, type: task, action: http:shop/a, output: {n: $.n}, next: [{condition: $.n == $.item, next: same}, "
    steps += (
        "{next: other}]}, {id: same, type: succeed, result: same}, {id: other, type: succeed, result: other}"
    )
    run = Run(mapped(steps=steps)).start([1, 2]).complete("m[0].a#1", {"n": 1}).complete("m[1].a#1", {"n": 1})
    assert run.input == {"m": ["same", "other"]}


NESTED = """
steps:
  - id: m
    type: map
    items: $.input
    maxConcurrency: 1
    steps:
      - {id: a, type: task, action: http:shop/a, output: {n: $}, input: {row: $.item, y: $.index}, next: i}
      - id: i
        type: map
        items: $.item
        output: {cells: $}
        steps:
          - {id: t, type: task, action: http:shop/t, output: {n: $}, input: {cell: $.item, x: $.index, n: $.n}, next: e}
          - {id: e, type: succeed, result: $.n}
        next: z
      - {id: z, type: task, action: http:shop/z, input: {cells: $.cells, n: $.n, row: $.item}}
    next: after
  - {id: after, type: task, action: http:shop/after, input: $.m}
"""


def test_a_map_in_a_map_sees_its_own_item_over_the_outer_ones_data() -> None:
    run = Run(NESTED).start([["p", "q"], []]).complete("a", 7)
    inputs = {event.execution: event.input for event in run.all(StepScheduled)}
    assert inputs["m[0].i[1].t#1"] == {"cell": "q", "x": 1, "n": 7}
    run.complete("m[0].i[0].t#1", "P").complete("m[0].i[1].t#1", "Q")
    assert run.input == {"cells": ["P", "Q"], "n": 7, "row": ["p", "q"]}
    run.complete("z", "first").complete("a", 8)
    assert run.input == {"cells": [], "n": 8, "row": []}
    assert run.complete("z", "second").input == ["first", "second"]
    assert run.state.data == {"input": [["p", "q"], []], "m": ["first", "second"]}


def test_an_inner_map_at_the_end_of_an_item_puts_out_what_it_sets() -> None:
    inner = "{id: i, type: map, items: $.item, steps: [{id: s, type: succeed, result: $.item}]}"
    assert Run(mapped(steps=inner)).start([[1, 2], []]).input == {"m": [{"i": [1, 2]}, {"i": []}]}


def test_a_parallel_in_a_map_is_joined_for_each_item() -> None:
    steps = """{id: p, type: parallel, next: z, branches: {
        x: [{id: a, type: task, action: http:shop/a}], y: [{id: b, type: task, action: http:shop/b, input: $.item}]}},
        {id: z, type: task, action: http:shop/z, input: [$.a, $.b]}"""
    run = Run(mapped(steps=steps)).start(["p", "q"])
    assert list(run.owed) == ["m[0].p.a#1", "m[0].p.b#1", "m[1].p.a#1", "m[1].p.b#1"]
    run.complete("m[1].p.a#1", "A").complete("m[1].p.b#1", "B")
    assert run.last(StepScheduled).input == ["A", "B"]
    assert list(run.owed) == ["m[0].p.a#1", "m[0].p.b#1", "m[1].z#1"]


def test_a_handler_jumps_out_of_an_inner_scope_to_a_step_of_the_same_item() -> None:
    steps = """{id: p, type: parallel, branches: {
        x: [{id: a, type: task, action: http:shop/a}], y: [{id: b, type: task, action: http:shop/b}]}},
        {id: z, type: task, action: http:shop/z, input: $.item}"""
    top = "errorHandlers: [{errors: ['*'], steps: [a], next: z}]"
    run = Run(mapped(steps=steps, top=top)).start(["p", "q"]).fail_for_good("m[1].p.a#1")
    assert list(run.owed) == ["m[0].p.a#1", "m[0].p.b#1", "m[1].z#1"]
    assert run.last(StepScheduled).input == "q"


def test_a_map_in_a_branch_is_one_step_of_the_branch() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches:
      x: [{id: m, type: map, items: $.input, steps: [{id: t, type: task, action: http:shop/t}]}]
      y: [{id: a, type: task, action: http:shop/a}]
    next: after
  - {id: after, type: task, action: http:shop/after, input: $.m}
"""
    run = Run(program).start([1, 2])
    assert list(run.owed) == ["p.a#1", "p.m[0].t#1", "p.m[1].t#1"]
    run.complete("a").complete("p.m[1].t#1", "b").complete("p.m[0].t#1", "a")
    assert run.input == ["a", "b"]


def test_a_failure_climbs_out_of_all_scopes() -> None:
    run = Run(NESTED).start([["p", "q"]]).complete("a", 7).fail_for_good("m[0].i[0].t#1")
    assert [event.execution for event in run.all(ScopeClosed)] == ["m[0].i#1", "m#1"]
    assert (run.status, run.state.open) == ("failed", {})


def test_a_second_visit_of_the_map_is_written_in_its_steps_and_begins_anew() -> None:
    program = """
steps:
  - id: m
    type: map
    items: $.input
    steps: [{id: t, type: task, action: http:shop/t, output: {x: $}, input: {x: {$coalesce: [$.x, new]}}}]
    next: d
  - {id: d, type: decision, next: [{condition: "$.m[0] == 'again'", next: m}, {next: done}]}
  - {id: done, type: succeed, result: $.m}
"""
    run = Run(program).start([1]).complete("t", "again")
    assert (list(run.owed), run.input) == (["m#2[0].t#1"], {"x": "new"})
    assert run.complete("t", "enough").state.result == ["enough"]


def test_a_loop_inside_an_item_has_visits_of_its_own() -> None:
    steps = "{id: t, type: task, action: http:shop/t, output: {n: $}, next: d}, {id: s, type: succeed}, "
    steps += "{id: d, type: decision, next: [{condition: $.n == 1, next: t}, {next: s}]}"
    run = Run(mapped(steps=steps)).start([1, 2]).complete(t(1), 1).complete("m[1].t#2", 1)
    assert list(run.owed) == [t(0), "m[1].t#3"]


def test_nothing_is_left_of_a_map_that_is_over() -> None:
    run = Run(mapped()).start([1, 2]).complete(t(0)).complete(t(1))
    assert run.state.visits == {"m": 1, "after": 1}
    assert list(run.state.open) == ["after#1"]


# Waits and signals ----------------------------------------------------------------------------------


WAITS = """
  {id: w, type: wait, signal: go, correlationKey: $.item, for: 1h, onTimeout: late, output: {said: $.payload}, next: s},
  {id: s, type: succeed, result: $.said}, {id: late, type: succeed, result: late}"""


def test_a_signal_ends_the_wait_of_the_earliest_item_and_its_payload_is_the_items() -> None:
    run = Run(mapped(steps=WAITS)).start(["k1", "k2"])
    assert [(key, effect.correlation_key) for key, effect in run.owed.items()] == [  # type: ignore[union-attr]
        ("m[0].w#1", "k1"),
        ("m[1].w#1", "k2"),
    ]
    assert run.last(StatusChanged).reason == "waiting for signal go"
    run.signal("go", "yes")
    assert run.last(WaitEnded).execution == "m[0].w#1"
    assert "said" not in run.state.data
    run.time_out("w")
    assert run.input == {"m": ["yes", "late"]}


def test_a_signal_that_came_before_goes_to_the_item_that_begins_first() -> None:
    run = Run(mapped(", maxConcurrency: 1", WAITS, top="signals: {go: {}}"))
    run.start(["k1", "k2"]).signal("go", "one").signal("go", "two")
    assert run.input == {"m": ["one", "two"]}


def test_a_wait_at_the_end_of_an_item_puts_out_what_it_sets() -> None:
    run = Run(mapped(steps="{id: w, type: wait, signal: go, for: 1h}")).start([1]).signal("go", 5)
    assert run.input == {"m": [{"w": 5}]}


def test_what_a_signal_or_an_operator_sets_is_the_instances() -> None:
    run = Run(mapped(top="signals: {note: {set: {note: $.signal.payload}}}")).start([1])
    run.signal("note", "n")
    run.ask(c.ChangeData, data={"more": 1}, actor="ann", reason="because")
    assert run.last(SignalHandled).data == {"note": "n"}
    assert (run.state.data["note"], run.state.data["more"]) == ("n", 1)


# Undo --------------------------------------------------------------------------------------------------


UNDONE = """
steps:
  - id: m
    type: map
    items: $.input
    steps:
      - {id: t, type: task, action: http:shop/t, input: $.item, compensateWith: u, next: z}
      - {id: z, type: task, action: http:shop/z}
    next: after
  - {id: after, type: task, action: http:shop/after}
  - {id: u, type: task, action: http:shop/u, retryPolicy: {maxAttempts: 2, initialInterval: 1s},
     input: {item: $.item, index: $.index, did: $.undo.output, why: $.undo.reason}}
"""


def test_items_are_undone_in_reverse_order_of_their_completion_each_with_its_item() -> None:
    run = Run(UNDONE).start(["p", "q", "r"])
    run.complete(t(1), 1).complete(t(2), 2).complete(t(0), 0)
    run.fail_for_good("m[2].z#1", message="broken")
    assert run.last(CompensationStarted).executions == [t(0), t(2), t(1)]
    assert run.input == {"item": "p", "index": 0, "did": 0, "why": "broken"}
    run.fail("u").complete("u")
    assert run.input == {"item": "r", "index": 2, "did": 2, "why": "broken"}
    assert run.complete("u").complete("u").state.outcome == "compensated"


def test_an_undo_knows_its_item_when_the_map_is_long_over() -> None:
    run = Run(UNDONE).start(["p"]).complete("t", 1).complete("z").fail_for_good("after")
    assert run.input["item"] == "p"


def test_a_late_success_of_a_cancelled_item_is_undone_with_its_item() -> None:
    run = Run(UNDONE).start(["p", "q"])
    lease = run.claim(t(0))
    run.complete(t(1), 1).fail_for_good("m[1].z#1")
    assert run.handed_out == ["u"]
    run.ask(c.CompleteStep, output="late", **lease)
    assert (run.last(ResultIgnored).execution, run.last(ResultIgnored).why) == (t(0), "late")
    run.complete("u")
    assert run.input == {"item": "p", "index": 0, "did": "late", "why": "boom"}
    assert run.complete("u").state.outcome == "compensated"


def test_a_late_success_after_the_end_is_undone_with_its_item() -> None:
    run = Run(UNDONE).start(["p"])
    lease = run.claim(t(0))
    run.ask(c.CancelInstance, actor="ann", reason="enough")
    assert run.state.outcome == "cancelled"
    run.ask(c.CompleteStep, output="late", **lease)
    assert run.last(AlertRaised).alert_id == f"{t(0)}/late"
    assert run.input["item"] == "p"


def test_a_result_that_comes_again_after_the_map_is_over_changes_nothing() -> None:
    run = Run(mapped()).start([1])
    lease = run.lease("t")
    run.complete("t", 1)
    assert run.ask(c.CompleteStep, output=1, **lease) == []


def test_a_result_for_an_item_that_never_was_is_refused() -> None:
    run = Run(mapped()).start([1])
    for execution in ("m[1].t#1", "m#2[0].t#1", "other[0].t#1"):
        run.refuses(UnknownExecutionError, c.CompleteStep, execution=execution, attempt=1, token="")


def test_a_late_success_of_an_item_that_the_join_did_without_is_undone_in_a_rollback() -> None:
    run = Run(UNDONE.replace("items: $.input", "items: $.input\n    join: any")).start(["p", "q"])
    lease = run.claim(t(0))
    run.complete(t(1), 1).complete("z")
    run.ask(c.CompleteStep, output="late", **lease)
    run.fail_for_good("after")
    assert run.last(CompensationStarted).executions == [t(0), t(1)]


def test_a_timeout_in_an_item_is_the_items() -> None:
    steps = "{id: t, type: task, action: http:shop/t, timeout: 5s, retryPolicy: {maxAttempts: 1}}"
    run = Run(mapped(", join: any", steps)).start([1, 2])
    run.claim(t(0))
    run.time_out(t(0))
    assert (run.last(StepFailed).timeout, run.last(BlockFailed).block) == ("startToClose", "0")
