"""Rows S111–S133: what a store must promise, and the worked order. Lists by SQL and HTTP: tests/api/test_lists.py."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from domain.calls import Answer as ServiceAnswer
from domain.calls import Failed, ServiceCall, StepError, Succeeded
from domain.events import (
    BusinessStatusChanged,
    CompensationStarted,
    SignalHandled,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
)
from engine.ports import Batch, CommitUnknownError, StoreUnavailableError
from tests.brief.played import Play, playing
from tests.engine.world import FakeService, World
from tests.examples.processes import ROOT

ORDER = (ROOT / "examples/order/order.yaml").read_text()
PLAIN = (ROOT / "examples/order/plain.yaml").read_text()
INPUT: dict[str, Any] = {
    "orderId": "o-1",
    "amount": 4_200,
    "paymentMethod": "card",
    "items": [{"sku": "CELLO-STRINGS"}],
    "shippingAddress": {"city": "Cremona"},
    "email": "ada@example.org",
}
LARGE = {**INPUT, "amount": 250_000}
PAID = {"paymentId": "p-1", "status": "completed"}
RESERVED = {"reservationId": "r-1", "expiresAt": "2026-03-02T12:00:00Z"}
SHIPPED = {"shipmentId": "s-1", "trackingNumber": "t-1"}


async def reserved(play: Play) -> None:
    await play.complete("charge", PAID)
    await play.complete("reserve", RESERVED)


async def test_a_step_cannot_complete_without_its_result_stored() -> None:
    """S112, S111: the store refuses every write once; what is shown is what is stored, then and afterwards."""
    async with playing(ORDER, INPUT) as play:
        for step, output in (("charge", PAID), ("reserve", RESERVED), ("ship", SHIPPED)):
            task = await play.take(step)
            before, shown = await play.topics(), await play.get(include="history")
            play.world.faults.before = refuses
            body = {"results": [{"token": task["token"], "output": output}]}
            await play.ask("POST", "/v1/tasks/complete", body, 503)
            play.world.faults.before = None
            assert await play.topics() == before
            assert await play.get(include="history") == shown
            assert step not in shown["completedSteps"]
            assert await play.completes(task, output) == "accepted"
            assert (await play.last(StepCompleted)).output == output
            assert step in (await play.get())["completedSteps"]
        await play.serve()


async def refuses(_: Batch) -> None:
    raise StoreUnavailableError(problem="a test took it away")


async def test_a_write_of_which_nobody_heard_is_not_made_twice() -> None:
    """S112: it was stored, and the word of it was lost; the result counts once, and is answered as accepted."""
    async with playing(ORDER, INPUT) as play:
        faults, unheard = play.world.faults, list[Batch]()

        async def lost(batch: Batch) -> None:
            faults.after = None
            unheard.append(batch)
            raise CommitUnknownError

        for step, output in (("charge", PAID), ("reserve", RESERVED), ("ship", SHIPPED)):
            task = await play.take(step)
            faults.after = lost
            assert await play.completes(task, output) == "accepted"
            outputs = [event.output for event in await play.all(StepCompleted)]
            assert outputs.count(output) == 1
        assert len(unheard) == 3
        await play.serve()


async def test_the_order_pays_reserves_ships_and_confirms() -> None:
    """S119, S126, S132: with the reservation's expiry in the data, and its result."""
    async with playing(ORDER, INPUT) as play:
        await reserved(play)
        assert (await play.input_of("reserve"))["holdFor"] == "24h"
        assert (await play.get())["data"]["inventory"]["expiresAt"] == "2026-03-02T12:00:00Z"
        await play.complete("ship", SHIPPED)
        await play.complete("confirm")
        assert [event.execution for event in await play.all(StepCompleted)] == [
            "charge#1",
            "reserve#1",
            "ship#1",
            "confirm#1",
        ]
        assert (await play.last(StatusChanged)).result == {
            "orderId": "o-1",
            "status": "completed",
            "paymentId": "p-1",
            "shipmentId": "s-1",
            "trackingNumber": "t-1",
        }


async def test_cancel_order_compensates_between_steps() -> None:
    """S120, S125, S127: no new step begins; the result has the reason."""
    async with playing(ORDER, INPUT) as play:
        await reserved(play)
        await play.signal("cancelOrder", {"reason": "found it cheaper"})
        assert (await play.last(CompensationStarted)).executions == ["reserve#1", "charge#1"]
        assert await play.serve() == ["release", "refund"]
        assert await play.all(StepStarted, "ship") == []
        ended = await play.last(StatusChanged)
        assert ended.result == {"orderId": "o-1", "status": "cancelled", "reason": "found it cheaper"}


async def test_update_shipping_carries_an_address() -> None:
    """S121: recorded, and used by the step to come."""
    async with playing(ORDER, INPUT) as play:
        await play.complete("charge", PAID)
        await play.signal("updateShipping", {"city": "Bologna"})
        handled = await play.last(SignalHandled)
        assert (handled.do, handled.data) == ("set", {"shippingAddress": {"city": "Bologna"}})
        await play.complete("reserve", RESERVED)
        assert (await play.input_of("ship"))["address"] == {"city": "Bologna"}
        await play.serve(ship=SHIPPED)


