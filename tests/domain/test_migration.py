"""Moving to another version: what goes on, what follows the new version, and every reason why an instance cannot."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain.errors import MigrationRefusedError
from domain.events import StepScheduled
from domain.migration import Obstacle, plan
from domain.moves import Migrated
from domain.owed import Await, Invoke, Wake
from domain.state import Attempted, Running
from tests.domain.given import Run, at, define, error, names
from tests.domain.laws import check_log

ORDER = """
name: order
steps:
  - {id: reserve, type: task, action: worker:w/reserve, compensateWith: release, next: ship}
  - {id: ship, type: task, action: worker:w/ship, retryPolicy: {maxAttempts: 3}, next: tell}
  - {id: tell, type: wait, signal: answer, next: file}
  - {id: file, type: task, action: worker:w/file}
  - {id: release, type: task, action: worker:w/release, input: $.undo.output}
"""
OTHER = """
name: order
steps:
  - {id: reserve, type: task, action: worker:w/reserve, compensateWith: free, next: send}
  - {id: send, type: task, action: worker:post/send, compensateWith: callBack, retryPolicy: {maxAttempts: 3},
     next: tell}
  - {id: tell, type: wait, signal: answer, next: bill}
  - {id: bill, type: task, action: worker:w/bill}
  - {id: free, type: task, action: worker:w/free, input: $.undo.output}
  - {id: callBack, type: task, action: worker:post/callBack}
