"""map: the same steps for every item; what they set is the item's own, what they put out is gathered (S029)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from domain import commands as c
from domain.calls import StepError
from domain.events import (
    BlockEnded,
    BlockFailed,
    DecisionMade,
    ScopeClosed,
    ScopeOpened,
    StepCancelled,
    StepCompleted,
    StepScheduled,
)
from domain.instance import advance
from domain.limits import MAX_ITEMS, UNWEIGHED_LOOKS
from tests.domain.given import Run, define


def mapped(options: str = "", steps: str = "", items: str = "$.input", top: str = "") -> str:
    steps = steps or "{id: t, type: task, action: http:shop/t, input: {item: $.item, index: $.index}}"
    return f"""
{top}
steps:
  - {{id: m, type: map, items: {items}{options}, steps: [{steps}], next: after}}
  - {{id: after, type: task, action: http:shop/after, input: {{m: {{$coalesce: [$.m, none]}}}}}}
  - {{id: plan, type: task, action: http:shop/plan}}
"""


def t(index: int, visit: str = "m") -> str:
    return f"{visit}[{index}].t#1"


def failure(run: Run) -> StepError:
    assert run.state.error is not None
    return run.state.error


# Items and what they put out ---------------------------------------------------------------


def test_every_item_has_a_block_with_its_item_and_index() -> None:
    run = Run(mapped()).start(["a", {"b": 1}])
    assert run.all(ScopeOpened) == [ScopeOpened(execution="m#1", step="m", blocks=["a", {"b": 1}])]
    assert {event.execution: event.input for event in run.all(StepScheduled)} == {
        "m[0].t#1": {"item": "a", "index": 0},
        "m[1].t#1": {"item": {"b": 1}, "index": 1},
    }


def test_the_outputs_stand_in_the_order_of_the_items_not_of_their_completion() -> None:
    run = Run(mapped()).start([1, 2, 3])
    run.complete(t(2), "third").complete(t(0), "first").complete(t(1), "second")
    assert run.last(ScopeClosed) == ScopeClosed(execution="m#1", data={"m": ["first", "second", "third"]})
    assert (run.handed_out, run.input) == (["after"], {"m": ["first", "second", "third"]})


def test_the_output_of_an_item_is_that_of_its_last_step() -> None:
    steps = "{id: a, type: task, action: http:shop/a, next: b}, {id: b, type: task, action: http:shop/b, output: {}}"
    run = Run(mapped(steps=steps)).start([1]).complete("a", "early").complete("b", "late")
    assert run.input == {"m": ["late"]}


def test_the_output_mapping_names_what_becomes_data() -> None:
    run = Run(mapped(", output: {all: $, winner: '$[0].n'}")).start([1]).complete("t", {"n": 7})
    assert run.state.data == {"input": [1], "all": [{"n": 7}], "winner": 7}


def test_an_empty_output_keeps_nothing() -> None:
    run = Run(mapped(", output: {}")).start([1]).complete("t", 1)
    assert run.last(ScopeClosed).data is None
    assert run.input == {"m": "none"}


def test_an_output_that_cannot_be_made_fails_the_step_once_its_items_have_ended() -> None:
    run = Run(mapped(", output: {third: '$[2]'}")).start([1, 2]).complete(t(0)).complete(t(1))
    assert (run.status, failure(run).type) == ("failed", "MappingError")
    assert run.state.open == {}


def test_an_empty_list_goes_on_at_once() -> None:
    run = Run(mapped()).start([])
    assert (run.handed_out, run.input) == (["after"], {"m": []})
    assert run.names.count("ScopeOpened") == run.names.count("ScopeClosed") == 1


def test_a_succeed_step_puts_out_its_result() -> None:
    steps = "{id: d, type: decision, next: [{condition: $.item > 1, next: big}, {next: small}]}, "
    steps += "{id: big, type: succeed, result: {n: $.item}}, {id: small, type: task, action: http:shop/small}"
    run = Run(mapped(steps=steps)).start([1, 2])
    assert run.all(BlockEnded) == [BlockEnded(execution="m#1", block="1", output={"n": 2})]
    assert run.complete("small", "s").input == {"m": ["s", {"n": 2}]}


def test_a_succeed_step_whose_result_is_missing_fails_its_item() -> None:
    run = Run(mapped(steps="{id: s, type: succeed, result: $.item.n}")).start([{"n": 1}, {}])
    assert (run.status, failure(run).type) == ("failed", "MappingError")


def test_a_step_that_was_skipped_puts_out_nothing_and_one_that_was_resolved_what_the_operator_said() -> None:
    run = Run(mapped(top="errorHandlers: [{errors: ['*'], do: pause}]")).start([1, 2])
    run.fail_for_good(t(0)).fail_for_good(t(1))
    assert run.status == "waiting"
    run.ask(c.SkipStep, execution=t(0), actor="ann", reason="not needed")
    run.ask(c.ResolveStep, execution=t(1), output="by hand", actor="ann", reason="done by hand")
    assert run.input == {"m": [None, "by hand"]}


def test_the_items_are_those_of_the_moment_in_which_the_map_was_entered() -> None:
    program = mapped(
        ", maxConcurrency: 1", items="$.list", top="signals: {set: {set: {list: $.signal.payload}}}"
    )
    run = Run(program.replace("steps:\n", "steps:\n  - {id: w, type: wait, for: 1s, next: m}\n", 1)).start()
    run.signal("set", ["a", "b"]).time_out("w")
    run.signal("set", ["c"])
    assert run.complete("t").input == {"item": "b", "index": 1}


# What cannot be mapped over ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "kind", "message"),
    [
        ({}, "UnusableValueError", "the items of 'm' came out as 'an object'; a list is needed."),
        (7, "UnusableValueError", "the items of 'm' came out as '7'; a list is needed."),
        (None, "UnusableValueError", "the items of 'm' came out as 'null'; a list is needed."),
        (
            [0] * (MAX_ITEMS + 1),
            "LimitExceededError",
            "the number of items of 'm' is 10001, more than the limit of 10000 items.",
        ),
    ],
)
def test_what_is_no_list_or_too_long_fails_the_step(items: Any, kind: str, message: str) -> None:
    run = Run(mapped(items="$.input.items")).start({"items": items})
    assert (run.status, failure(run).type, failure(run).message) == ("failed", kind, message)
    assert run.all(ScopeOpened) == []


def test_a_missing_list_fails_the_step_as_any_missing_data_does() -> None:
    run = Run(
        mapped(items="$.input.items", top="errorHandlers: [{errors: [MappingError], next: plan}]")
    ).start()
    assert run.handed_out == ["plan"]


@pytest.mark.parametrize("items", [[], [1, 2]])
def test_fewer_items_than_the_join_has_to_have_fail_the_step(items: list[int]) -> None:
    run = Run(mapped(", join: 3")).start(items)
    assert (run.status, failure(run).type) == ("failed", "UnusableValueError")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("items: 7", "takes a list"),
        ("items: {a: 1}", "takes a list"),
        ("items: [1], join: 2", "join waits for 2 items, but there are only 1"),
        ("items: $.input, maxConcurrency: 0", "greater than or equal to 1"),
        ("items: $.input, maxConcurrency: 10001", "less than or equal to 10000"),
        ("items: $.input, output: {item: $}", "reserved"),
    ],
)
def test_what_can_never_be_mapped_over_is_refused(options: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        define(f"steps: [{{id: m, type: map, {options}, steps: [{{id: s, type: succeed}}]}}]")


def test_no_item_may_undo_and_go_on() -> None:
    """What it would undo belongs to the other items too."""
    steps = "{id: k, type: compensate, next: s}, {id: s, type: succeed}"
    with pytest.raises(ValidationError, match="cannot be done inside a map"):
        define(mapped(steps=steps))


# Concurrency ------------------------------------------------------------------------------------


def test_only_so_many_are_under_way_and_the_next_begins_when_one_has_ended() -> None:
    run = Run(mapped(", maxConcurrency: 2")).start([10, 11, 12, 13])
    assert list(run.owed) == [t(0), t(1)]
    before = len(run.log)
    run.complete(t(1), "b")
    assert [type(event).__name__ for event in run.log[before:]] == [
        "StepStarted",
        "StepCompleted",
        "StepScheduled",
    ]
    assert list(run.owed) == [t(0), t(2)]
    run.complete(t(0), "a").complete(t(2), "c")
    assert list(run.owed) == [t(3)]
    assert run.complete(t(3), "d").input == {"m": ["a", "b", "c", "d"]}


def test_an_item_keeps_its_place_from_step_to_step() -> None:
    steps = "{id: a, type: task, action: http:shop/a, next: b}, {id: b, type: task, action: http:shop/b}"
    run = Run(mapped(", maxConcurrency: 1", steps)).start([1, 2]).complete("a")
    assert list(run.owed) == ["m[0].b#1"]
    assert list(run.complete("b").owed) == ["m[1].a#1"]


def test_a_retry_keeps_its_place_too() -> None:
    run = Run(mapped(", maxConcurrency: 1")).start([1, 2]).fail(t(0))
    assert list(run.owed) == [t(0)]


def test_items_that_end_at_once_make_room_at_once() -> None:
    steps = "{id: d, type: decision, next: [{condition: $.item == 0, next: none}, {next: t}]}, "
    steps += "{id: none, type: succeed}, {id: t, type: task, action: http:shop/t}"
    run = Run(mapped(", maxConcurrency: 2", steps)).start([0, 1, 0, 0, 2, 3])
    assert list(run.owed) == [t(1), t(4)]
    assert list(run.complete(t(4), 4).owed) == [t(1), t(5)]
    assert run.complete(t(5), 5).complete(t(1), 1).input == {"m": [None, 1, None, None, 4, 5]}


def test_an_item_that_leaves_nothing_but_its_end_has_begun_nevertheless() -> None:
    """Its first step fails before anything is on record, and a handler leads to its end."""
    steps = "{id: w, type: wait, for: $.item.for, next: t}, {id: t, type: task, action: http:shop/t}, "
    steps += "{id: skip, type: succeed, result: skipped}"
    top = "errorHandlers: [{errors: [MappingError], steps: [w], next: skip}]"
    run = Run(mapped(", maxConcurrency: 1", steps, top=top)).start([{}, {"for": "1s"}, {}])
    assert [event.block for event in run.all(BlockEnded)] == ["0"]
    run.time_out("w")
    run.complete("t", "done")
    assert run.input == {"m": ["skipped", "done", "skipped"]}
    run = Run(mapped("", steps, top=top)).start([{"for": "1s"}, {}])
    run.time_out("w")
    run.complete("t", "done")
    assert run.input == {"m": ["done", "skipped"]}
    assert len(run.all(BlockEnded)) == 1


def test_an_item_that_fails_as_it_begins_makes_room_while_others_are_about_to_begin() -> None:
    run = Run(mapped(", join: any, maxConcurrency: 2", "{id: w, type: wait, for: $.item.for}"))
    run.start([{}, {"for": "1s"}, {"for": "2s"}, {"for": "3s"}])
    assert list(run.owed) == ["m[1].w#1", "m[2].w#1"]


def test_as_many_items_as_there_may_be_end_at_once() -> None:
    run = Run(mapped(", maxConcurrency: 7", "{id: s, type: succeed, result: $.index}"))
    run.start([0] * MAX_ITEMS)
    assert run.input == {"m": list(range(MAX_ITEMS))}


def test_maps_of_maps_that_would_take_for_ever_are_given_up() -> None:
    inner = "{id: i, type: map, items: $.input, steps: [{id: s, type: succeed}]}"
    run = Run(mapped(steps=inner)).start([0] * 400)
    assert (run.status, failure(run).type) == ("failed", "LimitExceededError")


def test_a_map_that_would_tell_every_item_everything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes grows with the items times what each is told: 10,000 times the input would be gigabytes."""
    monkeypatch.setattr("domain.bounds.MAX_COMMAND_BYTES", 100_000)
    text = mapped(steps="{id: t, type: task, action: http:shop/t}")
    assert Run(text).start(["x" * 9] * 99).handed_out == ["t"] * 99
    run = Run(text).start(["x" * 9] * 400)
    assert (run.status, failure(run).type) == ("failed", "LimitExceededError")
    assert len(run.all(StepScheduled)) < 150
    assert run.owed == {}


