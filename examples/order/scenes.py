"""Scenes one to six of the demo: what can become of one order. Each asserts what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from examples.order.stage import Stage
from examples.order.telling import Teller
from tenuto import Client

Json = dict[str, Any]
WAIT = 30.0


class Play:
    """What a scene has at hand. `expect` is the demo's assert: it names what did not hold."""

    def __init__(self, stage: Stage, client: Client, teller: Teller) -> None:
        self.stage = stage
        self.client = client
        self.teller = teller
        self.checks = 0
        self._orders = 0

    def expect(self, truth: object, what: str) -> None:
        self.checks += 1
        if not truth:
            raise DemoFailedError(what)

    def order(self, **changes: Any) -> Json:
        """The input of a new order."""
        self._orders += 1
        return {
            "orderId": f"order-{self._orders}",
            "amount": 4_200,
            "paymentMethod": "card-4242",
            "items": [{"sku": "CELLO-STRINGS", "quantity": 1}],
            "shippingAddress": {"street": "1 Fermata Way", "city": "Cremona"},
            "customerTier": "standard",
            "email": "ada@example.org",
            **changes,
        }

    def start(self, order: Json) -> str:
        started = self.client.start("order", order, correlation_id=order["orderId"])
        return started["id"]

    def run(self, order: Json) -> Json:
        """Starts an order, waits for its end and tells its timeline."""
        return self.finish(self.start(order))

    def finish(self, instance_id: str) -> Json:
        view = dict(self.client.wait(instance_id, WAIT))
        self.teller.timeline(self.events(instance_id))
        return view

    def events(self, instance_id: str) -> list[Json]:
        return [dict(event) for event in self.client.events_all(instance_id)]

    def of_type(self, instance_id: str, kind: str) -> list[Json]:
        return [event["payload"] for event in self.events(instance_id) if event["type"] == kind]

    def until_waiting(self, instance_id: str) -> None:
        give_up_at = time.monotonic() + WAIT
        while self.client.instance(instance_id)["status"] != "waiting":
            if time.monotonic() > give_up_at:
                raise DemoFailedError(f"{instance_id} never came to wait for its approval")
            time.sleep(0.02)


class DemoFailedError(Exception):
    """What did not hold."""


def succeeds(play: Play) -> None:
    """1. An order that succeeds"""
    view = play.run(play.order())
    result = view["result"]
    play.expect(view["outcome"] == "succeeded", "the order succeeds")
    play.expect(
        result["status"] == "completed" and result["trackingNumber"], "the result names its tracking number"
    )
    keys = [f"{view['id']}/{step}#1" for step in ("charge", "reserve", "ship", "confirm")]
    seen = [call["key"] for call in play.stage.calls() if call["instance"] == view["id"]]
    play.expect(sorted(seen) == sorted(keys), "each step was called once, under its own key")


def is_declined(play: Play) -> None:
    """2. A declined card: not retryable, nothing to undo"""
    view = play.run(play.order(paymentMethod="declined"))
    play.expect((view["status"], view["outcome"]) == ("failed", "failed"), "the order ends as failed")
    play.expect(view["lastError"]["code"] or view["lastError"]["message"], "the error is kept")
    failures = play.of_type(view["id"], "StepFailed")
    play.expect(len(failures) == 1 and "retryAt" not in failures[0], "it was not tried again")
    error = failures[0]["error"]
    play.expect(error["type"] == "PaymentDeclinedError", "the error has its type")
    play.expect(error["details"]["declineReason"], "with the reason for declining")


def recovers(play: Play) -> None:
    """3. A flaky inventory service: fails twice, is tried again, succeeds"""
    view = play.run(play.order(items=[{"sku": "FLAKY-2", "quantity": 1}]))
    play.expect(view["outcome"] == "succeeded", "the order succeeds in the end")
    failures = play.of_type(view["id"], "StepFailed")
    play.expect(len(failures) == 2, "after two failures")
    calls = [c for c in play.stage.calls() if c["instance"] == view["id"] and c["step"] == "reserve"]
    play.expect(len(calls) == 3 and len({c["key"] for c in calls}) == 1, "three calls under one key")


