"""Rows S154–S162: what was done is undone, in reverse, each undo with the result of its step and the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest

from domain.events import (
    AlertRaised,
    Compensated,
    CompensationEnded,
    CompensationFailed,
    CompensationGivenUp,
    CompensationStarted,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepResolved,
    StepScheduled,
)
from tests.brief.played import Play, playing

ORDER = """
signals: {cancelOrder: {do: cancel, reason: $.signal.payload.reason}}
steps:
  - {id: payment, type: task, action: worker:payment/pay, input: {amount: $.input.amount},
     compensateWith: payment_refund, next: inventory}
  - {id: inventory, type: task, action: worker:inventory/reserve, compensateWith: inventory_release, next: approval}
  - {id: approval, type: wait, signal: approval, for: 24h, onTimeout: timedOut, next: isApproved}
  - {id: isApproved, type: decision, next: [{condition: "$.approval == 'yes'", next: shipping}, {next: rejected}]}
  - {id: timedOut, type: compensate, reason: Approval timeout, outcome: cancelled}
  - {id: rejected, type: compensate, reason: Order rejected by approver, outcome: cancelled}
  - {id: shipping, type: task, action: worker:shipping/ship, compensateWith: shipping_cancel, next: confirm}
  - {id: confirm, type: task, action: worker:confirm/confirm, compensateWith: unconfirm}
  - {id: payment_refund, type: task, action: worker:refund/refund, retryPolicy: {maxAttempts: 2, initialInterval: 3s},
     input: {paymentId: $.undo.output.paymentId, amount: $.undo.input.amount, reason: $.undo.reason}}
  - {id: inventory_release, type: task, action: worker:release/release,
     input: {reservationId: $.undo.output.reservationId}, retryPolicy: {maxAttempts: 2, initialInterval: 3s}}
  - {id: shipping_cancel, type: task, action: worker:unship/unship, input: {shipmentId: $.undo.output.shipmentId}}
  - {id: unconfirm, type: task, action: worker:unconfirm/unconfirm}
"""


async def paid_and_reserved(play: Play) -> None:
    await play.complete("payment", {"paymentId": "p-1"})
    await play.complete("inventory", {"reservationId": "r-1"})


async def shipped(play: Play) -> None:
    await paid_and_reserved(play)
    await play.signal("approval", "yes")
    await play.complete("shipping", {"shipmentId": "s-1"})


async def unconfirmed(play: Play, reason: str = "no such address") -> None:
    """Everything but the confirmation is done, and that fails for good."""
    await shipped(play)
    await play.fail("confirm", "NoSuchAddressError", reason, retryable=False)


async def test_reverse_order_of_execution() -> None:
    """S154, S155, S017: only what has completed, one after the other."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        started = await play.last(CompensationStarted)
        assert started.executions == ["shipping#1", "inventory#1", "payment#1"]
        assert (await play.get())["completedCompensableSteps"] == ["payment", "inventory", "shipping"]
        for step, left in (
            ("shipping_cancel", ["payment", "inventory"]),
            ("inventory_release", ["payment"]),
            ("payment_refund", []),
        ):
            assert await play.offered() == [step], "nothing else is undone meanwhile"
            await play.complete(step)
            assert (await play.get())["completedCompensableSteps"] == left
        assert await play.undone() == ["shipping#1", "inventory#1", "payment#1"]
        assert await play.all(StepScheduled, "unconfirm") == [], "what has not completed is not undone"