ASKS = """
  {id: d, type: decision, next: [{condition: '$.input.all[?@.a == 7]', next: e}, {next: e}]}, {id: e, type: succeed}"""
MANY = [{"a": number} for number in range(5_000)]


def test_a_map_whose_items_each_look_through_all_of_them_is_given_up_before_it_takes_long() -> None:
    run = Run(mapped(steps=ASKS, items="$.input.all")).start({"all": MANY})
    assert (run.status, failure(run).type) == ("failed", "LimitExceededError")
    assert "the conditions of one command look through" in failure(run).message
    assert UNWEIGHED_LOOKS < len(run.all(DecisionMade)) < 2_000


def test_a_map_whose_items_each_look_through_a_short_list_goes_on() -> None:
    asks = ASKS.replace("$.input.all[?", "$.input.few[?")
    run = Run(mapped(steps=asks, items="$.input.all")).start({"all": MANY, "few": MANY[:50]})
    assert len(run.all(DecisionMade)) == len(MANY)


def test_an_item_that_loops_for_ever_is_given_up() -> None:
    steps = "{id: d, type: decision, next: [{next: e}]}, {id: e, type: decision, next: [{next: d}]}"
    run = Run(mapped(", maxConcurrency: 1", steps)).start([1, 2])
    assert (run.status, failure(run).type) == ("failed", "EndlessLoopError")


