"""The order in all the forms that the brief gives it, each a definition of its own, run by the loop under a clock that
tests move: plain, with timeouts and a deadline, with an approval, with periodic checks. What is asserted is stored."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from domain.definition.parse import read_definition
from domain.events import (
    AlertRaised,
    BusinessStatusChanged,
    CompensationStarted,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DecisionMade,
    SignalHandled,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
    WaitEnded,
    WaitStarted,
)
from tests.brief.played import Play, at, playing
from tests.examples.processes import ROOT

FORMS = ("plain", "deadlines", "approval", "checks")
ADDRESS = {"street": "1 Fermata Way", "city": "Cremona"}
ORDER = {
    "orderId": "o-1",
    "amount": 100_000,
    "items": [{"sku": "CELLO-STRINGS"}],
    "shippingAddress": ADDRESS,
    "email": "ada@example.org",
}
PAID = {"paymentId": "pay_1", "status": "completed", "amount": 100_000}
RESERVED = {"reservationId": "res_1", "expiresAt": "2026-03-02T12:00:00Z"}
SHIPPED = {"shipmentId": "shp_1", "trackingNumber": "trk_1"}
HOUR_MS = 3_600_000


def order(form: str, **more: Any) -> AbstractAsyncContextManager[Play]:
    """An order of that form that has just been started."""
    return playing((ROOT / f"examples/order/{form}.yaml").read_text(), {**ORDER, **more})


@pytest.mark.parametrize("form", FORMS)
def test_every_form_deploys_without_findings(form: str) -> None:
    name = f"examples/order/{form}.yaml"
    assert read_definition((ROOT / name).read_text(), name).findings == []


# Plain -------------------------------------------------------------------------------


async def to_confirmation(play: Play) -> None:
    await play.complete("processPayment", PAID)
    await play.complete("reserveInventory", RESERVED)
    await play.complete("scheduleShipment", SHIPPED)


async def test_plain_pay_reserve_ship_confirm() -> None:
    """S001, S022, S119, S124, S126."""
    async with order("plain") as play:
        await to_confirmation(play)
        await play.complete("sendOrderConfirmation")
        assert [event.execution for event in await play.all(StepCompleted)] == [
            "processPayment#1",
            "reserveInventory#1",
            "scheduleShipment#1",
            "sendOrderConfirmation#1",
        ]
        assert await play.statuses() == ["pending", "running", "completed"]
        assert [event.to for event in await play.all(BusinessStatusChanged)] == [
            "processing_payment",
            "reserving_inventory",
            "scheduling_shipment",
            "sending_confirmation",
        ]
        assert (await play.last(StatusChanged)).result == {
            "orderId": "o-1",
            "status": "completed",
            "paymentId": "pay_1",
            "shipmentId": "shp_1",
            "trackingNumber": "trk_1",
        }


async def test_plain_what_each_step_is_told_comes_from_the_data() -> None:
    """S033, S132, S133: and the results of all steps stay beside the input."""
    async with order("plain", customerTier="premium") as play:
        await to_confirmation(play)
        assert await play.input_of("processPayment") == {"orderId": "o-1", "amount": 100_000}
        assert (await play.input_of("reserveInventory"))["holdFor"] == "24h"
        assert (await play.input_of("scheduleShipment"))["service"] == "express"
        assert await play.input_of("sendOrderConfirmation") == {
            "to": "ada@example.org",
            "trackingNumber": "trk_1",
        }
        data = (await play.get())["data"]
        assert (data["payment"], data["inventory"], data["shipping"]) == (PAID, RESERVED, SHIPPED)
        assert data["inventory"]["expiresAt"] == "2026-03-02T12:00:00Z"
        assert data["input"]["orderId"] == "o-1"


@pytest.mark.parametrize(("tier", "service"), [("premium", "express"), ("standard", "standard")])
async def test_plain_the_tier_chooses_the_service(tier: str, service: str) -> None:
    """S133."""
    async with order("plain", customerTier=tier) as play:
        await play.complete("processPayment", PAID)
        await play.complete("reserveInventory", RESERVED)
        assert (await play.input_of("scheduleShipment"))["service"] == service


async def test_plain_a_failed_shipment_undoes_the_rest_in_reverse() -> None:
    """S154–S157, S159: each undo with the result of its step, the refund with the reason."""
    async with order("plain") as play:
        await play.complete("processPayment", PAID)
        await play.complete("reserveInventory", RESERVED)
        await play.fail("scheduleShipment", "AddressUndeliverableError", "no such street")
        assert await play.serve() == ["inventoryRelease", "paymentRefund"]
        assert await play.undone() == ["reserveInventory#1", "processPayment#1"]
        assert await play.input_of("inventoryRelease") == {"reservationId": "res_1"}
        assert await play.input_of("paymentRefund") == {
            "paymentId": "pay_1",
            "amount": 100_000,
            "reason": "no such street",
        }
        assert (await play.get())["outcome"] == "compensated"


async def test_plain_a_cancel_between_steps_starts_no_other() -> None:
    """S120, S125, S127, S177: without a reason of the customer's it is 'Workflow cancelled'."""
    async with order("plain") as play:
        await play.complete("processPayment", PAID)
        await play.signal("cancelOrder", {})
        started = await play.last(CompensationStarted)
        assert (started.trigger, started.reason) == ("cancel", "Workflow cancelled")
        assert await play.serve() == ["paymentRefund"]
        assert (await play.input_of("paymentRefund"))["reason"] == "Workflow cancelled"
        assert await play.all(StepStarted, "reserveInventory") == []
        ended = await play.last(StatusChanged)
        assert (ended.outcome, ended.reason) == ("cancelled", "Workflow cancelled")
        assert ended.result == {"orderId": "o-1", "status": "cancelled", "reason": "Workflow cancelled"}
        assert (await play.last(BusinessStatusChanged)).to == "cancelled"


