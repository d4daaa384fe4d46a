"""Rows S020–S045: every field of a definition, its steps and its transitions, by what the loop does with it."""

from __future__ import annotations

from typing import Any

import pytest

from domain.calls import Succeeded
from domain.events import (
    BlockFailed,
    DecisionMade,
    ScopeClosed,
    ScopeOpened,
    StatusChanged,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
    WaitEnded,
)
from tests.brief.played import NOT_YET, playing
from tests.engine.world import FakeService, World

WORK = "{id: work, type: task, action: worker:w/work}"


async def refused(text: str) -> dict[str, Any]:
    """The first finding of a definition that is refused; nothing of it is stored."""
    async with playing() as play:
        answer = await play.deploy(text, 422)
        assert await play.ask("GET", "/v1/definitions") == {"definitions": [], "next": None}
        finding: dict[str, Any] = answer["findings"][0]
        return finding


# The definition ----------------------------------------------------------------------------


async def test_a_name_is_required_and_unique_with_its_version() -> None:
    """S020."""
    async with playing(f'version: "1"\nsteps: [{WORK}]', NOT_YET) as play:
        other = 'name: test\nversion: "1"\nsteps: [{id: other, type: succeed}]'
        problem = await play.deploy(other, 409)
        assert problem["type"] == "urn:tenuto:problem:version-taken"
        assert (await play.deploy(f'name: test\nversion: "1"\nsteps: [{WORK}]', 200))["version"] == "1"
        nameless = await play.http.put(
            "/v1/definitions/test", content=f"steps: [{WORK}]", headers={"Content-Type": "application/yaml"}
        )
        assert nameless.status_code == 422
        assert "name" in nameless.text
        assert (await play.deploy('name: test\nversion: "2"\nsteps: [{id: other, type: succeed}]'))[
            "version"
        ] == "2"


async def test_a_version_is_text_and_an_instance_is_pinned_to_it() -> None:
    """S021, S051: after version 2 is there, what began with 1 goes on with 1."""
    assert "version" in (await refused(f"version: 1\nsteps: [{WORK}]"))["message"]
    old = """
version: "1"
steps: [{id: a, type: task, action: worker:w/a, next: b}, {id: b, type: task, action: worker:w/old}]
"""
    async with playing(old) as play:
        first = play.id
        await play.deploy(old.replace('"1"', '"2"').replace("w/old", "w/new"))
        await play.start()
        await play.complete("a")
        assert (await play.take("b"))["activity"] == "new"
        await play.complete("b")
        assert (await play.get())["definitionVersion"] == "2"
        play.id = first
        await play.complete("a")
        assert (await play.take("b"))["activity"] == "old"
        await play.complete("b")
        assert (await play.get())["definitionVersion"] == "1"


async def test_the_first_step_is_the_entry() -> None:
    """S022: whatever the others are called."""
    text = f"steps: [{{id: z, type: task, action: worker:w/z, next: work}}, {WORK}]"
    async with playing(text) as play:
        assert [event.step for event in await play.all(StepScheduled)] == ["z"]
        assert await play.serve() == ["z", "work"]


async def test_error_handlers_run_when_a_step_has_none_of_its_own() -> None:
    """S023: a step with a fallback uses that; the first that matches is taken."""
    text = """
errorHandlers:
  - {errors: [ClosedError], steps: [b], next: other}
  - {errors: [ClosedError], next: plan}
steps:
  - {id: a, type: task, action: worker:a/a, next: b%s}
  - {id: b, type: task, action: worker:b/b}
  - {id: plan, type: task, action: worker:plan/plan}
  - {id: other, type: task, action: worker:other/other}
  - {id: own, type: task, action: worker:own/own}
"""
    for fallback, expected in (("", "plan"), (", fallback: own", "own")):
        async with playing(text % fallback) as play:
            await play.fail("a", "ClosedError", retryable=False)
            assert await play.serve() == [expected]
            assert (await play.get())["outcome"] == "succeeded"


# Steps --------------------------------------------------------------------------------------


async def test_ids_are_unique_in_a_definition() -> None:
    """S025: refused with the place of the second one."""
    finding = await refused("steps:\n  - {id: a, type: succeed}\n  - {id: a, type: succeed}")
    assert (finding["code"], finding["line"]) == ("duplicate-step", 4)


