"""Signals and cancels, as they race with what else happens: before the wait, twice, by key, with a completion, twice,
and while everything is already being undone. Rows S120, S121, S125, S161, S177, and the issue's own words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.commands import CancelInstance, CompleteStep
from domain.events import (
    CancelRequested,
    Compensated,
    CompensationStarted,
    ResultIgnored,
    SignalHandled,
    SignalReceived,
    StatusChanged,
    StepCancelled,
    StepCompleted,
    StepScheduled,
    StepStarted,
    WaitEnded,
    WaitStarted,
)
from domain.state import Running
from tests.brief.played import Play, playing

LATER = """
signals:
  approval: {}
  move: {set: {to: $.signal.payload.city}, schema: {type: object, required: [city]}}
steps:
  - {id: work, type: task, action: worker:w/work, next: ask}
  - {id: ask, type: wait, signal: approval, for: 24h, output: {said: $.payload}, onTimeout: late, next: done}
  - {id: done, type: succeed, result: {said: $.said, to: {$coalesce: [$.to, nowhere]}}}
  - {id: late, type: fail, error: {type: LateError, message: nobody answered}}
"""
ORDER = """
signals: {cancelOrder: {do: cancel, reason: $.signal.payload.reason}}
steps:
  - {id: pay, type: task, action: worker:pay/pay, compensateWith: refund, next: reserve}
  - {id: reserve, type: task, action: worker:reserve/reserve, compensateWith: release, next: ship}
  - {id: ship, type: task, action: worker:ship/ship}
  - {id: refund, type: task, action: worker:refund/refund, input: {why: $.undo.reason}}
  - {id: release, type: task, action: worker:release/release}
"""


async def test_a_signal_may_come_before_its_wait() -> None:
    """It is stored, and the wait that comes takes it at once."""
    async with playing(LATER) as play:
        await play.signal("approval", "early", id="s1")
        assert [event.signal_id for event in await play.all(SignalReceived)] == ["s1"]
        assert await play.all(WaitEnded) == []
        await play.complete("work")
        started, ended = await play.last(WaitStarted), await play.last(WaitEnded)
        assert (started.execution, ended.execution) == ("ask#1", "ask#1")
        assert (ended.by, ended.signal_id, ended.data) == ("signal", "s1", {"said": "early"})
        assert (await play.get())["result"] == {"said": "early", "to": "nowhere"}


async def test_signals_are_consumed_in_the_order_in_which_they_came() -> None:
    async with playing(LATER) as play:
        await play.signal("approval", "first", id="s1")
        await play.signal("approval", "second", id="s2")
        await play.complete("work")
        assert [event.signal_id for event in await play.all(WaitEnded)] == ["s1"]


async def test_a_signal_said_twice_counts_once() -> None:
    """By its id; and the same id with another payload is refused."""
    async with playing(LATER) as play:
        assert (await play.signal("approval", "yes", id="s1"))["status"] == "accepted"
        before = await play.topics()
        assert (await play.signal("approval", "yes", id="s1"))["status"] == "duplicate"
        path = f"/v1/instances/{play.id}/signals/approval"
        await play.ask("POST", path, {"signalId": "s1", "payload": "no"}, 409)
        assert await play.topics() == before
        await play.complete("work")


async def test_a_signal_by_key_reaches_who_has_it() -> None:
    """S063, S113: none is 404, one is delivered, several need `all`."""
    async with playing(LATER, {}, correlationId="c-1") as play:
        first = play.id
        body: dict[str, Any] = {"signalId": "s1", "correlationId": "c-1", "payload": "yes"}
        assert (await play.ask("POST", "/v1/signals/approval", body))["instances"] == [first]
        await play.ask("POST", "/v1/signals/approval", body | {"correlationId": "c-2"}, 404)
        await play.start(correlationId="c-1")
        await play.ask("POST", "/v1/signals/approval", body | {"signalId": "s2"}, 409)
        answer = await play.ask("POST", "/v1/signals/approval?all=true", body | {"signalId": "s2"})
        assert set(answer["instances"]) == {first, play.id}
        assert [event.signal_id for event in await play.all(SignalReceived)] == ["s2"]


async def test_a_payload_changes_the_data_and_is_recorded() -> None:
    """S121: what does not match its schema is refused before anything is stored."""
    async with playing(LATER) as play:
        await play.signal("move", {"city": "Bonn"}, id="s1")
        assert (await play.last(SignalReceived)).payload == {"city": "Bonn"}
        handled = await play.last(SignalHandled)
        assert (handled.signal_id, handled.do, handled.data) == ("s1", "set", {"to": "Bonn"})
        assert (await play.get())["data"]["to"] == "Bonn"
        before = await play.topics()
        await play.ask(
            "POST", f"/v1/instances/{play.id}/signals/move", {"signalId": "s2", "payload": {}}, 422
        )
        assert await play.topics() == before
        await play.complete("work")
        await play.signal("approval", "yes")
        assert (await play.get())["result"] == {"said": "yes", "to": "Bonn"}


async def test_the_earliest_wait_takes_the_signal() -> None:
    text = """