async def test_plain_a_customer_who_moves_gets_it_at_the_new_address() -> None:
    """S121: the payload is recorded, and changes the data for the steps to come."""
    async with order("plain") as play:
        await play.complete("processPayment", PAID)
        await play.signal("updateShipping", {"city": "Bologna"})
        handled = await play.last(SignalHandled)
        assert (handled.do, handled.data) == ("set", {"shippingAddress": {"city": "Bologna"}})
        await play.complete("reserveInventory", RESERVED)
        assert (await play.input_of("scheduleShipment"))["address"] == {"city": "Bologna"}


# With timeouts and a deadline --------------------------------------------------------------


async def with_goods(play: Play, when: str) -> None:
    """The goods arrive that long after the start of the order."""
    await play.until(when)
    await play.signal("goodsArrived")


async def limits(play: Play, step: str) -> tuple[str, int | None]:
    scheduled = await play.last(StepScheduled, step)
    assert scheduled.timeouts is not None
    return scheduled.priority, scheduled.timeouts.start_to_close_ms


async def test_deadlines_a_calm_order() -> None:
    """S172–S176: a day is left."""
    async with order("deadlines") as play:
        await with_goods(play, "1h")
        assert (await play.last(DecisionMade)).next == "pay"
        assert await limits(play, "pay") == ("normal", 30_000)
        assert (await play.take("pay"))["priority"] == "normal"
        await play.complete("pay", PAID)
        assert await limits(play, "ship") == ("normal", 22.5 * HOUR_MS)
        task = await play.take("ship")
        assert task["input"] == {
            "orderId": "o-1",
            "mustShipBy": "2026-03-02T12:00:00.000000Z",
            "service": "standard",
        }
        await play.complete("ship", SHIPPED)
        assert [event.name for event in await play.all(DeadlineMet)] == ["shipBy"]
        assert await play.all(DeadlineEscalated) == []
        assert (await play.get())["outcome"] == "succeeded"


async def test_deadlines_an_expedited_order() -> None:
    """S172–S176: less than an hour is left, so another way, less patience, a high priority that reaches the queue, the
    express service, and five minutes at least."""
    async with order("deadlines") as play:
        await with_goods(play, "23h")
        assert (await play.last(DecisionMade)).next == "pay", "an hour is not less than an hour"
    async with order("deadlines") as play:
        await with_goods(play, "23.1h")
        assert (await play.last(DecisionMade)).next == "expedite"
        await play.complete("expedite")
        assert await limits(play, "pay") == ("high", 10_000)
        [row] = [row for row in await play.owed() if row.kind == "invoke"]
        assert row.priority == 0, "the most urgent that there is"
        await play.complete("pay", PAID)
        assert await limits(play, "ship") == ("high", 0.4 * HOUR_MS), "54 minutes less 30"
        assert (await play.take("ship"))["input"]["service"] == "express"
        await play.complete("ship", SHIPPED)