class Counting(dict[str, Any]):
    """The open executions; `looked_at` counts those that were looked at without being asked for by name."""

    looked_at = 0

    def __iter__(self) -> Any:
        self.looked_at += len(self)
        return super().__iter__()

    def values(self) -> Any:
        self.looked_at += len(self)
        return super().values()

    def items(self) -> Any:
        self.looked_at += len(self)
        return super().items()


def test_a_result_costs_the_same_whatever_the_number_of_items() -> None:
    run = Run(mapped(", maxConcurrency: 400")).start([0] * 500)
    lease = run.claim(t(250))
    run.state.open = opened = Counting(run.state.open)
    events = advance(c.CompleteStep(at=run.now, command_id="c", output=1, **lease), run.state, run.program)
    assert [type(event) for event in events] == [StepCompleted, StepScheduled]
    assert opened.looked_at == 0


# Joins and failures ------------------------------------------------------------------------------


def test_any_takes_the_first_and_cancels_the_rest() -> None:
    run = Run(mapped(", join: any, maxConcurrency: 2")).start([1, 2, 3]).complete(t(1), "won")
    assert [event.execution for event in run.all(StepCancelled)] == [t(0)]
    assert (run.handed_out, run.input) == (["after"], {"m": ["won"]})


def test_any_of_items_that_end_at_once_takes_the_first_and_begins_no_other() -> None:
    run = Run(mapped(", join: any", "{id: s, type: succeed, result: $.item}")).start(["a", "b", "c"])
    assert [event.block for event in run.all(BlockEnded)] == ["0"]
    assert run.input == {"m": ["a"]}