def is_undone(play: Play) -> None:
    """4. An undeliverable address: inventory is released, then payment refunded"""
    view = play.run(play.order(shippingAddress={"city": "Nowhere"}))
    play.expect(
        (view["status"], view["outcome"]) == ("completed", "compensated"), "everything is compensated"
    )
    undone = [event["undoes"] for event in play.of_type(view["id"], "Compensated")]
    play.expect(undone == ["reserve#1", "charge#1"], "in reverse order")
    outputs = {e["execution"]: e["output"] for e in play.of_type(view["id"], "StepCompleted")}
    inputs = {e["execution"]: e["input"] for e in play.of_type(view["id"], "StepScheduled") if "input" in e}
    play.expect(
        inputs["reserve#1/undo"]["reservationId"] == outputs["reserve#1"]["reservationId"],
        "the release names the reservation",
    )
    play.expect(
        inputs["charge#1/undo"]["paymentId"] == outputs["charge#1"]["paymentId"],
        "the refund names the payment",
    )


def is_cancelled(play: Play) -> None:
    """5a. A customer who changes their mind: the signal cancelOrder between two steps"""
    instance_id = play.start(play.order(amount=250_000))
    play.until_waiting(instance_id)
    play.client.signal(instance_id, "cancelOrder", {"reason": "found it cheaper"})
    view = play.finish(instance_id)
    play.expect((view["status"], view["outcome"]) == ("completed", "cancelled"), "the order is cancelled")
    play.expect(view["result"]["reason"] == "found it cheaper", "for the customer's reason")
    play.expect(not _called(play, instance_id, "ship"), "and nothing was shipped")


def moves_house(play: Play) -> None:
    """5b. A customer who moves: the signal updateShipping with a new address"""
    instance_id = play.start(play.order(amount=250_000))
    play.until_waiting(instance_id)
    play.client.signal(instance_id, "updateShipping", {"street": "2 Coda Road", "city": "Bologna"})
    play.client.signal(instance_id, "approval", {"decision": "approved", "by": "grace"})
    view = play.finish(instance_id)
    shipped = next(e for e in play.of_type(instance_id, "StepScheduled") if e["step"] == "ship")
    play.expect(view["outcome"] == "succeeded", "the order succeeds")
    play.expect(shipped["input"]["address"]["city"] == "Bologna", "and goes to the new address")


def is_approved(play: Play) -> None:
    """6a. A large order waits for approval: approved"""
    instance_id = play.start(play.order(amount=250_000))
    play.until_waiting(instance_id)
    play.client.signal(instance_id, "approval", {"decision": "approved", "by": "grace"})
    play.expect(play.finish(instance_id)["outcome"] == "succeeded", "the approved order succeeds")


def is_rejected(play: Play) -> None:
    """6b. … rejected"""
    instance_id = play.start(play.order(amount=250_000))
    play.until_waiting(instance_id)
    play.client.signal(instance_id, "approval", {"decision": "rejected", "by": "grace"})
    view = play.finish(instance_id)
    play.expect(view["outcome"] == "cancelled", "the rejected order is cancelled")
    play.expect(view["result"]["reason"] == "Order rejected by approver", "for that reason")


def times_out(play: Play) -> None:
    """6c. … and not answered in time"""
    view = play.run(play.order(amount=250_000, approvalWithin="1s"))
    play.expect(view["outcome"] == "cancelled", "the unanswered order is cancelled")
    play.expect(view["result"]["reason"] == "Approval timeout", "for that reason")


def _called(play: Play, instance_id: str, step: str) -> bool:
    return any(call["key"] == f"{instance_id}/{step}#1" for call in play.stage.calls())


SCENES: tuple[Callable[[Play], None], ...] = (
    succeeds,
    is_declined,
    recovers,
    is_undone,
    is_cancelled,
    moves_house,
    is_approved,
    is_rejected,
    times_out,
)
