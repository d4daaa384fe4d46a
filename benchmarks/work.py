"""The work that is measured, the same for every orchestrator: a saga of three steps that do nothing.

Input of about 300 bytes, three sequential durable steps, each returning about 110 bytes, and a result. What an
engine does around such steps is all that is left to measure.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

QUEUE = "bench"
STEPS = ("charge", "reserve", "ship")
UNDOS = ("release", "refund")
SAGA = "saga"
REFUSED = "refused"
NAP = "nap"
LOOP = "loop"

SAGA_YAML = f"""
name: {SAGA}
version: "1"
steps:
  - {{id: charge, type: task, action: worker:{QUEUE}/charge, input: {{order_id: $.input.order_id}},
     compensateWith: refund, next: reserve}}
  - {{id: reserve, type: task, action: worker:{QUEUE}/reserve, input: {{order_id: $.input.order_id}},
     compensateWith: release, next: ship}}
  - {{id: ship, type: task, action: worker:{QUEUE}/ship, input: {{order_id: $.input.order_id}}, readOnly: true,
     next: done}}
  - {{id: done, type: succeed, result: {{order_id: $.input.order_id, status: shipped,
     refs: [$.charge.ref, $.reserve.ref, $.ship.ref]}}}}
  - {{id: refund, type: task, action: worker:{QUEUE}/refund, input: {{ref: $.undo.output.ref}}}}
  - {{id: release, type: task, action: worker:{QUEUE}/release, input: {{ref: $.undo.output.ref}}}}
"""

REFUSED_YAML = SAGA_YAML.replace(f"name: {SAGA}", f"name: {REFUSED}").replace("/ship,", "/refuse,")
"""The same, but for its last step, which is refused for good: the two before it are undone. Five steps."""

NAP_YAML = f"""
name: {NAP}
version: "1"
steps:
  - {{id: nap, type: wait, for: $.input.for}}
"""

LOOP_YAML = f"""
name: {LOOP}
version: "1"
steps:
  - {{id: work, type: task, action: worker:{QUEUE}/work, readOnly: true, input: {{count: {{$coalesce: [$.count, 0]}}}},
     output: {{count: $.count}}, next: [{{condition: $.count < $.input.steps, next: work}}, {{next: finish}}]}}
  - {{id: finish, type: succeed, result: {{count: $.count}}}}
"""


def order_input(number: int) -> Json:
    """292 bytes of compact JSON: the input of one order."""
    return {
        "order_id": f"order-{number:08d}",
        "customer": {"id": f"cust-{number % 997:05d}", "email": f"user{number % 997}@example.test"},
        "lines": [
            {"sku": "SKU-1001", "qty": 2, "price": "19.90"},
            {"sku": "SKU-2002", "qty": 1, "price": "149.00"},
        ],
        "address": "12 Example Street, 0123 Sampleton",
        "note": "leave at the door please " * 2,
    }


def step_result(step: str, order_id: str) -> Json:
    """109 bytes of compact JSON: the result of one step."""
    return {
        "step": step,
        "order_id": order_id,
        "ref": f"{step}-{order_id}-0001",
        "status": "ok",
        "amount": 18880,
    }