steps:
  - id: both
    type: parallel
    branches:
      one: [{id: a, type: wait, signal: go, for: 1h}]
      other: [{id: b, type: wait, signal: go, for: 1h}]
"""
    async with playing(text) as play:
        await play.signal("go", 1)
        await play.signal("go", 2)
        assert [event.execution for event in await play.all(WaitEnded)] == ["both.a#1", "both.b#1"]
        assert (await play.get())["outcome"] == "succeeded"


# Cancels ---------------------------------------------------------------------------------


async def test_a_cancel_starts_no_other_step_and_undoes_what_was_done() -> None:
    """S120, S125: between two steps. The reason reaches the refund."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.signal("cancelOrder", {"reason": "found it cheaper"})
        handled, started = await play.last(SignalHandled), await play.last(CompensationStarted)
        assert (handled.do, started.reason, started.executions) == ("cancel", "found it cheaper", ["pay#1"])
        assert [event.execution for event in await play.all(StepCancelled)] == ["reserve#1"]
        assert await play.serve() == ["refund"]
        assert await play.input_of("refund") == {"why": "found it cheaper"}
        log = await play.log()
        after = log[log.index(next(each for each in log if isinstance(each, CompensationStarted))) :]
        assert [each.execution for each in after if isinstance(each, StepStarted)] == ["pay#1/undo"]
        assert [each.step for each in after if isinstance(each, StepScheduled)] == ["refund"]
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.reason) == ("completed", "cancelled", "found it cheaper")


async def race(play: Play, *, cancel_first: bool) -> str:
    """A result and a cancel in one inbox. → the step whose attempt was running."""
    task = await play.take("reserve")
    running = (await play.world.state(play.id)).open["reserve#1"]
    assert isinstance(running, Running)
    result = play.world.act(
        play.id, CompleteStep, execution="reserve#1", attempt=1, token=task["token"], output={}
    )
    cancel = play.world.act(play.id, CancelInstance, actor="ada", reason="no more")
    both = [cancel, result] if cancel_first else [result, cancel]
    await asyncio.gather(*both)
    return running.token


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancel_that_races_with_a_completion(*, cancel_first: bool) -> None:
    """Whichever is decided first; either way what was done is undone, and once."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await race(play, cancel_first=cancel_first)
        if cancel_first:
            assert [event.execution for event in await play.all(StepCancelled)] == ["reserve#1"]
            assert (await play.last(ResultIgnored)).why in ("late", "ended")
        else:
            assert "reserve#1" in [event.execution for event in await play.all(StepCompleted)]
        await play.serve()
        assert sorted(await play.undone()) == ["pay#1", "reserve#1"]
        assert (await play.last(StatusChanged)).outcome == "cancelled"
        assert len(await play.all(CancelRequested)) == 1
        assert await play.all(StepStarted, "ship") == []


async def test_a_second_cancel_changes_nothing() -> None:
    """Not while it is undone, and not when it has ended."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.act("cancel")
        before = await play.topics()
        await play.act("cancel")
        assert await play.topics() == before
        await play.serve()
        before = await play.topics()
        await play.act("cancel")
        assert await play.topics() == before
        assert len(await play.all(CancelRequested)) == 1
        assert len(await play.all(CompensationStarted)) == 1


async def test_a_cancel_during_a_rollback_does_not_change_how_it_ends() -> None:
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.complete("reserve")
        await play.fail("ship", "NoTruckError", "no truck", retryable=False)
        before = await play.topics()
        await play.act("cancel")
        assert await play.topics() == before
        await play.serve()
        ended = await play.last(StatusChanged)
        assert (ended.outcome, ended.reason) == ("compensated", "no truck")
        assert [event.undoes for event in await play.all(Compensated)] == ["reserve#1", "pay#1"]


async def test_a_worker_hears_of_a_cancel_with_its_next_beat() -> None:
    async with playing(ORDER) as play:
        task = await play.take("pay")
        assert await play.beat(task) == "ok"
        await play.act("cancel")
        assert await play.beat(task) == "cancelled"


async def test_cancelled_before_it_began() -> None:
    async with playing(ORDER, {}, startAt="2026-03-02T12:00:00Z") as play:
        assert (await play.get())["status"] == "pending"
        await play.act("cancel")
        ended = await play.last(StatusChanged)
        assert (ended.from_status, ended.to, ended.outcome) == ("pending", "failed", "cancelled")
        await play.wait("48h")
        assert await play.all(StepScheduled) == []