"""
STEPS = {"ship": "send", "file": "bill"}
WHO: dict[str, Any] = {"actor": "ann", "reason": "new carrier"}


def at_ship() -> Run:
    return Run(define(ORDER)).start().complete("reserve", {"id": 7})


def moved(run: Run, to: str = OTHER, **steps: str) -> list[Any]:
    return run.ask(c.MigrateInstance, target=define(to, "2"), steps=steps or STEPS, **WHO)


def codes(run: Run, to: str, **steps: str) -> list[str]:
    """The obstacles that a refusal names; the dry run names the same."""
    target = define(to, "2")
    refusal = run.refuses(MigrationRefusedError, c.MigrateInstance, target=target, steps=steps, **WHO)
    found: list[Any] = refusal.details["obstacles"]  # type: ignore[assignment]
    assert found == plan(run.state, run.program, target, steps).obstacles
    assert all(one.message.split(";")[0] in str(refusal) for one in found[:5])
    return [one.code for one in found]


# What happens -------------------------------------------------------------------------


def test_it_is_an_event_with_versions_positions_actor_and_reason() -> None:
    run = at_ship()
    first, *rest = moved(run)
    assert isinstance(first, Migrated)
    assert (first.from_version, first.to_version, first.to_hash) == ("1", "2", "hash")
    assert first.positions == {"ship#1": "send"}
    assert first.undos == {"reserve#1": "free", "ship#1": "callBack"}
    assert (first.actor, first.reason, first.steps) == ("ann", "new carrier", STEPS)
    assert names(rest) == ["StepScheduled"]
    assert run.state.definition_version == "2"


def test_what_nobody_has_taken_is_scheduled_anew_where_the_new_version_has_it_done() -> None:
    """As the next attempt of the same execution: same key, same input, and the old one can be claimed no more."""
    run = at_ship()
    before = run.input
    moved(run)
    effect = run.owed["ship#1"]
    assert isinstance(effect, Invoke)
    assert (effect.attempt, effect.queue, effect.action) == (2, "post", "worker:post/send")
    assert run.input == before
    assert run.complete("send").handed_out == []
    assert run.state.open.keys() == {"tell#1"}


def test_an_attempt_that_has_the_same_work_to_do_stays_as_it_was() -> None:
    run = Run(define(ORDER)).start()
    assert names(moved(run)) == ["Migrated"]
    effect = run.owed["reserve#1"]
    assert isinstance(effect, Invoke)
    assert effect.attempt == 1


def test_a_running_attempt_keeps_its_lease_and_its_result_counts_in_the_new_version() -> None:
    run = at_ship()
    lease = run.claim("ship")
    assert names(moved(run)) == ["Migrated"]
    assert isinstance(run.owed["ship#1"], Await)
    assert names(run.ask(c.CompleteStep, output={"id": "T1"}, **lease)) == [
        "StepCompleted",
        "WaitStarted",
        "StatusChanged",
    ]
    assert run.state.data["send"] == {"id": "T1"}
    run.signal("answer")
    assert run.handed_out == ["bill"]


def test_later_attempts_follow_the_new_version_and_the_budget_is_what_was_left() -> None:
    run = at_ship()
    run.claim("ship")
    moved(run)
    run.fail("send")
    retry = run.last(StepScheduled)
    assert (retry.step, retry.attempt, retry.queue, retry.compensate_with) == ("send", 2, "post", "callBack")
    effect = run.owed["ship#1"]
    assert isinstance(effect, Invoke)
    assert effect.queue == "post"
    run.fail("send")
    run.fail("send")
    assert run.status == "compensating"


def test_what_was_done_before_is_undone_as_the_new_version_says() -> None:
    run = at_ship()
    moved(run)
    run.complete("send")
    run.ask(c.CancelInstance, **WHO)
    assert run.handed_out == ["callBack"]
    run.complete("callBack")
    assert (run.handed_out, run.input) == (["free"], {"id": 7})
    assert run.complete("free").state.outcome == "cancelled"


def test_an_undo_of_a_step_that_is_gone_is_the_one_it_had() -> None:
    run = at_ship().complete("ship")
    moved(
        run,
        "steps: [{id: tell, type: wait, signal: answer}, {id: release, type: task, action: worker:w/r}]",
        tell="tell",
    )
    run.ask(c.CancelInstance, **WHO)
    assert run.handed_out == ["release"]


def test_a_late_success_of_before_is_undone_by_the_new_version() -> None:
    """S169: its execution was over, without success as far as was known, when the instance moved."""
    slow = ORDER.replace("compensateWith: release,", "compensateWith: release, timeout: 5s, fallback: ship,")
    run = Run(define(slow.replace("next: ship", "retryPolicy: {maxAttempts: 1}, next: ship"))).start()
    late = run.claim("reserve")
    run.time_out("reserve")
    assert run.handed_out == ["ship"]
    moved(run)
    assert names(run.ask(c.CompleteStep, output={"id": 7}, **late)) == ["ResultIgnored"]
    run.ask(c.CancelInstance, **WHO)
    assert (run.handed_out, run.input) == (["free"], {"id": 7})


def test_a_wait_goes_on_waiting_until_the_time_that_was_set() -> None:
    timed = ORDER.replace("signal: answer,", "signal: answer, for: 1h, onTimeout: file,")
    run = Run(define(timed)).start().complete("reserve").complete("ship")
    moved(run, OTHER.replace("signal: answer,", "signal: answer, for: 9h, onTimeout: bill,"))
    assert run.owed["tell#1"].timer_at == at("1h")
    run.time_out("tell#1")
    assert run.handed_out == ["bill"]


def test_a_step_that_waits_for_a_person_is_tried_again_in_the_new_version() -> None:
    run = Run(define(ORDER.replace("maxAttempts: 3}", "maxAttempts: 1}, onMaxRetriesExceeded: pause")))
    run.start().complete("reserve").fail("ship")
    assert names(moved(run)) == ["Migrated"]
    run.ask(c.RetryStep, execution="ship#1", **WHO)
    effect = run.owed["ship#1"]
    assert isinstance(effect, Invoke)
    assert effect.queue == "post"
    assert run.complete("send").status == "waiting"


def test_an_instance_that_has_not_begun_begins_in_the_new_version() -> None:
    run = Run(define(ORDER)).start(start_at=at("1h"))
    moved(run, OTHER.replace("id: reserve", "id: first"))
    assert isinstance(run.owed["@instance"], Wake)
    run.time_out("@instance")
    assert run.handed_out == ["first"]


def test_a_paused_instance_moves_and_stays_paused() -> None:
    run = at_ship()
    run.ask(c.PauseInstance, **WHO)
    moved(run)
    assert run.owed == {}
    run.ask(c.ResumeInstance, **WHO)
    assert run.handed_out == ["send"]


PACK = """
name: pack
steps:
  - id: pack
    type: map
    items: [1, 2, 3, 4]
    maxConcurrency: 1
    steps: [{id: wrap, type: task, action: worker:w/wrap, input: $.item}]
