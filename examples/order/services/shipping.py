"""The shipping service: books a shipment and cancels it.

    python -m examples.order.services.shipping --port 8083 --ledger shipping.sqlite

To see it fail, ship to one of the cities in `REFUSED`.
"""

from __future__ import annotations

from examples.order.ledger import Json
from examples.order.services.serving import Call, RefusedError, serve

CARRIERS = {"standard": "Parcel Post", "express": "Night Courier"}
REFUSED = {
    "Nowhere": ("AddressUndeliverableError", "No carrier delivers there."),
    "Closedville": ("WarehouseClosedError", "The warehouse for this city is closed."),
}


def ship(call: Call) -> Json:
    address, service = call["address"], call["service"]
    if address["city"] in REFUSED:
        error_type, detail = REFUSED[address["city"]]
        raise RefusedError(422, error_type, detail, city=address["city"])
    return {
        "shipmentId": call.new_id("shp"),
        "orderId": call["orderId"],
        "trackingNumber": call.new_id("trk"),
        "carrier": CARRIERS[service],
        "service": service,
        "address": address,
        "mustShipBy": call["mustShipBy"],
    }


def cancel(call: Call) -> Json:
    return {"shipmentId": call["shipmentId"], "status": "cancelled"}


ENDPOINTS = {"/shipments": ship, "/cancel": cancel}

if __name__ == "__main__":
    serve("shipping", ENDPOINTS)