async def test_the_name_of_a_step_is_shown_in_the_history() -> None:
    """S026, S091: as `stepName`; without one it is the id."""
    text = """
steps:
  - {id: charge, name: Charge the card, type: task, action: worker:w/charge, next: ship}
  - {id: ship, type: task, action: worker:w/ship}
"""
    async with playing(text) as play:
        await play.serve()
        assert [event.name for event in await play.all(StepScheduled)] == ["Charge the card", "ship"]
        entries = (await play.get("/history"))["executions"]
        assert [(each["stepId"], each["stepName"]) for each in entries] == [
            ("charge", "Charge the card"),
            ("ship", "ship"),
        ]


async def test_a_task_invokes_its_action() -> None:
    """S027, S032: at a service by its connector, at a worker by its queue."""
    text = """
name: test
steps:
  - {id: charge, type: task, action: http:payments/cards/charge, input: {amount: 5}, next: pack}
  - {id: pack, type: task, action: worker:warehouse/pack}
"""
    service = FakeService(charge=Succeeded({"paymentId": "p-1"}))
    async with World(connector=service) as world:
        await world.deploy(text)
        id = (await world.start("test")).instance_id
        await world.settle()
        (call,) = service.calls
        assert (call.action, call.input) == ("http:payments/cards/charge", {"amount": 5})
        (task,) = await world.tasks("warehouse")
        assert (task.activity, task.action) == ("pack", "worker:warehouse/pack")
        await world.complete(task)
        done = [event.execution for event in await world.log(id) if isinstance(event, StepCompleted)]
        assert done == ["charge#1", "pack#1"]
        await world.check(id)


DECISION = """
steps:
  - {id: charge, type: task, action: worker:w/charge, output: {payment: $}, next: isPaid}
  - id: isPaid
    type: decision
    next:
      - {condition: "$.payment.status == 'declined'", next: declined}
      - {condition: $.payment.amount > 100, next: large}
      - {condition: $.payment.amount > 10, next: middle}
      - {next: small}
  - {id: declined, type: fail, error: {type: PaymentDeclinedError, message: declined}}
  - {id: large, type: succeed}
  - {id: middle, type: succeed}
  - {id: small, type: succeed}
"""


@pytest.mark.parametrize(
    ("payment", "chosen", "transition"),
    [
        ({"status": "declined", "amount": 500}, "declined", 0),
        ({"status": "paid", "amount": 500}, "large", 1),
        ({"status": "paid", "amount": 50}, "middle", 2),
        ({"status": "paid", "amount": 5}, "small", None),
    ],
)
async def test_a_decision_takes_the_first_condition_that_holds_and_calls_nothing(
    payment: dict[str, Any], chosen: str, transition: int | None
) -> None:
    """S003, S007, S028, S036, S044, S056: from the output of the step before it; the brief's own text is the first."""
    async with playing(DECISION) as play:
        await play.complete("charge", payment)
        made = await play.last(DecisionMade)
        assert (made.step, made.next, made.transition) == ("isPaid", chosen, transition)
        assert [event.step for event in await play.all(StepScheduled)] == ["charge"]
        assert await play.owed() == []
        assert (await play.get())["outcome"] == ("failed" if chosen == "declined" else "succeeded")


async def test_no_condition_and_no_default_is_an_error() -> None:
    """S036."""
    text = """
steps:
  - {id: choose, type: decision, next: [{condition: $.input.a == 1, next: work}]}
  - {id: work, type: task, action: worker:w/work}
"""
    async with playing(text, {"a": 2}) as play:
        ended = await play.last(StatusChanged)
        assert ended.error is not None
        assert (ended.to, ended.error.type) == ("failed", "NoTransitionError")
        assert await play.all(DecisionMade) == []


async def test_a_task_may_choose_among_transitions_too() -> None:
    """S036, S003."""
    text = """
steps:
  - id: work
    type: task
    action: worker:w/work
    next: [{condition: "$.work == 'again'", next: work}, {next: done}]
  - {id: done, type: succeed}
"""
    async with playing(text) as play:
        await play.complete("work", "again")
        await play.complete("work", "enough")
        assert [event.next for event in await play.all(DecisionMade)] == ["work", "done"]
        assert [event.execution for event in await play.all(StepCompleted)] == ["work#1", "work#2"]