@pytest.mark.parametrize("seed", range(8))
async def test_the_order_is_that_of_completion_across_branches_in_random_runs(seed: int) -> None:
    """S154: a property, over runs in which branches complete in any order and any of the steps fails."""
    chance = Random(seed)
    branches = {name: [f"{name}{number}" for number in range(3)] for name in "abc"}
    steps = "".join(
        f"      {name}:\n"
        + "".join(
            f"        - {{id: {step}, type: task, action: worker:{step}/do, compensateWith: un{step}, "
            "retryPolicy: {maxAttempts: 1}" + (f", next: {ids[number + 1]}" if number < 2 else "") + "}\n"
            for number, step in enumerate(ids)
        )
        for name, ids in branches.items()
    )
    undos = "".join(
        f"  - {{id: un{step}, type: task, action: worker:un{step}/undo}}\n"
        for ids in branches.values()
        for step in ids
    )
    text = f"steps:\n  - id: all\n    type: parallel\n    branches:\n{steps}{undos}"
    async with playing(text) as play:
        for _ in range(chance.randrange(1, 8)):
            await play.complete(chance.choice(await play.offered()))
        failing = chance.choice(await play.offered())
        await play.fail(failing)
        done = [event.execution for event in await play.all(StepCompleted)]
        await play.serve()
        assert await play.undone() == list(reversed(done))
        assert f"all.{failing}#1" not in await play.undone()


async def test_each_undo_gets_the_result_of_its_step_and_the_refund_the_reason() -> None:
    """S156, S157, S039."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play, "no such address")
        await play.serve()
        assert await play.input_of("shipping_cancel") == {"shipmentId": "s-1"}
        assert await play.input_of("inventory_release") == {"reservationId": "r-1"}
        assert await play.input_of("payment_refund") == {
            "paymentId": "p-1",
            "amount": 500,
            "reason": "no such address",
        }


async def test_a_failed_undo_stays_visible_is_retried_by_its_policy_and_the_others_still_run() -> None:
    """S158: two attempts three seconds apart, then an alert; the payment is given back all the same."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        await play.complete("shipping_cancel")
        assert await play.use_up("inventory_release", "ClosedError", "nobody there") == 2
        first, second = await play.all(StepFailed, "inventory_release")
        assert (first.retry_at is None, second.retry_at) == (False, None)
        assert await play.times(StepFailed, "inventory_release") == ["0s", "3s"]
        failed = await play.last(CompensationFailed)
        assert (failed.undoes, failed.error.type) == ("inventory#1", "ClosedError")
        alert = await play.last(AlertRaised)
        assert (alert.severity, alert.step, alert.retry_count) == ("high", "inventory", 2)
        assert await play.serve() == ["payment_refund"]
        assert await play.undone() == ["shipping#1", "payment#1"]
        view = await play.get()
        assert (view["status"], view["waitingFor"]) == ("compensating", ["manual_resolution"])
        await play.act("retry")
        await play.complete("inventory_release")
        ended = await play.last(CompensationEnded)
        assert (ended.undone, ended.failed) == (["shipping#1", "payment#1", "inventory#1"], [])
        assert (await play.last(StatusChanged)).outcome == "compensated"


async def test_a_person_may_say_that_it_was_undone() -> None:
    """S158."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        await play.complete("shipping_cancel")
        await play.use_up("inventory_release")
        await play.serve()
        await play.act("resolve", output={"by": "phone"})
        assert (await play.last(StepResolved)).actor == "ada"
        assert (await play.last(StatusChanged)).outcome == "compensated"


async def test_or_give_it_up_and_the_end_names_what_stands() -> None:
    """S158, S162."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        await play.complete("shipping_cancel")
        await play.use_up("inventory_release")
        await play.serve()
        await play.act("give-up")
        given_up = await play.last(CompensationGivenUp)
        assert (given_up.actor, given_up.reason) == ("ada", "the customer called")
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.standing) == ("failed", "compensation_failed", ["inventory#1"])


