"""The inventory service: reserves items for a while and releases them.

    python -m examples.order.services.inventory --port 8082 --ledger inventory.sqlite

To see it fail, order the sku `FLAKY-2`, which fails twice and then succeeds (any number will do), or
`DISCONTINUED`, which is refused for good.
"""

from __future__ import annotations

import re
from datetime import timedelta

from examples.order.ledger import Json
from examples.order.services.serving import Call, RefusedError, serve

HOLD_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def reserve(call: Call) -> Json:
    for item in call["items"]:
        if item["sku"] == "DISCONTINUED":
            raise RefusedError(422, "ItemDiscontinuedError", "This item is no longer sold.", sku=item["sku"])
        flaky = re.fullmatch(r"FLAKY-(\d+)", item["sku"])
        if flaky and call.earlier < int(flaky[1]):
            raise RefusedError(503, "WarehouseOfflineError", "The warehouse does not answer; try again.")
    return {
        "reservationId": call.new_id("res"),
        "orderId": call["orderId"],
        "items": call["items"],
        "expiresAt": (call.at + hold_time(call["holdFor"])).isoformat(),
    }


def release(call: Call) -> Json:
    return {"reservationId": call["reservationId"], "status": "released"}


def hold_time(text: str) -> timedelta:
    """`24h` → one day."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise RefusedError(400, "BadRequestError", f"holdFor is {text!r}; write 30m, 24h or 2d")
    return timedelta(**{HOLD_UNITS[match[2]]: int(match[1])})


ENDPOINTS = {"/reserve": reserve, "/release": release}

if __name__ == "__main__":
    serve("inventory", ENDPOINTS)
