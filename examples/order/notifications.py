"""The notification worker: confirms an order to its customer.

    python -m examples.order.notifications --server http://127.0.0.1:8080 --ledger notifications.sqlite

A service waits to be called; a worker asks for work, so it needs no address of its own and may run anywhere.
Otherwise it owes the same as the services beside it: an effect once per idempotency key (`ledger.py`).
"""

from __future__ import annotations

import argparse
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

import tenuto
from examples.order.ledger import Json, Ledger
from tenuto import Activity, Worker, activity


class OrderConfirmation(BaseModel):
    """The input of the step `confirm` in order.yaml."""

    model_config = ConfigDict(alias_generator=to_camel)

    to: str
    tracking_number: str


def make_activity(ledger: Ledger) -> Activity[..., Any]:
    @activity(name="order-confirmation", queue="notifications")
    async def confirm(order: OrderConfirmation) -> Json:
        task = tenuto.current()
        call = ledger.receive(
            path="order-confirmation",
            key=task.idempotency_key,
            instance=task.instance_id,
            step=task.step,
            attempt=task.attempt,
            body=order.model_dump_json(by_alias=True),
        )
        # A real worker would hand the key on to its mail provider here.
        answer = ledger.once(call, lambda: {"sentTo": order.to, "trackingNumber": order.tracking_number})
        ledger.answered(call, 200)
        return answer

    return confirm


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.order.notifications")
    parser.add_argument("--server", required=True, metavar="URL", help="where Tenuto listens")
    parser.add_argument("--ledger", required=True, metavar="FILE.sqlite", help="its calls and effects")
    parser.add_argument("--name", default="notifications", help="how this worker appears in Tenuto")
    args = parser.parse_args()

    ledger = Ledger(args.ledger, "notifications")
    Worker(args.server, activities=[make_activity(ledger)], name=args.name).run_forever()


if __name__ == "__main__":
    main()