def test_a_number_takes_that_many_in_the_order_of_the_items() -> None:
    run = Run(mapped(", join: 2")).start([1, 2, 3, 4]).complete(t(3), "d").complete(t(1), "b")
    assert run.input == {"m": ["b", "d"]}


def test_what_an_item_under_way_has_put_out_is_not_in_the_list() -> None:
    steps = "{id: a, type: task, action: http:shop/a, next: b}, {id: b, type: task, action: http:shop/b}"
    run = Run(mapped(", join: any", steps)).start([1, 2])
    run.complete("m[0].a#1", "half").complete("m[1].a#1", "half").complete("m[1].b#1", "whole")
    assert run.input == {"m": ["whole"]}


def test_any_of_nothing_goes_on() -> None:
    assert Run(mapped(", join: any")).start([]).input == {"m": []}


def test_a_failing_item_cancels_the_others_and_fails_the_map() -> None:
    run = Run(mapped(", maxConcurrency: 2")).start([1, 2, 3]).fail_for_good(t(0), message="no luck")
    assert [event.execution for event in run.all(StepCancelled)] == [t(1)]
    assert (run.status, failure(run).message) == ("failed", "no luck")
    assert [event.execution for event in run.all(StepScheduled)] == [t(0), t(1)]


def test_with_wait_those_under_way_end_first_and_no_other_begins() -> None:
    run = Run(mapped(", maxConcurrency: 2, onBranchFailure: wait")).start([1, 2, 3])
    run.fail_for_good(t(0), message="no luck")
    assert run.last(BlockFailed).block == "0"
    assert list(run.owed) == [t(1)]
    run.complete(t(1))
    assert (run.status, failure(run).message) == ("failed", "no luck")
    assert [event.execution for event in run.all(StepScheduled)] == [t(0), t(1)]