async def test_deadlines_shipping_has_five_minutes_at_least() -> None:
    """S175."""
    async with order("deadlines") as play:
        await with_goods(play, "23.9h")
        await play.complete("expedite")
        await play.complete("pay", PAID)
        assert await limits(play, "ship") == ("high", 5 * 60_000), "six minutes less 30 are none"
        await play.take("ship")
        await play.wait("20s")
        assert (await play.last(StepFailed)).timeout == "heartbeat"
        await play.complete("ship", SHIPPED)


async def test_deadlines_it_escalates_at_50_80_and_100_percent() -> None:
    """S167: an event and an alert each, at their time and once; then it is missed."""
    async with order("deadlines") as play:
        await play.until("30h")
        assert [event.percent for event in await play.all(DeadlineEscalated)] == [50, 80, 100]
        assert await play.times(DeadlineEscalated) == ["43200s", "69120s", "86400s"]
        assert await play.times(DeadlineMissed) == ["86400s"]
        alerts = [(alert.alert_id, alert.severity) for alert in await play.all(AlertRaised)]
        assert alerts == [
            ("@deadline/shipBy/50", "medium"),
            ("@deadline/shipBy/80", "high"),
            ("@deadline/shipBy/100", "high"),
            ("@deadline/shipBy/missed", "high"),
        ]
        await play.until("36h")
        assert (await play.get())["error"]["type"] == "NoGoodsError"


async def test_deadlines_a_payment_that_times_out_has_a_way_of_its_own() -> None:
    """S163, S171: three attempts of thirty seconds, then the handler for timeouts, not the rollback."""
    async with order("deadlines") as play:
        await with_goods(play, "1h")
        for _ in range(3):
            await play.take("pay")
            await play.wait("30s")
        assert [event.timeout for event in await play.all(StepFailed)] == ["startToClose"] * 3
        assert (await play.get())["currentStep"] == "payLater"
        await play.signal("paid", PAID)
        assert await play.offered() == ["ship"]
        await play.complete("ship", SHIPPED)
        assert await play.all(CompensationStarted) == []


async def test_deadlines_the_whole_order_has_a_limit() -> None:
    """S164: and is undone before it fails."""
    async with order("deadlines") as play:
        await with_goods(play, "30h")
        await play.complete("expedite")
        await play.complete("pay", PAID)
        await play.until("47h")
        assert (await play.get())["status"] == "running"
        await play.until("48h")
        assert (await play.last(CompensationStarted)).reason == "Workflow timeout exceeded"
        assert await play.serve() == ["refund"]
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome) == ("failed", "timed_out")


# With an approval ------------------------------------------------------------------------


async def test_approval_only_above_the_threshold() -> None:
    """S178."""
    async with order("approval", amount=100_000) as play:
        await play.complete("pay", PAID)
        assert await play.offered() == ["ship"]
        assert await play.all(WaitStarted) == []
    async with order("approval", amount=100_001) as play:
        await play.complete("pay", PAID)
        assert await play.offered() == []
        assert (await play.get())["businessStatus"] == "awaiting_approval"
        assert (await play.last(WaitStarted)).until == at("24h")


async def large(play: Play) -> None:
    await play.complete("pay", PAID)
    await play.wait("1h")


async def test_approval_approved_it_goes_on() -> None:
    """S182, S179."""
    async with order("approval", amount=250_000) as play:
        await large(play)
        await play.signal("approval", {"decision": "approved", "by": "ada"})
        assert (await play.last(WaitEnded)).by == "signal"
        assert (await play.get())["data"]["approval"] == {"decision": "approved", "by": "ada"}
        assert await play.serve(ship=SHIPPED) == ["ship"]
        assert (await play.last(StatusChanged)).outcome == "succeeded"