async def test_status_and_history_can_be_asked_at_any_time() -> None:
    """S122, S123: getStatus and getHistory."""
    async with playing(ORDER, INPUT) as play:
        for step, output, business in (
            ("charge", PAID, "processing_payment"),
            ("reserve", RESERVED, "reserving_inventory"),
            ("ship", SHIPPED, "scheduling_shipment"),
            ("confirm", {}, "sending_confirmation"),
        ):
            view = await play.get(include="history")
            assert (view["status"], view["businessStatus"], view["currentStep"]) == (
                "running",
                business,
                step,
            )
            await play.complete(step, output)
        history = (await play.get("/history"))["executions"]
        assert [each["stepId"] for each in history] == [
            "charge",
            "isPaidFor",
            "reserve",
            "needsApproval",
            "ship",
            "confirm",
        ]
        assert {each["status"] for each in history} == {"completed"}


async def test_all_seven_business_statuses_stand_beside_the_engines() -> None:
    """S124."""
    async with playing(ORDER, LARGE) as play:
        await reserved(play)
        view = await play.get()
        assert (view["status"], view["businessStatus"]) == ("waiting", "awaiting_approval")
        await play.signal("approval", {"decision": "approved"})
        await play.serve(ship=SHIPPED)
        reached = [event.to for event in await play.all(BusinessStatusChanged)]
    async with playing(ORDER, LARGE) as play:
        await reserved(play)
        await play.signal("cancelOrder", {"reason": "no"})
        assert (await play.get())["businessStatus"] == "compensating"
        await play.serve()
        assert (await play.get())["businessStatus"] == "cancelled"
        reached += [event.to for event in await play.all(BusinessStatusChanged)]
    assert set(reached) == {
        "processing_payment",
        "reserving_inventory",
        "scheduling_shipment",
        "sending_confirmation",
        "awaiting_approval",
        "compensating",
        "cancelled",
    }


class Flaky(FakeService):
    """Every step fails so many times before it succeeds."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    async def call(self, call: ServiceCall) -> ServiceAnswer:
        self.calls.append(call)
        if call.attempt <= self._times:
            return Failed(StepError(type="NobodyKnowsThisError", message="boom"))
        return Succeeded({"paymentId": "p", "reservationId": "r", "shipmentId": "s", "trackingNumber": "t"})


async def test_each_activity_has_its_own_policy_and_timeout_apart_from_the_flow() -> None:
    """S128: whoever serves them; the first two attempts of each fail."""
    service = Flaky(2)
    async with World(connector=service) as world:
        await world.deploy(PLAIN)
        id = (await world.start("order-plain", INPUT)).instance_id
        await world.pass_time(60)
        starts: dict[str, list[float]] = {}
        zero = (await world.state(id)).created_at
        assert zero is not None
        for event in await world.log(id):
            if isinstance(event, StepStarted) and event.at is not None:
                starts.setdefault(event.execution, []).append((event.at - zero).total_seconds())
        gaps = {name: [round(b - a, 3) for a, b in pairwise(times)] for name, times in starts.items()}
        assert gaps == {
            "processPayment#1": [1, 2],
            "reserveInventory#1": [0.1, 0.15],
            "scheduleShipment#1": [5, 10],
        }
        told = {
            (call.step, call.timeout_ms, call.retry_policy and call.retry_policy.max_attempts)
            for call in service.calls
        }
        assert told == {
            ("processPayment", 30_000, 3),
            ("reserveInventory", 10_000, 5),
            ("scheduleShipment", 30_000, 3),
        }
        await world.check(id)


async def test_one_idempotency_key_for_all_attempts_and_for_no_other_step() -> None:
    """S129: a unique id that the engine gives; another visit of the step has another one."""
    service = Flaky(2)
    async with World(connector=service) as world:
        await world.deploy(PLAIN)
        id = (await world.start("order-plain", INPUT)).instance_id
        await world.pass_time(60)
        keys: dict[str, set[str]] = {}
        for call in service.calls:
            keys.setdefault(call.step, set()).add(call.idempotency_key)
        assert keys == {
            "processPayment": {f"{id}/processPayment#1"},
            "reserveInventory": {f"{id}/reserveInventory#1"},
            "scheduleShipment": {f"{id}/scheduleShipment#1"},
        }
        assert len(service.calls) == 9


async def test_a_typed_final_failure_keeps_its_details() -> None:
    """S130: PaymentDeclinedError with its declineReason, and no second attempt."""
    details = {"declineReason": "insufficient funds"}
    async with playing(ORDER, INPUT) as play:
        await play.fail("charge", "PaymentDeclinedError", "declined", code="51", details=details)
        (failed,) = await play.all(StepFailed)
        assert (failed.error.type, failed.error.code, failed.error.details) == (
            "PaymentDeclinedError",
            "51",
            details,
        )
        assert failed.retry_at is None
        assert len(await play.all(StepScheduled, "charge")) == 1
        view = await play.get()
        assert (view["status"], view["error"]["details"]) == ("failed", details)


async def test_unknown_errors_are_retryable() -> None:
    """S131."""
    async with playing(ORDER, INPUT) as play:
        await play.fail("charge", "NobodyKnowsThisError")
        assert (await play.last(StepFailed)).retry_at is not None
        assert await play.offered() == ["charge"]
        await play.complete("charge", PAID)
        await play.serve(ship=SHIPPED)
        assert (await play.get())["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("tier", "service"), [("premium", "express"), ("standard", "standard"), (None, "standard")]
)
async def test_the_customers_tier_chooses_the_service(tier: str | None, service: str) -> None:
    """S133."""
    async with playing(ORDER, INPUT if tier is None else {**INPUT, "customerTier": tier}) as play:
        await reserved(play)
        assert (await play.input_of("ship"))["service"] == service
        await play.serve(ship=SHIPPED)
