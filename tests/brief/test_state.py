"""Rows S066–S098: what can be read of an instance and of its executions, over HTTP, field by field."""

from __future__ import annotations

from typing import Any

from domain.events import StatusChanged, StepCompleted, StepFailed, StepScheduled, StepStarted
from tests.brief.played import NOT_YET, Play, playing

ORDER = """
timeout: 24h
labels: {customer: $.input.customer}
steps:
  - {id: payment, name: Process payment, type: task, action: worker:pay/pay, timeout: 30s, compensateWith: refund,
     next: inventory}
  - {id: inventory, type: task, action: worker:reserve/reserve, timeout: 1m, compensateWith: release, next: shipping}
  - {id: shipping, type: task, action: worker:ship/ship, timeout: 5m, scheduleToStart: 2m,
     retryPolicy: {maxAttempts: 2, initialInterval: 5s}, next: approval}
  - {id: approval, type: wait, signal: approval, for: 12h}
  - {id: refund, type: task, action: worker:refund/refund, timeout: 30s}
  - {id: release, type: task, action: worker:release/release, timeout: 30s}
"""
PAID, RESERVED, SHIPPED = {"paymentId": "p-1"}, {"reservationId": "r-1"}, {"trackingNumber": "t-1"}
INPUT = {"orderId": "o-1", "customer": "ada"}


def moment(seconds: int) -> str:
    return f"2026-03-01T12:{seconds // 60:02}:{seconds % 60:02}.000000Z"


async def entries(play: Play) -> dict[str, Any]:
    return {each["execution"]: each for each in (await play.get("/history"))["executions"]}


async def test_the_position_is_current_completed_and_pending() -> None:
    """S066, S081, S090: three lists, and what could be undone, at every step of the way."""
    async with playing(ORDER, INPUT) as play:
        seen = []
        for step in ("payment", "inventory", "shipping"):
            view = await play.get()
            seen.append((view["currentStep"], view["completedSteps"], view["pendingSteps"]))
            await play.take(step)
            assert (await play.get())["pendingSteps"] == []
            await play.complete(step)
        assert seen == [
            ("payment", [], ["payment"]),
            ("inventory", ["payment"], ["inventory"]),
            ("shipping", ["payment", "inventory"], ["shipping"]),
        ]
        view = await play.get()
        assert (view["currentStep"], view["completedSteps"]) == (
            "approval",
            ["payment", "inventory", "shipping"],
        )
        assert view["completedCompensableSteps"] == ["payment", "inventory"]
        await play.signal("approval")
        assert (await play.get())["currentStep"] is None


async def test_a_scope_completes_after_what_is_in_it() -> None:
    """S066: also when one result completes a step, the map and the branches around it, and leads on."""
    text = """
steps:
  - id: both
    type: parallel
    branches:
      goods: [{id: pack, type: map, items: $.input.lines, steps: [{id: box, type: task, action: worker:q/box}]}]
      papers: [{id: print, type: task, action: worker:q/print}]
    next: check
  - {id: check, type: decision, next: [{next: ship}]}
  - {id: ship, type: task, action: worker:q/ship}
"""
    async with playing(text, {"lines": [1, 2]}) as play:
        await play.complete("both.pack[1].box#1")
        await play.complete("print")
        await play.complete("box")
        assert (await play.get())["completedSteps"] == ["box", "print", "box", "pack", "both", "check"]
        await play.complete("ship")


async def test_results_of_earlier_steps_are_there_beside_the_input() -> None:
    """S067, S082, S083."""
    async with playing(ORDER, INPUT) as play:
        await play.complete("payment", PAID)
        assert (await play.get())["data"] == {"input": INPUT, "payment": PAID}
        await play.complete("inventory", RESERVED)
        await play.complete("shipping", SHIPPED)
        data = (await play.get())["data"]
        assert data == {"input": INPUT, "payment": PAID, "inventory": RESERVED, "shipping": SHIPPED}
        assert [event.data for event in await play.all(StepCompleted)] == [
            {"payment": PAID},
            {"inventory": RESERVED},
            {"shipping": SHIPPED},
        ]


