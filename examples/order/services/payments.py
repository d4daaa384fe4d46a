"""The payment service: charges a card and refunds it.

    python -m examples.order.services.payments --port 8081 --ledger payments.sqlite

To see a payment fail, pay with `"paymentMethod": "declined"`.
"""

from __future__ import annotations

from examples.order.ledger import Json
from examples.order.services.serving import Call, RefusedError, serve


def charge(call: Call) -> Json:
    if call["paymentMethod"] == "declined":
        raise RefusedError(
            422, "PaymentDeclinedError", "The card was declined.", declineReason="insufficient_funds"
        )
    return {
        "paymentId": call.new_id("pay"),
        "orderId": call["orderId"],
        "status": "completed",
        "amount": call["amount"],
        "transactionRef": call.new_id("txn"),
    }


def refund(call: Call) -> Json:
    return {
        "refundId": call.new_id("ref"),
        "paymentId": call["paymentId"],
        "amount": call["amount"],
        "reason": call["reason"],
    }


ENDPOINTS = {"/charge": charge, "/refund": refund}

if __name__ == "__main__":
    serve("payments", ENDPOINTS)