"""


def test_a_map_makes_use_of_the_room_that_there_is_now() -> None:
    run = Run(define(PACK)).start().complete("pack[0].wrap#1")
    moved(run, PACK.replace("maxConcurrency: 1", "maxConcurrency: 3").replace("wrap", "box"), wrap="box")
    assert sorted(run.owed) == ["pack[1].wrap#1", "pack[2].box#1", "pack[3].box#1"]
    assert run.serve().state.outcome == "succeeded"


def test_a_map_with_less_room_lets_those_end_that_have_begun() -> None:
    run = Run(define(PACK.replace("maxConcurrency: 1", "maxConcurrency: 3"))).start()
    moved(run, PACK, wrap="wrap")
    for done in range(2):
        run.complete(f"pack[{done}].wrap#1")
    assert sorted(run.owed) == ["pack[2].wrap#1"]
    assert run.serve().state.outcome == "succeeded"


def test_moving_twice_yields_nothing_and_moving_back_is_a_migration() -> None:
    run = at_ship()
    moved(run)
    assert moved(run) == []
    steps = {"send": "ship", "callBack": "release"}
    back = run.ask(c.MigrateInstance, target=define(ORDER), steps=steps, **WHO)
    assert names(back) == ["Migrated", "StepScheduled"]
    assert (run.state.definition_version, run.handed_out) == ("1", ["ship"])


def test_a_later_visit_of_a_step_is_counted_on_by_its_new_name() -> None:
    """So no execution is ever named as one before it was, in whatever version."""
    loop = """
name: loop
steps:
  - {id: a, type: task, action: worker:w/a, next: b}
  - {id: b, type: task, action: worker:w/b, next: a}
