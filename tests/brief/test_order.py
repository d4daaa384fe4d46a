"""The order with everything in it, its invoice a workflow of its own: to its end, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from domain.events import Compensated, InstanceStarted, StepStarted
from domain.whatif.route import step_of
from engine.messages import Task
from tests.brief.played import NOT_YET, Play, playing

ORDER = Path(__file__).parent / "order"
INPUT = {
    "orderId": "o-1",
    "amount": 4_200,
    "paymentMethod": "card",
    "items": [{"sku": "tea"}, {"sku": "pot"}],
    "shippingAddress": {"city": "Bern"},
    "customerTier": "basic",
    "email": "ada@example.org",
}
ANSWERS: dict[str, Any] = {
    "charge": {"paymentId": "p-1", "status": "paid"},
    "reserve": {"reservationId": "r-1"},
    "number": {"number": "R-7"},
    "book": {"entry": "e-3"},
    "ship": {"shipmentId": "s-1", "trackingNumber": "t-1"},
}


class Ordered:
    """The order as it is played, and its child."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.done: list[str] = []

    async def serve(self, *, until: str | None = None) -> None:
        """Completes what the order and its child hand out, one after the other, up to and without `until`."""
        while True:
            await self.play.world.settle()
            mine = [name for name in await self.mine() if step_of(name) != until]
            if mine:
                task = await self.play.take(mine[0])
                step = task["step"]
                await self.play.completes(task, ANSWERS.get(step, {}))
            elif tasks := await self.papers(until):
                step = tasks[0].step
                await self.play.world.complete(tasks[0], output=ANSWERS.get(step, {}))
            else:
                return
            self.done.append(step)

    async def papers(self, until: str | None) -> list[Task]:
        """The task that the child has, if there is one, and it is not `until`."""
        rows = await self.play.world.faults.inner.owed_of([await self.child()])
        if any(step_of(row.key) == until for row in rows):
            return []
        tasks: list[Task] = []
        for _ in range(4):  # What a board knows of may be gone.
            tasks = tasks or await self.play.world.tasks("papers", max_tasks=1)
        return tasks

    async def mine(self) -> list[str]:
        """What the order itself has for workers, or they for it."""
        return [row.key for row in await self.play.owed() if row.kind in ("invoke", "await")]

    async def child(self) -> str:
        """The id of its only child."""
        (started,) = [
            event
            for event in await self.play.all(StepStarted, "invoice")
            if not event.execution.endswith("/undo")
        ]
        return started.token

    async def view(self) -> Any:
        await self.play.world.settle()
        return await self.play.get()


@asynccontextmanager
async def ordering() -> AsyncIterator[Ordered]:
    async with playing(input=NOT_YET) as play:
        for name in ("invoice", "order"):
            answer = await play.deploy((ORDER / f"{name}.yaml").read_text(encoding="utf-8"), name=name)
            # The services' URLs are this server's affair; the workers and the engine's own polls play them.
            assert [one for one in answer["findings"] if one["code"] != "unknown-service"] == []
        await play.start(INPUT)
        ordered = Ordered(play)
        yield ordered
        await play.world.check(await ordered.child())


async def test_the_order_is_shipped_and_has_the_invoice_of_its_child() -> None:
    async with ordering() as order:
        await order.serve()
        view = await order.view()
        assert (view["status"], view["outcome"]) == ("completed", "succeeded")
        assert view["result"]["trackingNumber"] == "t-1"
        assert view["data"]["invoice"] == {"number": "R-7"}
        assert len(view["data"]["packages"]) == 2
        child = await order.play.world.state(await order.child())
        assert (child.outcome, child.result) == ("succeeded", {"number": "R-7"})
        (started,) = [one for one in await order.play.world.log(child.id) if isinstance(one, InstanceStarted)]
        assert started.input == {"orderId": "o-1", "payment": ANSWERS["charge"]}


async def test_a_cancel_reaches_the_invoice_while_it_is_being_written() -> None:
    async with ordering() as order:
        await order.serve(until="book")
        await order.play.act("cancel")
        order.done.clear()
        await order.serve()
        assert order.done.index("void") < order.done.index("release") < order.done.index("refund")
        assert (await order.view())["outcome"] == "cancelled"
        assert (await order.play.world.state(await order.child())).outcome == "cancelled"


async def test_a_rollback_undoes_the_invoice_before_the_steps_that_are_older() -> None:
    """S154: in reverse order of completion, through the child that had ended."""
    async with ordering() as order:
        await order.serve(until="ship")
        await order.play.fail("ship", "AddressUndeliverableError", retryable=False)
        order.done.clear()
        await order.serve()
        assert order.done == ["unbook", "void", "release", "refund"]
        assert await order.play.undone() == ["prepare.invoice#1", "reserve#1", "charge#1"]
        view = await order.view()
        assert (view["outcome"], view["result"]["status"]) == ("compensated", "failed")
        child = await order.play.world.state(await order.child())
        assert (child.status, child.outcome, child.undo) == ("completed", "succeeded", {})
        undone = [one for one in await order.play.world.log(child.id) if isinstance(one, Compensated)]
        assert [one.undoes for one in undone] == ["book#1", "number#1"]