async def undone_for(play: Play, reason: str) -> None:
    """The payment is given back for that reason, which the result has too."""
    assert (await play.last(CompensationStarted)).reason == reason
    assert await play.serve() == ["refund"]
    expected = {"paymentId": "pay_1", "amount": 250_000, "reason": reason}
    assert await play.input_of("refund") == expected
    ended = await play.last(StatusChanged)
    assert (ended.to, ended.outcome, ended.reason) == ("completed", "cancelled", reason)
    assert ended.result == {"orderId": "o-1", "status": "cancelled", "reason": reason}
    assert await play.all(StepScheduled, "ship") == []


async def test_approval_rejected() -> None:
    """S181, S161."""
    async with order("approval", amount=250_000) as play:
        await large(play)
        await play.signal("approval", {"decision": "rejected"})
        await undone_for(play, "Order rejected by approver")


async def test_approval_nobody_answers() -> None:
    """S180, S179, S161: after a day, and not before."""
    async with order("approval", amount=250_000) as play:
        await large(play)
        await play.until("23.99h")
        assert (await play.get())["status"] == "waiting"
        await play.until("24h")
        assert (await play.last(WaitEnded)).by == "timer"
        await undone_for(play, "Approval timeout")


async def test_approval_the_customer_cancels_while_it_waits() -> None:
    """S177, S161."""
    async with order("approval", amount=250_000) as play:
        await large(play)
        await play.signal("cancelOrder", {})
        await undone_for(play, "Workflow cancelled")


# With periodic checks ----------------------------------------------------------------------


async def looks(play: Play, *, minutes: int) -> None:
    """The watch looks in after each of so many minutes."""
    for _ in range(minutes):
        await play.wait("1m")
        await play.complete("look")


async def test_checks_every_minute_beside_the_flow() -> None:
    """S183: between two looks nothing is handed out and nothing is written."""
    async with order("checks") as play:
        await play.take("pay")
        await looks(play, minutes=4)
        assert await play.times(StepStarted, "look") == ["60s", "120s", "180s", "240s"]
        before = len(await play.topics())
        await play.wait("59s")
        assert len(await play.topics()) == before
        await play.complete("pay", PAID)
        await play.complete("ship", SHIPPED)
        assert (await play.get())["outcome"] == "succeeded"


async def test_checks_a_slow_step_is_named_once() -> None:
    """S184: the workflow, the step, and how long it has been at it."""
    async with order("checks") as play:
        await play.take("pay")
        await looks(play, minutes=4)
        assert await play.all(AlertRaised) == []
        await looks(play, minutes=6)
        (alert,) = await play.all(AlertRaised)
        assert await play.times(AlertRaised) == ["300s"]
        assert (alert.step, alert.message) == ("pay", "pay has been running for 300000 ms")
        await play.complete("pay", PAID)
        await play.take("ship")
        await looks(play, minutes=6)
        assert [alert.step for alert in await play.all(AlertRaised)] == ["pay", "ship"]
        await play.complete("ship", SHIPPED)


async def test_checks_the_hard_limit() -> None:
    """S185, S164."""
    async with order("checks") as play:
        await play.take("pay")
        await play.until("59.9m")
        assert (await play.get())["status"] == "running"
        await play.until("60m")
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.reason) == ("failed", "timed_out", "Workflow timeout exceeded")
        assert await play.owed() == []


@pytest.mark.parametrize("well", [True, False])
async def test_checks_the_watch_stops_with_the_flow(well: bool) -> None:
    """S186: on success and on error; the table of what is owed is empty."""
    async with order("checks") as play:
        await play.complete("pay", PAID)
        await looks(play, minutes=2)
        if well:
            await play.complete("ship", SHIPPED)
        else:
            await play.fail("ship", "NoTruckError", retryable=False)
            assert await play.timers() == [], "not even while it is undone"
            assert await play.serve() == ["refund"]
        assert (await play.get())["outcome"] == ("succeeded" if well else "compensated")
        assert await play.owed() == []
        version = len(await play.topics())
        await play.wait("2h")
        assert len(await play.topics()) == version


async def test_checks_a_watch_that_gives_up_does_not_end_the_order() -> None:
    async with order("checks") as play:
        await play.wait("1m")
        await play.complete("look", {"enough": True})
        await play.wait("10m")
        assert await play.times(StepStarted, "look") == ["60s"]
        await play.complete("pay", PAID)
        await play.complete("ship", SHIPPED)
        assert (await play.get())["outcome"] == "succeeded"