async def test_the_error_state_says_what_failed_how_often_and_what_was_undone() -> None:
    """S068, S084, S097: and `data.lastError` has step, message, code and time."""
    async with playing(ORDER, INPUT) as play:
        await play.complete("payment", PAID)
        await play.complete("inventory", RESERVED)
        await play.fail("shipping", "CarrierDownError", "no answer", code="E7")
        last_error = {"step": "shipping", "message": "no answer", "code": "E7", "timestamp": moment(0)}
        view = await play.get()
        assert view["lastError"] == view["data"]["lastError"] == last_error
        await play.fail("shipping", "CarrierDownError", "still no answer")
        view = await play.get()
        assert view["lastError"] == {
            "step": "shipping",
            "message": "still no answer",
            "code": "CarrierDownError",
            "timestamp": moment(5),
        }
        failed = (await entries(play))["shipping#1"]
        assert (failed["status"], failed["retryCount"], failed["error"]["retryCount"]) == ("failed", 2, 2)
        await play.complete("release")
        await play.fail("refund", "BankClosedError", retryable=False)
        shown = await entries(play)
        assert (shown["inventory#1"]["status"], shown["payment#1"]["status"]) == ("compensated", "completed")
        assert (shown["payment#1/undo"]["status"], shown["payment#1/undo"]["undoes"]) == (
            "failed",
            "payment#1",
        )
        await play.act("retry")
        await play.complete("refund")
        assert (await entries(play))["payment#1"]["status"] == "compensated"


async def test_the_times_of_each_step_and_the_steps_near_their_timeout() -> None:
    """S069, S098: what is timing out stands in the view with the limit that it meets first."""
    async with playing(ORDER, INPUT) as play:
        await play.take("payment")
        near = (await play.get())["nearTimeouts"]
        assert near == [
            {"execution": "payment#1", "stepId": "payment", "timeout": "startToClose", "at": moment(30)}
        ]
        await play.wait("10s")
        await play.complete("payment")
        entry = (await entries(play))["payment#1"]
        assert (entry["startedAt"], entry["completedAt"], entry["durationMs"]) == (
            moment(0),
            moment(10),
            10_000,
        )
        await play.take("inventory")
        await play.wait("20s")
        await play.complete("inventory")
        near = (await play.get())["nearTimeouts"]
        assert [(each["stepId"], each["timeout"], each["at"]) for each in near] == [
            ("shipping", "scheduleToStart", moment(150))
        ]
        entry = (await entries(play))["shipping#1"]
        assert "startedAt" not in entry
        assert "completedAt" not in entry
        await play.complete("shipping")
        assert (await play.get())["nearTimeouts"][0]["timeout"] == "wait"


async def test_the_instance_has_its_ids_and_times() -> None:
    """S071–S074, S086–S089: id, definition, version, correlation id; created, started, completed, times out."""
    async with playing(ORDER, INPUT, correlationId="order-1", startAt="2026-03-01T12:01:00Z") as play:
        view = await play.get()
        assert view["id"] == play.id
        assert (view["definitionName"], view["definitionVersion"]) == ("test", "1")
        assert (view["correlationId"], view["labels"]) == ("order-1", {"customer": "ada"})
        assert (view["createdAt"], view["startedAt"], view["completedAt"]) == (moment(0), None, None)
        assert view["timeoutAt"] == "2026-03-02T12:01:00.000000Z"
        await play.wait("1m")
        assert (await play.get())["startedAt"] == moment(60)
        await play.wait("30s")
        await play.act("terminate")
        view = await play.get()
        assert (view["createdAt"], view["startedAt"], view["completedAt"]) == (
            moment(0),
            moment(60),
            moment(90),
        )
        assert await play.times(StatusChanged) == ["60s", "90s"]


async def test_every_status_is_reached() -> None:
    """S075–S080: pending, running, waiting, completed; and compensating, failed."""
    async with playing(ORDER, INPUT, startAt="2026-03-01T12:01:00Z") as play:
        assert (await play.get())["status"] == "pending"
        await play.wait("1m")
        assert (await play.get())["status"] == "running"
        await play.serve()
        assert (await play.get())["status"] == "waiting"
        await play.signal("approval")
        assert (await play.get())["status"] == "completed"
        assert await play.statuses() == ["pending", "running", "waiting", "running", "completed"]
    async with playing(ORDER, INPUT) as play:
        await play.complete("payment")
        await play.fail("inventory", retryable=False)
        assert (await play.get())["status"] == "compensating"
        await play.fail("refund", retryable=False)
        await play.act("give-up")
        assert (await play.get())["status"] == "failed"
        assert await play.statuses() == ["pending", "running", "compensating", "failed"]