async def test_each_undo_is_an_entry_of_the_history() -> None:
    """S159, S095, S210: shipping_cancel, inventory_release, payment_refund, each a `Compensated` event."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        await play.serve(payment_refund={"refundId": "f-1"})
        assert [(event.undoes, event.execution) for event in await play.all(Compensated)] == [
            ("shipping#1", "shipping#1/undo"),
            ("inventory#1", "inventory#1/undo"),
            ("payment#1", "payment#1/undo"),
        ]
        assert (await play.last(Compensated)).output == {"refundId": "f-1"}
        entries = {each["execution"]: each for each in (await play.get("/history"))["executions"]}
        undos = [each["stepId"] for each in entries.values() if each["kind"] == "undo"]
        assert undos == ["shipping_cancel", "inventory_release", "payment_refund"]
        assert entries["payment#1"]["status"] == "compensated"
        assert entries["payment#1/undo"]["undoes"] == "payment#1"


async def test_the_status_is_compensating_while_it_runs() -> None:
    """S160, S080: from the first undo to the last."""
    async with playing(ORDER, {"amount": 500}) as play:
        await unconfirmed(play)
        for _ in range(3):
            assert (await play.get())["status"] == "compensating"
            (step,) = await play.offered()
            await play.complete(step)
        assert (await play.get())["status"] == "completed"
        assert (await play.statuses())[-2:] == ["compensating", "completed"]


async def customer(play: Play) -> None:
    await play.signal("cancelOrder", {"reason": "found it cheaper"})


async def failure(play: Play) -> None:
    await play.signal("approval", "yes")
    await play.fail("shipping", "AddressUndeliverableError", "no such street", retryable=False)


async def silence(play: Play) -> None:
    await play.wait("24h")


async def no(play: Play) -> None:
    await play.signal("approval", "no")


async def operator(play: Play) -> None:
    await play.act("cancel", reason="Workflow cancelled")


TRIGGERS = [
    (customer, "cancel", "found it cheaper", "cancelled"),
    (failure, "failure", "no such street", "compensated"),
    (silence, "timedOut#1", "Approval timeout", "cancelled"),
    (no, "rejected#1", "Order rejected by approver", "cancelled"),
    (operator, "cancel", "Workflow cancelled", "cancelled"),
]


@pytest.mark.parametrize(("what", "trigger", "reason", "outcome"), TRIGGERS)
async def test_the_five_triggers_and_the_end_with_its_reason(
    what: Callable[[Play], Awaitable[None]], trigger: str, reason: str, outcome: str
) -> None:
    """S161, S162, S177, S180, S181: by the customer, a failure, silence, a no, and an operator."""
    async with playing(ORDER, {"amount": 500}) as play:
        await paid_and_reserved(play)
        await what(play)
        started = await play.last(CompensationStarted)
        assert (started.trigger, started.reason) == (trigger, reason)
        assert started.executions == ["inventory#1", "payment#1"]
        assert await play.serve() == ["inventory_release", "payment_refund"]
        assert (await play.input_of("payment_refund"))["reason"] == reason
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.reason) == ("completed", outcome, reason)
        (*_, last) = (await play.get("/transitions"))["transitions"]
        assert (last["to"], last["reason"]) == ("completed", reason)


async def test_a_compensate_step_undoes_back_to_a_savepoint_and_goes_on() -> None:
    """S031: what the savepoint's own step did stays; so do named steps only, with `steps`."""
    text = """
steps:
  - {id: a, type: task, action: worker:a/a, compensateWith: ua, next: b}
  - {id: b, type: task, action: worker:b/b, compensateWith: ub, savepoint: here, next: c}
  - {id: c, type: task, action: worker:c/c, compensateWith: uc, next: back}
  - {id: back, type: compensate, to: here, reason: second thoughts, next: some}
  - {id: some, type: compensate, steps: [a], reason: third thoughts, next: over}
  - {id: over, type: succeed}
  - {id: ua, type: task, action: worker:ua/ua}
  - {id: ub, type: task, action: worker:ub/ub}
  - {id: uc, type: task, action: worker:uc/uc}
"""
    async with playing(text) as play:
        assert await play.serve() == ["a", "b", "c", "uc", "ua"]
        assert await play.undone() == ["c#1", "a#1"]
        assert [event.reason for event in await play.all(CompensationStarted)] == [
            "second thoughts",
            "third thoughts",
        ]
        view = await play.get()
        assert (view["outcome"], view["completedCompensableSteps"]) == ("succeeded", ["b"])
        assert "compensating" not in await play.statuses(), "a partial one runs under `running`"