"""
    run = Run(define(loop)).start().complete("a").complete("b")
    assert run.execution("a") == "a#2"
    swapped = loop.replace("id: a,", "id: x,").replace("id: b,", "id: a,").replace("id: x,", "id: b,")
    swapped = swapped.replace("w/a, next: b", "w/a, next: z").replace("w/b, next: a", "w/b, next: b")
    moved(run, swapped.replace("next: z", "next: a"), a="b", b="a")
    run.complete("b")
    assert run.execution("a") == "a#3"


def test_a_history_with_migrations_is_decided_again_version_by_version() -> None:
    """Law 2."""
    run = at_ship()
    moved(run)
    run.complete("send").signal("answer").complete("bill")
    assert run.state.outcome == "succeeded"
    check_log(run.log, run.state, {"1": define(ORDER), "2": define(OTHER, "2")})


# What stands in the way -----------------------------------------------------------------


def obstacles(run: Run, to: str, from_version: str | None = None, **steps: str) -> list[Obstacle]:
    return plan(run.state, run.program, define(to, "2"), steps, from_version=from_version).obstacles


def test_every_obstacle_says_what_and_where() -> None:
    run = at_ship()
    assert obstacles(run, OTHER, file="bill") == [
        Obstacle(
            code="step-vanished",
            execution="ship#1",
            step="ship",
            message="ship#1 is open, and version 2 has no step 'ship'",
        )
    ]
    assert obstacles(run, OTHER, ship="tell")[0] == Obstacle(
        code="other-type",
        execution="ship#1",
        step="tell",
        message="ship#1 is a task, and 'tell' is a wait in version 2",
    )
    assert obstacles(run, OTHER, "0", ship="send") == [
        Obstacle(code="other-version", message="it is at version 1, and the mapping is made for 0")
    ]
    assert obstacles(run, OTHER, "1", ship="send") == []
    assert obstacles(run, OTHER, ship="send", shop="send", file="bull") == [
        Obstacle(code="unknown-step", step="shop", message="version 1 has no step 'shop' to map"),
        Obstacle(code="unknown-step", step="bull", message="version 2 has no step 'bull' to map 'file' to"),
    ]
    gone = OTHER.replace(", compensateWith: free", "").replace("id: free", "id: other")
    assert obstacles(run, gone, ship="send") == [
        Obstacle(
            code="undo-vanished",
            execution="reserve#1",
            step="release",
            message="reserve#1 is undone by 'release',"
            " and version 2 has neither that nor another undo of 'reserve'",
        )
    ]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("workflow", "definition: invoice"),
        ("wait", "signal: go"),
        ("parallel", "branches: {one: [{id: a, type: wait, signal: go}]}"),
        ("map", "items: [1], steps: [{id: a, type: wait, signal: go}]"),
    ],
)
def test_a_step_that_is_now_a_task_is_named_as_what_it_was(kind: str, fields: str) -> None:
    run = Run(define(f"steps: [{{id: c, type: {kind}, {fields}}}]")).start()
    (first, *_) = obstacles(run, "steps: [{id: c, type: task, action: worker:w/c}]")
    assert first.message == f"c#1 is a {kind}, and 'c' is a task in version 2"


def test_every_obstacle_of_the_whole_instance_says_why() -> None:
    run = at_ship()
    run.ask(c.CancelInstance, **WHO)
    assert obstacles(run, ORDER) == [Obstacle(code="compensating", message="it is undoing what it did")]
    run.complete("release")
    assert obstacles(run, ORDER) == [Obstacle(code="ended", message="it has ended as completed")]
    due = "deadlines: {soon: {after: start, within: 1h, reach: {step: file}}}\n"
    assert obstacles(Run(define(ORDER.replace("steps:", f"{due}steps:"))).start(), ORDER) == [
        Obstacle(
            code="deadline-vanished",
            message="its deadline 'soon' runs, and version 2 has none of that name",
        )
    ]
    strict = ORDER.replace("steps:", "inputSchema: {required: [id]}\nsteps:")
    (found,) = obstacles(Run(define(ORDER)).start(start_at=at("1h")), strict)
    assert (found.code, found.message.startswith("its input does not match the schema of 'order'")) == (
        "input",
        True,
    )


def test_a_wait_says_for_what_it_waits_and_would() -> None:
    run = at_ship().complete("ship")
    for now, would in (("signal: reply", "signal 'reply'"), ("for: 1h", "the time")):
        assert obstacles(run, OTHER.replace("signal: answer", now)) == [
            Obstacle(
                code="other-signal",
                execution="tell#1",
                step="tell",
                message=f"tell#1 waits for signal 'answer', and 'tell' would for {would}",
            )
        ]


def test_an_open_scope_says_in_what_it_is_another_one() -> None:
    run = Run(define(BOTH)).start()
    branches, place = obstacles(run, BOTH.replace("two:", "three:"))
    assert branches == Obstacle(
        code="other-branches",
        execution="both#1",
        step="both",
        message="both#1 has branches ['one', 'two'], and 'both' has ['one', 'three']",
    )
    assert place == Obstacle(
        code="other-place",
        execution="both.b#1",
        step="b",
        message="both.b#1 is in 'two' of 'both', and 'b' is in 'three' of 'both'",
    )
    (join,) = obstacles(run, BOTH.replace("join: 2", "join: any"))
    assert join == Obstacle(
        code="other-join",
        execution="both#1",
        step="both",
        message="both#1 joins 2, and 'both' joins any",
    )
    other, same = obstacles(run, BOTH, a="b")
    assert other.message == "both.a#1 is in 'one' of 'both', and 'b' is in 'two' of 'both'"
    assert same == Obstacle(
        code="same-place",
        execution="both.b#1",
        step="b",
        message="both.a#1 and both.b#1 would both stand in 'two' of 'both'",
    )
    outside = "steps: [{id: a, type: task, action: worker:w/a}, {id: both, type: wait, for: 1h}]"
    messages = [one.message for one in obstacles(run, outside)]
    assert "both.a#1 is in 'one' of 'both', and 'a' is in no scope" in messages


def test_a_step_that_is_not_there_any_more() -> None:
    assert codes(at_ship(), OTHER, file="bill") == ["step-vanished"]


def test_a_step_of_another_type() -> None:
    assert codes(at_ship(), OTHER, ship="tell") == ["other-type"]


def test_a_step_in_another_scope() -> None:
    inside = """
steps:
  - {id: all, type: parallel, branches: {one: [{id: send, type: task, action: worker:w/s}]}}
  - {id: release, type: task, action: worker:w/release}
