"""The order example's definition, played by hand: what each way through it comes to. The demo plays it for real."""

from __future__ import annotations

from typing import Any

import pytest

from domain.definition.document import read_document
from domain.events import BusinessStatusChanged, CompensationStarted, StepScheduled, StepStarted
from tests.domain.given import ID, Run, program_of
from tests.examples.processes import ROOT

PROGRAM = program_of(read_document((ROOT / "examples/order/order.yaml").read_text()).tree)
PAID = {"paymentId": "pay_1", "status": "completed", "amount": 4_200}
RESERVED = {"reservationId": "res_1", "expiresAt": "2026-01-02T12:00:00Z"}
SHIPPED = {"shipmentId": "shp_1", "trackingNumber": "trk_1"}
SMALL, LARGE = 100_000, 100_001  # minor units; an approval is asked above the first


def order(amount: int = SMALL, **more: Any) -> Run:
    """An order that has just been started."""
    address = {"street": "1 Fermata Way", "city": "Cremona"}
    items = [{"sku": "CELLO-STRINGS", "quantity": 1}]
    input = {"orderId": "o-1", "amount": amount, "paymentMethod": "card", "email": "ada@example.org"}
    return Run(PROGRAM).start({**input, "items": items, "shippingAddress": address, **more})


def reserved(amount: int = SMALL, **more: Any) -> Run:
    return order(amount, **more).complete("charge", PAID).complete("reserve", RESERVED)


def business_statuses(run: Run) -> list[str]:
    return [event.to for event in run.all(BusinessStatusChanged)]


def test_an_order_goes_from_charging_to_confirming_and_ends_with_its_result() -> None:
    """S022, S119, S126: in this order, each step with what the ones before it brought."""
    run = reserved().complete("ship", SHIPPED)
    assert run.input == {"to": "ada@example.org", "trackingNumber": "trk_1"}
    run.complete("confirm", {})
    assert [event.execution for event in run.all(StepStarted)] == [
        "charge#1",
        "reserve#1",
        "ship#1",
        "confirm#1",
    ]
    assert (run.status, run.state.outcome) == ("completed", "succeeded")
    assert run.state.result == {
        "orderId": "o-1",
        "status": "completed",
        "paymentId": "pay_1",
        "shipmentId": "shp_1",
        "trackingNumber": "trk_1",
    }


def test_the_data_keeps_the_results_of_all_steps_beside_the_input() -> None:
    """S067, S083, S132: the reservation with the time until which it is held."""
    run = reserved().complete("ship", SHIPPED)
    asked = next(event.input for event in run.all(StepScheduled) if event.step == "reserve")
    assert asked["holdFor"] == "24h"
    data = run.state.data
    assert (data["payment"], data["inventory"], data["shipping"]) == (PAID, RESERVED, SHIPPED)
    assert data["input"]["orderId"] == "o-1"


def test_every_business_status_of_the_brief_is_reached() -> None:
    """S124."""
    shipped = reserved(LARGE).signal("approval", {"decision": "approved"}).complete("ship", SHIPPED)
    assert business_statuses(shipped) == [
        "processing_payment",
        "reserving_inventory",
        "awaiting_approval",
        "scheduling_shipment",
        "sending_confirmation",
    ]
    cancelled = reserved(LARGE).signal("cancelOrder", {"reason": "found it cheaper"}).serve()
    assert business_statuses(cancelled)[-2:] == ["compensating", "cancelled"]


@pytest.mark.parametrize(("tier", "service"), [("premium", "express"), ("standard", "standard")])
def test_premium_customers_get_it_by_express(tier: str, service: str) -> None:
    """S133."""
    run = reserved(customerTier=tier)
    assert run.input["service"] == service
    assert run.state.labels == {"tier": tier}


def test_a_day_after_paying_is_what_shipping_is_told() -> None:
    """S167, S172–S176: the deadline counts from the charge, and what is left of it hurries the last hour."""
    calm = reserved()
    assert calm.input["mustShipBy"] == "2026-01-02T12:00:00.000000Z"
    scheduled = calm.last(StepScheduled)
    assert scheduled.timeouts is not None
    assert (scheduled.priority, scheduled.timeouts.start_to_close_ms) == ("normal", 23.5 * 3_600_000)

    hurried = order().complete("charge", PAID).later("23.5h").complete("reserve", RESERVED)
    scheduled = hurried.last(StepScheduled)
    assert scheduled.timeouts is not None
    assert (scheduled.priority, scheduled.timeouts.start_to_close_ms) == ("high", 5 * 60_000)
    assert hurried.input["service"] == "express"


def test_only_a_large_order_waits_for_an_approver() -> None:
    """S178."""
    assert reserved(SMALL).handed_out == ["ship"]
    waiting = reserved(LARGE)
    assert (waiting.status, waiting.handed_out) == ("waiting", [])


def approve(run: Run) -> None:
    run.signal("approval", {"decision": "approved"}).serve({"ship": SHIPPED})


def reject(run: Run) -> None:
    run.signal("approval", {"decision": "rejected"}).serve()


def nobody_answers(run: Run) -> None:
    run.later("24h").time_out("approval")
    run.serve()


def change_of_mind(run: Run) -> None:
    run.signal("cancelOrder", {"reason": "found it cheaper"}).serve()


@pytest.mark.parametrize(
    ("what_happens", "outcome", "reason"),
    [
        (approve, "succeeded", None),
        (reject, "cancelled", "Order rejected by approver"),
        (nobody_answers, "cancelled", "Approval timeout"),
        (change_of_mind, "cancelled", "found it cheaper"),
    ],
)
def test_a_large_order_ends_as_the_approver_and_the_customer_say(
    what_happens: Any, outcome: str, reason: str | None
) -> None:
    """S120, S127, S161, S179–S182: and what was done is undone, the reason with it."""
    run = reserved(LARGE)
    what_happens(run)
    assert run.state.outcome == outcome
    if reason is None:
        return
    assert run.state.result == {"orderId": "o-1", "status": "cancelled", "reason": reason}
    assert run.last(CompensationStarted).executions == ["reserve#1", "charge#1"]
    refund = next(event.input for event in run.all(StepScheduled) if event.step == "refund")
    assert refund == {"paymentId": "pay_1", "amount": LARGE, "reason": reason}


def test_a_closed_warehouse_undoes_back_to_the_goods_and_asks_again() -> None:
    """S023, S031: what was reserved stays, and the order goes on."""
    run = reserved().fail_for_good("ship", "WarehouseClosedError", "closed")
    assert run.last(CompensationStarted).executions == []
    assert (run.status, list(run.state.undo)) == ("waiting", ["charge#1", "reserve#1"])
    run.signal("approval", {"decision": "approved"})
    assert run.execution("ship") == "ship#2"


def test_a_confirmation_that_cannot_be_sent_undoes_no_good_order() -> None:
    """S040, S148."""
    run = reserved().complete("ship", SHIPPED).fail_for_good("confirm", "NoSuchAddressError")
    assert (run.state.id, run.state.outcome) == (ID, "succeeded")
