"""Child workflows through the real loop: started, waited for, called back; with crashes at every append between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from domain.commands import (
    CancelInstance,
    PauseInstance,
    ResumeInstance,
    SkipStep,
    TerminateInstance,
    UndoInstance,
)
from domain.errors import TenutoError
from domain.events import InstanceStarted, StepFailed, StepStarted
from domain.limits import MAX_CHILD_DEPTH
from domain.state import State
from engine.cache import fold
from engine.messages import Task
from engine.ports import Batch, StoreUnavailableError
from tests.engine.world import World

PARENT = """
name: parent
steps:
  - {id: before, type: task, action: worker:w/before, compensateWith: unbefore, next: invoice}
  - {id: invoice, type: workflow, definition: invoice, input: {n: 1}, output: {invoice: $}, next: after}
  - {id: after, type: task, action: worker:w/after, compensateWith: unafter}
  - {id: unbefore, type: task, action: worker:w/unbefore}
  - {id: unafter, type: task, action: worker:w/unafter}
"""
INVOICE = """
name: invoice
steps:
  - {id: write, type: task, action: worker:w/write, compensateWith: tear, next: send}
  - {id: send, type: task, action: worker:w/send, compensateWith: recall, next: done}
  - {id: done, type: succeed, result: {number: $.input.n}}
  - {id: tear, type: task, action: worker:w/tear}
  - {id: recall, type: task, action: worker:w/recall}