@pytest.mark.parametrize("on_failure", ["cancel", "wait"])
def test_a_failure_that_the_join_can_do_without_makes_room_for_the_next(on_failure: str) -> None:
    run = Run(mapped(f", join: 2, maxConcurrency: 1, onBranchFailure: {on_failure}")).start([1, 2, 3])
    run.fail_for_good(t(0)).complete(t(1), "b").complete(t(2), "c")
    assert run.input == {"m": ["b", "c"]}


@pytest.mark.parametrize("on_failure", ["cancel", "wait"])
def test_any_fails_when_all_have_failed(on_failure: str) -> None:
    run = Run(mapped(f", join: any, maxConcurrency: 1, onBranchFailure: {on_failure}")).start([1, 2])
    run.fail_for_good(t(0), message="first").fail_for_good(t(1), message="last")
    assert run.status == "failed"
    assert run.state.open == {}


def test_a_fail_step_fails_its_item() -> None:
    steps = "{id: d, type: decision, next: [{condition: $.item == 0, next: f}, {next: t}]}, "
    steps += "{id: f, type: fail, error: {type: AError, message: $.item.why}}, {id: t, type: task, action: http:shop/t}"
    run = Run(mapped(", join: any, maxConcurrency: 1", steps)).start([0, 1])
    assert [(event.block, event.error.type) for event in run.all(BlockFailed)] == [("0", "MappingError")]
    assert run.complete("t", "t").input == {"m": ["t"]}


def test_a_fallback_stays_with_its_item() -> None:
    steps = "{id: a, type: task, action: http:shop/a, fallback: b, next: e}, {id: b, type: task, action: http:shop/b}, "
    steps += "{id: e, type: succeed, result: never}"
    run = Run(mapped(steps=steps)).start([1, 2]).fail_for_good("m[1].a#1")
    assert list(run.owed) == ["m[0].a#1", "m[1].b#1"]


def test_a_handler_stays_with_the_item_or_jumps_out_and_gives_the_map_up() -> None:
    steps = "{id: t, type: task, action: http:shop/t}, {id: again, type: task, action: http:shop/again}"
    top = (
        "errorHandlers: [{errors: [NearError], steps: [t], next: again}, {errors: [ClosedError], next: plan}]"
    )
    run = Run(mapped(", maxConcurrency: 2", steps, top=top)).start([1, 2, 3]).fail_for_good(t(1), "NearError")
    assert list(run.owed) == [t(0), "m[1].again#1"]
    run.fail_for_good(t(0), "ClosedError")
    assert [event.execution for event in run.all(StepCancelled)] == ["m[1].again#1"]
    assert run.last(ScopeClosed) == ScopeClosed(execution="m#1")
    assert run.handed_out == ["plan"]


def test_an_item_that_waits_for_an_operator_keeps_the_map_open() -> None:
    run = Run(mapped(", maxConcurrency: 1", top="errorHandlers: [{errors: ['*'], do: pause}]")).start([1, 2])
    run.fail_for_good(t(0))
    assert (run.status, run.handed_out) == ("waiting", [])
    run.ask(c.RetryStep, execution=t(0), actor="ann", reason="try")
    assert run.handed_out == ["t"]
    run.complete(t(0), "a").complete(t(1), "b")
    assert run.input == {"m": ["a", "b"]}
