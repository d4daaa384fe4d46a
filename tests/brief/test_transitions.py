"""Rows S099–S110: every change of status is legal, has a reason, is one append with what it changes, and recorded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from domain.events import StatusChanged
from domain.status import TRANSITIONS
from tests.brief.played import Play, playing

ORDER = """
signals: {approval: {}}
steps:
  - {id: pay, type: task, action: worker:pay/pay, compensateWith: refund, next: ask}
  - {id: ask, type: wait, signal: approval, for: 1h, onTimeout: late, next: ship}
  - {id: ship, type: task, action: worker:ship/ship, retryPolicy: {maxAttempts: 1}}
  - {id: late, type: compensate, reason: Approval timeout, outcome: cancelled}
  - {id: refund, type: task, action: worker:refund/refund, retryPolicy: {maxAttempts: 1}}
"""
LATER: dict[str, Any] = {"startAt": "2026-03-01T13:00:00Z"}
ACTS = ("cancel", "terminate", "compensate", "pause", "resume", "retry", "skip", "resolve", "fail", "give-up")


async def reached(play: Play, *pairs: str) -> None:
    """The instance has gone through exactly these statuses, each change with its reason, and each legal."""
    statuses = await play.statuses()
    assert [f"{one} → {other}" for one, other in pairwise(statuses)] == list(pairs)
    for event in await play.all(StatusChanged):
        assert event.to in TRANSITIONS[event.from_status]
        assert event.reason


async def test_pending_becomes_running_or_failed() -> None:
    """S104, S075."""
    async with playing(ORDER, {}, **LATER) as play:
        await play.wait("1h")
        await reached(play, "pending → running")
        await play.serve()
        await play.signal("approval")
        await play.serve()
    async with playing(ORDER, {}, **LATER) as play:
        await play.act("cancel")
        await reached(play, "pending → failed")
    async with playing(ORDER, {}, **LATER) as play:
        problem = await play.act("compensate", 409)
        assert (problem["from"], problem["to"]) == ("pending", "compensating")
        await reached(play)


async def test_running_becomes_waiting_completed_failed_or_compensating() -> None:
    """S105."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await reached(play, "pending → running", "running → waiting")
        await play.signal("approval")
        await play.complete("ship")
        await reached(
            play, "pending → running", "running → waiting", "waiting → running", "running → completed"
        )
    async with playing(ORDER) as play:
        await play.fail("pay", retryable=False)
        await reached(play, "pending → running", "running → failed")
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.signal("approval")
        await play.fail("ship")
        assert (await play.statuses())[-2:] == ["running", "compensating"]
        await play.serve()


async def test_waiting_becomes_running_failed_or_compensating() -> None:
    """S106."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.act("terminate")
        await reached(play, "pending → running", "running → waiting", "waiting → failed")
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.act("cancel")
        assert (await play.statuses())[-2:] == ["waiting", "compensating"]
        await play.serve()
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.signal("approval")
        assert (await play.statuses())[-2:] == ["waiting", "running"]
        await play.serve()


async def test_compensating_becomes_completed_or_failed() -> None:
    """S107: and nothing else meanwhile."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.act("cancel")
        await play.signal("approval")
        assert (await play.statuses())[-1] == "compensating"
        await play.complete("refund")
        assert (await play.statuses())[-2:] == ["compensating", "completed"]
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.act("cancel")
        await play.fail("refund")
        assert (await play.statuses())[-1] == "compensating"
        await play.act("give-up")
        assert (await play.statuses())[-2:] == ["compensating", "failed"]


async def completed(play: Play) -> None:
    await play.complete("pay")
    await play.signal("approval")
    await play.complete("ship")


async def failed(play: Play) -> None:
    await play.fail("pay", retryable=False)


@pytest.mark.parametrize("end", [completed, failed])
async def test_an_end_is_final(end: object) -> None:
    """S108, S109: whatever is asked of it then, no status follows."""
    assert end in (completed, failed)
    async with playing(ORDER) as play:
        await (completed(play) if end is completed else failed(play))
        before = await play.topics()
        for act in ACTS:
            answer = await play.http.post(
                f"/v1/instances/{play.id}/{act}",
                json={"reason": "too late", **({"output": {}} if act == "resolve" else {})},
            )
            if (
                act == "retry"
            ):  # Of one that has ended: a new instance goes on from its failing step, or there is none.
                assert answer.status_code in (201, 409), answer.text
                assert answer.json().get("id") != play.id
                continue
            assert answer.status_code in (404, 409), f"{act}: {answer.text}"
        await play.ask("POST", f"/v1/instances/{play.id}/signals/approval", {"signalId": "z"}, 409)
        await play.wait("48h")
        assert await play.topics() == before
        assert TRANSITIONS[(await play.last(StatusChanged)).to] == frozenset()


async def test_a_reason_is_mandatory_and_stands_in_every_change() -> None:
    """S099, S102: an act without one is refused and stores nothing; the engine's own changes have theirs."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        before = await play.topics()
        for body in ({}, {"reason": ""}, {"reason": "  "}):
            await play.ask("POST", f"/v1/instances/{play.id}/cancel", body, 422)
        assert await play.topics() == before
        await play.act("cancel", reason="found it cheaper")
        await play.serve()
        changes = (await play.get("/transitions"))["transitions"]
        assert [(each["type"], each["from"], each["to"], each["reason"]) for each in changes] == [
            ("transition", "pending", "running", "started"),
            ("transition", "running", "waiting", "waiting for signal approval"),
            ("transition", "waiting", "compensating", "found it cheaper"),
            ("transition", "compensating", "completed", "found it cheaper"),
        ]
        assert {each["timestamp"] for each in changes} == {"2026-03-01T12:00:00.000000Z"}
        assert len(changes) == len(await play.all(StatusChanged))


async def test_legality_is_checked_before_anything_is_written() -> None:
    """S100, S110: the refusal names both statuses, is a 409, and nothing is appended."""
    async with playing(ORDER) as play:
        await completed(play)
        before, batches = await play.topics(), len(play.world.faults.batches)
        problem = await play.act("compensate", 409)
        assert problem["type"] == "urn:tenuto:problem:invalid-transition"
        assert (problem["from"], problem["to"]) == ("completed", "compensating")
        assert "completed" in problem["detail"]
        assert "compensating" in problem["detail"]
        assert await play.topics() == before
        assert len(play.world.faults.batches) == batches


async def test_a_status_and_what_it_changes_are_stored_together_or_not_at_all() -> None:
    """S101: the append of the last result is refused by the store, and then granted."""
    async with playing(ORDER) as play:
        await play.complete("pay")
        await play.signal("approval")
        task = await play.take("ship")
        before = await play.get(include="history")
        play.world.faults.down = True
        body = {"results": [{"token": task["token"], "output": {"x": 1}}]}
        await play.ask("POST", "/v1/tasks/complete", body, 503)
        play.world.faults.down = False
        assert await play.get(include="history") == before
        batches = len(play.world.faults.batches)
        await play.ask("POST", "/v1/tasks/complete", body)
        (batch,) = play.world.faults.batches[batches:]
        assert [event.topic for event in batch.events] == ["StepCompleted", "StatusChanged"]
        view = await play.get()
        assert (view["status"], view["data"]["ship"]) == ("completed", {"x": 1})