"""


async def step(world: World, *, until: str | None = None) -> list[str]:
    """Lets workers do what there is, up to and without the step `until`. → the steps that were done."""
    done: list[str] = []
    while True:
        await world.settle()
        tasks: list[Task] = []
        for _ in range(4):  # What a board knows of may be gone.
            tasks = tasks or await world.tasks("w", max_tasks=1)
        if not tasks:
            return done
        if tasks[0].step == until:
            await world.fail(tasks[0], "StopError", retry_after_ms=None)
            return done
        done.append(tasks[0].step)
        await world.complete(*tasks)


async def children(world: World, parent: str) -> list[str]:
    """The ids of its children, in the order in which they were ordered."""
    return [
        event.token
        for event in await world.log(parent)
        if isinstance(event, StepStarted) and event.worker == "engine" and "/undo" not in event.execution
    ]


async def begun(world: World, *texts: str) -> tuple[str, str]:
    """A parent whose child runs. → both ids."""
    await world.deploy(INVOICE, *(texts or (PARENT,)))
    parent = (await world.start("parent")).instance_id
    await world.complete(*await world.tasks("w"))
    await world.settle()
    [child] = await children(world, parent)
    return parent, child


async def test_the_result_of_a_child_is_the_output_of_its_step() -> None:
    async with World() as world:
        parent, child = await begun(world)
        assert (await world.state(parent)).status == "waiting"
        assert await step(world) == ["write", "send", "after"]
        state = await world.state(parent)
        assert (state.status, state.outcome) == ("completed", "succeeded")
        assert state.data["invoice"] == {"number": 1}
        [started] = [event for event in await world.log(child) if isinstance(event, InstanceStarted)]
        assert started.parent is not None
        assert (started.parent.instance_id, started.parent.execution) == (parent, "invoice#1")
        await world.check(parent, child)


async def test_a_child_may_run_for_months_and_through_restarts() -> None:
    async with World() as first:
        parent, child = await begun(first)
        first.kill()
    async with World(first.faults, first.clock) as second:
        await second.pass_time(90)
        assert (await second.state(parent)).status == "waiting"
        assert await step(second) == ["write", "send", "after"]
        assert not [event for event in await second.log(parent) if isinstance(event, StepFailed)]
        await second.check(parent, child)


async def test_a_cancel_reaches_the_running_child_and_the_rollback_waits_for_it() -> None:
    async with World() as world:
        parent, child = await begun(world)
        [write] = await world.tasks("w")
        await world.complete(write)
        await world.act(parent, CancelInstance, reason="enough")
        await world.settle()
        assert (await world.state(parent)).status == "compensating"
        assert (await world.state(child)).status == "compensating"
        assert await step(world) == ["tear", "unbefore"]
        assert (await world.state(child)).outcome == "cancelled"
        assert (await world.state(parent)).outcome == "cancelled"
        await world.check(parent, child)


async def test_a_rollback_undoes_an_ended_child_by_its_own_list_and_in_its_turn() -> None:
    async with World() as world:
        parent, child = await begun(world)
        assert await step(world, until="after") == ["write", "send"]
        before = await world.state(child)
        await world.act(parent, UndoInstance, reason="enough")
        assert await step(world) == ["recall", "tear", "unbefore"]
        after = await world.state(child)
        assert (after.status, after.outcome, after.result) == (before.status, before.outcome, before.result)
        assert (after.status, after.outcome, after.undo) == ("completed", "succeeded", {})
        assert (await world.state(parent)).outcome == "compensated"
        await world.check(parent, child)


async def test_a_child_that_fails_fails_its_step_with_a_type() -> None:
    failing = "name: invoice\nsteps: [{id: no, type: fail, error: {type: NoPaperError, message: no paper}}]"
    async with World() as world:
        await world.deploy(failing, PARENT)
        parent = (await world.start("parent")).instance_id
        assert await step(world) == ["before", "unbefore"]
        state = await world.state(parent)
        assert state.outcome == "compensated"
        assert state.error is not None
        assert (state.error.type, state.error.code) == ("ChildFailedError", "NoPaperError")
        assert state.error.message == "child workflow invoice ended as failed: no paper"


async def test_effects_that_a_failed_child_has_left_are_undone_with_its_parent() -> None:
    leaving = INVOICE.replace("steps:", "onFailure: fail\nsteps:")
    async with World() as world:
        await world.deploy(leaving, PARENT)
        parent = (await world.start("parent")).instance_id
        assert await step(world, until="send") == ["before", "write"]
        await world.act((await children(world, parent))[0], TerminateInstance, reason="no more")
        assert await step(world) == ["tear", "unbefore"]
        assert (await world.state(parent)).outcome == "compensated"


@pytest.mark.parametrize(
    ("kind", "outcome", "error"),
    [
        (CancelInstance, "cancelled", "ChildCancelledError"),
        (TerminateInstance, "terminated", "ChildTerminatedError"),
    ],
)
async def test_a_child_that_somebody_ends_fails_its_step(kind: type, outcome: str, error: str) -> None:
    async with World() as world:
        parent, child = await begun(world)
        await world.act(child, kind, reason="enough")
        await step(world)
        assert (await world.state(child)).outcome == outcome
        failed = (await world.state(parent)).error
        assert failed is not None
        assert failed.type == error


async def test_the_time_of_the_step_is_the_childs_and_a_retry_is_another_child() -> None:
    impatient = PARENT.replace(
        "input: {n: 1}", "timeout: 10s, retryPolicy: {maxAttempts: 2, initialInterval: 1s}, input: {n: 1}"
    )
    async with World() as world:
        parent, first = await begun(world, impatient)
        await world.pass_time(12)
        assert (await world.state(first)).outcome == "timed_out"
        ids = await children(world, parent)
        assert len(ids) == len(set(ids)) == 2
        assert await step(world) == ["write", "send", "after"]
        assert (await world.state(parent)).outcome == "succeeded"
        await world.check(parent, *ids)


async def test_a_definition_that_nobody_has_deployed_fails_the_step() -> None:
    async with World() as world:
        await world.deploy(PARENT)
        parent = (await world.start("parent")).instance_id
        assert await step(world) == ["before", "unbefore"]
        error = (await world.state(parent)).error
        assert error is not None
        assert error.type == "UnknownDefinitionError"


@pytest.mark.parametrize(
    ("policy", "child_outcome", "undone"),
    [("cancel", "cancelled", ["tear"]), ("terminate", "terminated", []), ("abandon", None, ["send"])],
)
async def test_what_becomes_of_a_child_whose_parent_is_terminated(
    policy: str, child_outcome: str | None, undone: list[str]
) -> None:
    closing = PARENT.replace("input: {n: 1}", f"onParentClose: {policy}, input: {{n: 1}}")
    async with World() as world:
        parent, child = await begun(world, closing)
        await world.complete(*await world.tasks("w"))
        await world.act(parent, TerminateInstance, reason="enough")
        await world.settle()
        assert (await world.state(parent)).outcome == "terminated"
        assert await step(world) == undone
        state = await world.state(child)
        assert state.outcome == (child_outcome or "succeeded")
        assert not (await world.state(parent)).open
        await world.check(parent, child)


async def test_an_undo_that_the_child_cannot_do_waits_for_a_person_in_both() -> None:
    async with World() as world:
        parent, child = await begun(world)
        assert await step(world, until="after") == ["write", "send"]
        await world.act(parent, UndoInstance, reason="enough")
        await world.settle()
        for _ in range(3):
            [recall] = await world.tasks("w")
            assert recall.step == "recall"
            await world.fail(recall)
            await world.pass_time(5)
        assert await step(world) == ["tear"]
        assert "recall" in str((await world.state(child)).alerts) or (await world.state(child)).alerts
        await world.act(child, SkipStep, execution="send#1/undo", reason="it is lost")
        await world.settle()
        assert "invoice#1/undo/failed" in (await world.state(parent)).alerts
        await world.act(parent, SkipStep, execution="invoice#1/undo", reason="it is lost")
        assert await step(world) == ["unbefore"]
        assert (await world.state(parent)).outcome == "compensation_failed"
        await world.check(parent, child)


async def test_a_paused_parent_starts_no_child() -> None:
    async with World() as world:
        await world.deploy(INVOICE, PARENT)
        parent = (await world.start("parent")).instance_id
        [before] = await world.tasks("w")
        await world.act(parent, PauseInstance, actor="ann", reason="wait")
        await world.complete(before)
        await world.settle()
        assert await children(world, parent) == []
        await world.act(parent, ResumeInstance, actor="ann", reason="go")
        await world.pass_time(1)
        assert await step(world) == ["write", "send", "after"]


async def test_workflows_that_start_each_other_end_at_a_depth() -> None:
    async with World() as world:
        for name, other in (("one", "two"), ("two", "one")):
            await world.deploy(f"name: {name}\nsteps: [{{id: s, type: workflow, definition: {other}}}]")
        top = (await world.start("one")).instance_id
        for _ in range(MAX_CHILD_DEPTH):
            await world.settle()
        state = await world.state(top)
        assert state.outcome == "failed"
        deepest, depth = top, 0
        while found := await children(world, deepest):
            deepest, depth = found[0], depth + 1
        assert depth == MAX_CHILD_DEPTH
        error = (await world.state(deepest)).error
        assert error is not None
        assert error.type == "ChildDepthError"


async def test_two_servers_may_look_after_the_same_child() -> None:
    async with World() as one:
        two = await one.another()
        parent, child = await begun(one)
        for world in (one, two):
            await world.pass_time(11)
        await two.act(parent, CancelInstance, reason="enough")
        await one.pass_time(11)
        await two.settle()
        assert [*await step(one), *await step(two)] == ["unbefore"]
        assert (await one.state(child)).outcome == "cancelled"
        await one.check(parent, child)
        await two.__aexit__()


CRASHES = 14


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("crash", range(CRASHES))
@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_crash_at_any_append_loses_nothing(crash: int, *, before: bool, cancelled: bool) -> None:
    """The process dies at append number `crash`, before or after it; another takes over."""
    appended = 0
    world = await World().__aenter__()
    await world.deploy(INVOICE, PARENT)
    dead = False

    async def dies(batch: Batch) -> None:
        nonlocal appended, dead
        appended += 1
        if dead or appended > crash:
            dead = world.faults.down = True
            raise StoreUnavailableError(problem="the process is gone")

    parent = (await world.start("parent", idempotency_key="k")).instance_id
    if before:
        world.faults.before = dies
    else:
        world.faults.after = dies
    state = await lives(world, parent, cancelled=cancelled, dead=lambda: dead)
    if not state.ended or state.open:
        world.kill()
        world.faults.before = world.faults.after = None
        world.faults.down = False
        world = await World(world.faults, world.clock).__aenter__()
        await world.pass_time(12)  # Leases are lost.
        state = await lives(world, parent, cancelled=cancelled, dead=lambda: False)
    world.faults.before = world.faults.after = None
    world.faults.down = False
    assert state.outcome == ("cancelled" if cancelled else "succeeded")
    ids = await children(world, parent)
    assert len(ids) == len(set(ids)) == 1
    child = await world.state(ids[0])
    assert child.ended
    assert not child.open
    assert bool(child.undo) is not cancelled
    await world.check(parent, *ids)
    await world.__aexit__()


async def lives(world: World, parent: str, *, cancelled: bool, dead: Callable[[], bool]) -> State:
    """Works, and cancels when the child has written, until all is over or the process has died."""
    for _ in range(20):
        if dead():
            break
        try:
            await world.settle()
            tasks = await world.tasks("w", max_tasks=1)
            await world.complete(*tasks)
            written = [(await world.state(child)).undo for child in await children(world, parent)]
            if cancelled and any(written):
                await world.act(parent, CancelInstance, reason="enough")
        except TenutoError:
            continue  # The store is away, or the child does not exist yet.
    recorded = await world.faults.inner.load([parent])
    return fold(parent, recorded[parent])