PARALLEL = """
steps:
  - id: both
    type: parallel
    join: %s
    onBranchFailure: %s
    branches:
      a: [{id: a, type: task, action: worker:a/a, retryPolicy: {maxAttempts: 1}}]
      b: [{id: b, type: task, action: worker:b/b, retryPolicy: {maxAttempts: 1}}]
      c: [{id: c, type: task, action: worker:c/c, retryPolicy: {maxAttempts: 1}}]
    next: done
  - {id: done, type: succeed}
"""


@pytest.mark.parametrize(("join", "needed"), [("all", 3), ("any", 1), ("2", 2)])
async def test_branches_run_at_once_and_are_joined(join: str, needed: int) -> None:
    """S029, S012: when all, any, or so many have ended; the rest is cancelled."""
    async with playing(PARALLEL % (join, "cancel")) as play:
        assert (await play.last(ScopeOpened)).blocks == ["a", "b", "c"]
        assert await play.offered() == ["a", "b", "c"], "at once"
        for number, step in enumerate(["c", "a", "b"][:needed], 1):
            assert (await play.get())["status"] == "running"
            await play.complete(step)
            assert bool(await play.all(ScopeClosed)) == (number == needed)
        assert len(await play.all(StepCancelled)) == 3 - needed
        assert (await play.get())["outcome"] == "succeeded"


async def test_a_branch_that_fails_cancels_its_siblings() -> None:
    """S029."""
    async with playing(PARALLEL % ("all", "cancel")) as play:
        await play.complete("a")
        await play.fail("b")
        assert [event.execution for event in await play.all(StepCancelled)] == ["both.c#1"]
        assert (await play.get())["status"] == "failed"


async def test_or_waits_for_them() -> None:
    """S029."""
    async with playing(PARALLEL % ("all", "wait")) as play:
        await play.fail("b")
        assert [event.block for event in await play.all(BlockFailed)] == ["b"]
        assert (await play.get())["status"] == "running"
        await play.complete("a")
        await play.complete("c")
        assert await play.all(StepCancelled) == []
        assert (await play.get())["status"] == "failed"


async def test_as_long_as_the_join_can_be_reached_a_failure_does_not_matter() -> None:
    """S029."""
    async with playing(PARALLEL % ("2", "cancel")) as play:
        await play.fail("a")
        await play.complete("b")
        await play.complete("c")
        assert (await play.get())["outcome"] == "succeeded"


async def test_a_wait_is_for_a_time_a_signal_or_both() -> None:
    """S030."""
    text = """
steps:
  - {id: time, type: wait, for: 1m, next: word}
  - {id: word, type: wait, signal: go, next: both}
  - {id: both, type: wait, signal: go, for: 1m, onTimeout: late}
  - {id: late, type: succeed}
"""
    async with playing(text) as play:
        await play.wait("1m")
        assert (await play.get())["waitingFor"] == ["signal"]
        await play.wait("24h")
        await play.signal("go")
        await play.wait("1m")
        assert [(event.execution, event.by) for event in await play.all(WaitEnded)] == [
            ("time#1", "timer"),
            ("word#1", "signal"),
            ("both#1", "timer"),
        ]
        assert (await play.get())["outcome"] == "succeeded"


async def test_the_activitys_type_routes_the_command() -> None:
    """S043, S032: each queue is handed its own."""
    text = """
steps:
  - id: both
    type: parallel
    branches:
      a: [{id: a, type: task, action: worker:warehouse/pack}]
      b: [{id: b, type: task, action: worker:office/invoice}]
"""
    async with playing(text) as play:
        (task,) = await play.poll("office")
        assert (task["activity"], task["step"]) == ("invoice", "b")
        (task,) = await play.poll("warehouse")
        assert (task["activity"], task["step"]) == ("pack", "a")
        assert {event.queue for event in await play.all(StepScheduled)} == {"warehouse", "office"}
        await play.serve()


# Mappings and successors --------------------------------------------------------------------