async def test_the_current_step_or_none() -> None:
    """S081."""
    async with playing(ORDER, INPUT, startAt="2026-03-01T12:01:00Z") as play:
        assert (await play.get())["currentStep"] is None
        await play.wait("1m")
        assert (await play.get())["currentStep"] == "payment"
        await play.act("terminate")
        assert (await play.get())["currentStep"] is None


async def test_the_history_has_an_entry_for_every_execution() -> None:
    """S085, S091–S096: with the instance and by itself: step id and name, its status as it goes, input and output."""
    async with playing(ORDER, INPUT) as play:
        assert (await entries(play))["payment#1"]["status"] == "scheduled"
        await play.take("payment")
        entry = (await entries(play))["payment#1"]
        assert (entry["status"], entry["stepId"], entry["stepName"]) == (
            "started",
            "payment",
            "Process payment",
        )
        await play.complete("payment", PAID)
        entry = (await entries(play))["payment#1"]
        assert (entry["status"], entry["input"], entry["output"]) == ("completed", INPUT, PAID)
        await play.fail("inventory", "NoStockError", retryable=False)
        assert (await entries(play))["inventory#1"]["status"] == "failed"
        await play.complete("refund")
        assert (await entries(play))["payment#1"]["status"] == "compensated"
        whole = (await play.get(include="history"))["history"]
        assert whole == list((await entries(play)).values())
        assert [each["execution"] for each in whole] == ["payment#1", "inventory#1", "payment#1/undo"]
        assert [event.step for event in await play.all(StepScheduled)] == ["payment", "inventory", "refund"]


async def test_an_error_has_message_code_and_the_count_of_retries() -> None:
    """S097: of each attempt."""
    async with playing(ORDER, INPUT) as play:
        await play.serve_until("shipping")
        await play.fail("shipping", "CarrierDownError", "no answer", code="E7")
        await play.fail("shipping", "CarrierDownError", "none again")
        attempts = (await entries(play))["shipping#1"]["attempts"]
        assert [each["error"] for each in attempts] == [
            {"type": "CarrierDownError", "message": "no answer", "code": "E7", "retryCount": 1},
            {
                "type": "CarrierDownError",
                "message": "none again",
                "code": "CarrierDownError",
                "retryCount": 2,
            },
        ]
        assert [event.error.message for event in await play.all(StepFailed)] == ["no answer", "none again"]
        await play.serve()


async def test_an_execution_has_its_start_its_end_and_its_duration() -> None:
    """S098: queue time is not in it, back-off is."""
    async with playing(ORDER, INPUT) as play:
        await play.serve_until("shipping")
        await play.wait("7s")
        await play.take("shipping")
        await play.wait("3s")
        await play.fail("shipping")
        await play.take("shipping")
        await play.wait("2s")
        await play.complete("shipping")
        entry = (await entries(play))["shipping#1"]
        assert (entry["scheduledAt"], entry["startedAt"], entry["completedAt"]) == (
            moment(0),
            moment(7),
            moment(17),
        )
        assert entry["durationMs"] == 10_000
        assert [(each["startedAt"], each["endedAt"]) for each in entry["attempts"]] == [
            (moment(7), moment(10)),
            (moment(15), moment(17)),
        ]
        assert await play.times(StepStarted, "shipping") == ["7s", "15s"]


async def test_business_context_goes_with_the_instance() -> None:
    """S070: correlation id, labels and the order's own data; lists search them (tests/api/test_lists.py)."""
    async with playing(ORDER, NOT_YET) as play:
        view = await play.start(INPUT, correlationId="order-1", labels={"region": "eu"})
        assert view["correlationId"] == "order-1"
        assert view["labels"] == {"customer": "ada", "region": "eu"}
        assert view["data"]["input"]["orderId"] == "o-1"