"""
    assert codes(at_ship(), inside, ship="send") == ["other-place"]


def test_a_wait_for_another_signal() -> None:
    run = at_ship().complete("ship")
    assert codes(run, OTHER.replace("signal: answer", "signal: reply")) == ["other-signal"]
    assert codes(run, OTHER.replace("signal: answer", "for: 1h")) == ["other-signal"]


def test_an_undo_that_is_gone() -> None:
    gone = OTHER.replace(", compensateWith: free", "").replace("id: free", "id: other")
    assert codes(at_ship(), gone, **STEPS) == ["undo-vanished"]
    run = at_ship()
    moved(run, gone, **STEPS, release="other")
    run.ask(c.CancelInstance, **WHO)
    assert run.handed_out == ["other"]


BOTH = """
name: both
steps:
  - id: both
    type: parallel
    join: 2
    branches:
      one: [{id: a, type: task, action: worker:w/a}]
      two: [{id: b, type: task, action: worker:w/b}]
"""


@pytest.mark.parametrize(
    ("before", "after", "steps", "expected"),
    [
        ("two:", "three:", {}, ["other-branches", "other-place"]),
        ("join: 2", "join: any", {}, ["other-join"]),
        ("id: c", "id: c", {"a": "b"}, ["other-place", "same-place"]),
        ("parallel", "map, items: [1]", {}, ["other-type", "other-place", "other-place"]),
    ],
)
def test_an_open_scope_that_is_another_one(
    before: str, after: str, steps: dict[str, str], expected: list[str]
) -> None:
    run = Run(define(BOTH)).start()
    to = BOTH.replace(before, after)
    if "map" in after:
        to = "steps: [{id: both, type: map, items: [1], steps: [{id: a, type: task, action: worker:w/a, next: b}, "
        to += "{id: b, type: task, action: worker:w/b}]}]"
    assert codes(run, to, **steps) == expected


def test_a_deadline_that_runs_and_is_gone() -> None:
    due = "deadlines: {soon: {after: start, within: 1h, reach: {step: file}}}\n"
    run = Run(define(ORDER.replace("steps:", f"{due}steps:"))).start()
    assert codes(run, ORDER) == ["deadline-vanished"]
    moved(run, ORDER.replace("steps:", f"{due}steps:"), file="file")
    assert run.owed["@deadline/soon"].timer_at == at("1h")


def test_an_input_that_it_could_not_have_been_started_with() -> None:
    """Only before it begins: afterwards, the input has been read by the steps that needed it."""
    strict = ORDER.replace("steps:", "inputSchema: {required: [id]}\nsteps:")
    assert codes(Run(define(ORDER)).start(start_at=at("1h")), strict) == ["input"]
    moved(at_ship(), strict, ship="ship")


def test_an_instance_that_has_ended_or_undoes() -> None:
    run = at_ship()
    run.ask(c.CancelInstance, **WHO)
    assert codes(run, OTHER, release="free") == ["compensating"]
    run.complete("release")
    assert codes(run, OTHER) == ["ended"]


def test_a_mapping_of_what_does_not_exist_and_one_that_is_for_another_version() -> None:
    assert codes(at_ship(), OTHER, ship="send", shop="send", file="bull") == ["unknown-step"] * 2
    fields = {"target": define(OTHER, "2"), "steps": STEPS, "from_version": "0", **WHO}
    refusal = at_ship().refuses(MigrationRefusedError, c.MigrateInstance, **fields)
    assert "it is at version 1, and the mapping is made for 0" in str(refusal)


def test_all_obstacles_are_named_at_once_and_a_few_are_spelt_out() -> None:
    branches = ", ".join(f"b{n}: [{{id: s{n}, type: task, action: worker:w/s}}]" for n in range(9))
    run = Run(define(f"name: wide\nsteps: [{{id: p, type: parallel, branches: {{{branches}}}}}]")).start()
    target = define(
        f"steps: [{{id: p, type: parallel, branches: {{{branches.replace('id: s', 'id: x')}}}}}]", "2"
    )
    refusal = run.refuses(MigrationRefusedError, c.MigrateInstance, target=target, **WHO)
    assert str(refusal).endswith("; and 4 more.")
    assert len(refusal.details["obstacles"]) == 9  # type: ignore[arg-type]


def test_an_open_attempt_gains_the_undo_that_its_step_has_now() -> None:
    run = at_ship()
    run.claim("ship")
    moved(run)
    open = run.state.open["ship#1"]
    assert isinstance(open, Running)
    assert isinstance(open, Attempted)
    assert open.work.compensate_with == "callBack"
    run.fail("send", error(retryable=False))
    assert run.handed_out == ["free"]