async def test_input_and_output_are_mapped() -> None:
    """S033, S034, S052, S055, S067: data → input, output → data, and no other key is lost."""
    text = """
steps:
  - {id: pay, type: task, action: worker:w/pay, output: {payment: $.id, method: $.card.method}, next: ship,
     input: {sum: $.input.amount, currency: {$coalesce: [$.input.currency, EUR]}}}
  - {id: ship, type: task, action: worker:w/ship, input: {paid: $.payment, to: $.input.to},
     output: {shipment: $}, next: tell}
  - {id: tell, type: task, action: worker:w/tell, input: {all: $.shipment.id, paid: $.payment}}
"""
    async with playing(text, {"amount": 5, "to": "Bonn"}) as play:
        assert (await play.take("pay"))["input"] == {"sum": 5, "currency": "EUR"}
        await play.complete("pay", {"id": "p-1", "card": {"method": "visa", "no": "4111"}})
        assert (await play.last(StepCompleted)).data == {"payment": "p-1", "method": "visa"}
        assert (await play.take("ship"))["input"] == {"paid": "p-1", "to": "Bonn"}
        await play.complete("ship", {"id": "s-1"})
        assert (await play.take("tell"))["input"] == {"all": "s-1", "paid": "p-1"}
        await play.complete("tell", "said")
        assert (await play.get())["data"] == {
            "input": {"amount": 5, "to": "Bonn"},
            "payment": "p-1",
            "method": "visa",
            "shipment": {"id": "s-1"},
            "tell": "said",
        }


async def test_without_mappings_a_task_gets_the_input_and_its_output_stands_under_its_id() -> None:
    """S052, S055, S205."""
    async with playing(f"steps: [{WORK}]", {"amount": 5}) as play:
        assert (await play.take("work"))["input"] == {"amount": 5}
        await play.complete("work", {"x": 1})
        assert (await play.last(StepCompleted)).data == {"work": {"x": 1}}


async def test_input_that_cannot_be_made_fails_the_step_without_a_call() -> None:
    """S033, S052."""
    async with playing(
        "steps: [{id: work, type: task, action: worker:w/work, input: {to: $.input.to}}]"
    ) as play:
        failed = await play.last(StepFailed)
        assert (failed.error.type, failed.error.retryable) == ("MappingError", False)
        assert "$.input.to" in failed.error.message
        assert await play.all(StepStarted) == []


async def test_the_successor_is_next_and_without_one_it_is_the_end() -> None:
    """S035, S058: the next step is scheduled with the completion, or the instance is completed with it."""
    text = (
        "steps: [{id: a, type: task, action: worker:w/a, next: b}, {id: b, type: task, action: worker:w/b}]"
    )
    async with playing(text) as play:
        await play.take("a")
        before = len(play.world.faults.batches)
        await play.complete("a")
        (batch,) = play.world.faults.batches[before:]
        assert [event.topic for event in batch.events] == ["StepCompleted", "StepScheduled"]
        await play.take("b")
        before = len(play.world.faults.batches)
        await play.complete("b")
        (batch,) = play.world.faults.batches[before:]
        assert [event.topic for event in batch.events] == ["StepCompleted", "StatusChanged"]
        assert (await play.get())["status"] == "completed"


async def test_a_policy_is_optional_by_service_type_and_replaced_by_a_steps_own() -> None:
    """S037, S042: three attempts from a second on; those of its type; its own."""
    text = """
retryPolicies: {slow: {maxAttempts: 2, initialInterval: 20s}}
steps: [{id: work, type: task, action: worker:w/work%s}]
"""
    for fields, times in (
        ("", ["0s", "1s", "3s"]),
        (", serviceType: slow", ["0s", "20s"]),
        (", serviceType: slow, retryPolicy: {maxAttempts: 4, initialInterval: 5s, backoffCoefficient: 1}",
         ["0s", "5s", "10s", "15s"]),
        (", serviceType: unheardOf, retryPolicy: {maxAttempts: 1}", ["0s"]),
    ):  # fmt: skip
        async with playing(text % fields) as play:
            await play.use_up("work")
            assert await play.times(StepStarted) == times


async def test_a_transition_to_an_unknown_step_is_refused_at_deploy() -> None:
    """S045: with its place; so is a plain `next`."""
    text = (
        "steps:\n  - {id: a, type: decision, next: [{condition: $.input.a == 1, next: nowhere}, {next: b}]}\n"
    )
    finding = await refused(text + "  - {id: b, type: succeed}")
    assert (finding["severity"], finding["step"], finding["line"]) == ("error", "a", 3)
    assert "nowhere" in finding["message"]
    assert (
        "nowhere"
        in (await refused("steps: [{id: a, type: task, action: worker:w/a, next: nowhere}]"))["message"]
    )
