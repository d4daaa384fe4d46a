"""The builders emit the language's data: an order equal to its YAML; nothing misspelt gets through."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from domain.definition.fields import Model
from domain.definition.fields import RetryPolicy as RetryPolicyModel
from domain.definition.model import DeadlineModel, DefinitionModel, ErrorHandlerModel, SignalModel
from domain.definition.parse import read_definition
from domain.steps import KINDS, AnyStep
from tenuto import activity, workflow
from tenuto.workflow import (
    Deadline,
    ErrorHandler,
    RetryPolicy,
    Signal,
    child,
    compensate,
    decision,
    each,
    fail,
    on,
    otherwise,
    parallel,
    succeed,
    task,
    wait,
)

ORDER = Path(__file__).with_name("order.yaml")
FAMILY = Path(__file__).parents[1] / "brief" / "order" / "order.yaml"
"""The order whose invoice is a child."""


@activity(queue="warehouse")
def pack(item: dict[str, Any]) -> dict[str, Any]:
    return item


@activity(name="order-confirmation", queue="notifications")
def confirm(mail: dict[str, Any]) -> None: ...


RETRY_POLICIES = {
    "payment": RetryPolicy(
        max_attempts=3,
        initial_interval="1s",
        backoff_coefficient=2,
        max_interval="10s",
        non_retryable_errors=[
            "PaymentDeclinedError",
            "FraudDetectedError",
            "InsufficientFundsError",
            "CardExpiredError",
        ],
    ),
    "inventory": RetryPolicy(
        max_attempts=5,
        initial_interval="100ms",
        backoff_coefficient=1.5,
        max_interval="2s",
        non_retryable_errors=["ItemDiscontinuedError", "RegionNotServicedError"],
    ),
    "shipping": RetryPolicy(
        max_attempts=3,
        initial_interval="5s",
        backoff_coefficient=2,
        max_interval="30s",
        non_retryable_errors=["AddressUndeliverableError"],
    ),
    "notification": RetryPolicy(
        max_attempts=10, initial_interval="10s", backoff_coefficient=2, max_interval="5m"
    ),
}


def order() -> workflow.Workflow:
    """The order of `order.yaml`, in Python."""
    head = workflow.define(
        "order",
        version="1",
        description="An order, from the charge to the confirmation",
        timeout="48h",
        labels={"tier": "$.input.customerTier"},
        input_schema={
            "type": "object",
            "required": ["orderId", "amount", "paymentMethod", "items", "shippingAddress"],
        },
        retry_policies=RETRY_POLICIES,
        deadlines={"shipBy": Deadline(after="charge", within="24h", reach="ship", escalate=[50, 80, 100])},
        signals={
            "cancelOrder": Signal(do="cancel", reason="$.signal.payload.reason"),
            "updateShipping": Signal(
                set={"shippingAddress": "$.signal.payload"}, schema={"type": "object", "required": ["city"]}
            ),
        },
        error_handlers=[
            ErrorHandler(errors=["WarehouseClosedError"], steps=["ship"], next="askAgain"),
            ErrorHandler(errors=["*"], do="compensate"),
        ],
        results={
            "cancelled": {"orderId": "$.input.orderId", "status": "cancelled", "reason": "$.end.reason"},
            "compensated": {"orderId": "$.input.orderId", "status": "failed", "reason": "$.end.reason"},
        },
        business_status={"compensating": "compensating", "cancelled": "cancelled"},
        on_failure="compensate",
    )
    return _undo_steps(_last_steps(_late_steps(_early_steps(head))))


def _early_steps(head: workflow.Workflow) -> workflow.Workflow:
    return (
        head.task(
            "charge",
            name="Charge the card",
            action="http:payments/charge",
            service_type="payment",
            business_status="processing_payment",
            input={
                "orderId": "$.input.orderId",
                "amount": "$.input.amount",
                "paymentMethod": "$.input.paymentMethod",
            },
            output={"payment": "$"},
            timeout="30s",
            schedule_to_start="2m",
            schedule_to_close="5m",
            compensate_with="refund",
            next="isPaidFor",
        )
        .decision(
            "isPaidFor",
            on("$.payment.status == 'declined'", "declined"),
            otherwise("reserve"),
            business_status="checking_payment",
        )
        .task(
            "reserve",
            action="http:inventory/reserve",
            service_type="inventory",
            business_status="reserving_inventory",
            input={"orderId": "$.input.orderId", "items": "$.input.items", "holdFor": "24h"},
            output={"inventory": "$"},
            timeout="10s",
            compensate_with="release",
            savepoint="stocked",
            next="needsApproval",
        )
        .decision("needsApproval", on("$.input.amount > 100000", "approval"), otherwise("prepare"))
        .wait(
            "approval",
            signal="approval",
            for_={"$coalesce": ["$.input.approvalWithin", "24h"]},
            business_status="awaiting_approval",
            output={"approval": "$.payload"},
            on_timeout="approvalTimedOut",
            next="isApproved",
        )
        .decision("isApproved", on("$.approval.decision == 'approved'", "prepare"), otherwise("rejected"))
        .compensate("approvalTimedOut", reason="Approval timeout", outcome="cancelled")
        .compensate("rejected", reason="Order rejected by approver", outcome="cancelled")
        .compensate(
            "askAgain",
            to="stocked",
            reason="Warehouse closed",
            business_status="asking_again",
            next="approval",
        )
    )


def _late_steps(stem: workflow.Workflow) -> workflow.Workflow:
    pack_item = task(
        "packItem",
        action=pack,
        read_only=True,
        input={"sku": "$.item.sku", "line": "$.index"},
        timeout="30s",
        retry_policy=RetryPolicy(max_attempts=2),
    )
    invoice = task(
        "invoice",
        action="http:invoices/create",
        read_only=True,
        timeout="10s",
        alert_after="5s",
        input={"orderId": "$.input.orderId", "payment": "$.payment"},
        output={"invoice": "$"},
    )
    urgent = "$.deadlines.shipBy.remainingMs < 3600000"
    left = {"$subtract": ["$.deadlines.shipBy.remainingMs", {"$ms": "30m"}]}
    return stem.parallel(
        "prepare",
        {
            "packing": [
                each("pack", "$.input.items", [pack_item], max_concurrency=3, output={"packages": "$"})
            ],
            "papers": [invoice],
        },
        join="all",
        on_branch_failure="cancel",
        next="ship",
    ).task(
        "ship",
        action="http:shipping/shipments",
        service_type="shipping",
        business_status="scheduling_shipment",
        compensate_with="cancelShipment",
        input={
            "orderId": "$.input.orderId",
            "address": {"$coalesce": ["$.shippingAddress", "$.input.shippingAddress"]},
            "mustShipBy": "$.deadlines.shipBy.at",
            "service": {"$if": [f"$.input.customerTier == 'premium' || {urgent}", "express", "standard"]},
        },
        priority={"$if": [urgent, "high", "normal"]},
        output={"shipping": "$"},
        timeout={"$max": [left, {"$ms": "5m"}]},
        heartbeat="20s",
        on_max_retries_exceeded="compensate",
        next="confirm",
    )


def _last_steps(stem: workflow.Workflow) -> workflow.Workflow:
    return (
        stem.task(
            "confirm",
            action=confirm,
            service_type="notification",
            business_status="sending_confirmation",
            input={"to": "$.input.email", "trackingNumber": "$.shipping.trackingNumber"},
            timeout="10s",
            fallback="done",
            next="done",
        )
        .succeed(
            "done",
            business_status="delivered",
            result={
                "orderId": "$.input.orderId",
                "status": "completed",
                "paymentId": "$.payment.paymentId",
                "shipmentId": "$.shipping.shipmentId",
                "trackingNumber": "$.shipping.trackingNumber",
            },
        )
        .fail(
            "declined",
            error={"type": "PaymentDeclinedError", "message": "$.payment.declineReason"},
            business_status="payment_declined",
            result={"orderId": "$.input.orderId", "status": "declined"},
        )
    )


def _undo_steps(stem: workflow.Workflow) -> workflow.Workflow:
    return stem.steps(
        task(
            "refund",
            action="http:payments/refund",
            service_type="payment",
            timeout="30s",
            input={
                "paymentId": "$.undo.output.paymentId",
                "amount": "$.undo.input.amount",
                "reason": "$.undo.reason",
            },
        ),
        task(
            "release",
            action="http:inventory/release",
            service_type="inventory",
            timeout="10s",
            input={"reservationId": "$.undo.output.reservationId"},
        ),
        task(
            "cancelShipment",
            action="http:shipping/cancel",
            service_type="shipping",
            timeout="30s",
            input={"shipmentId": "$.undo.output.shipmentId"},
        ),
    )


def test_the_order_in_python_is_the_order_in_yaml() -> None:
    written = YAML(typ="safe", pure=True).load(ORDER.read_text(encoding="utf-8"))
    built = order().to_dict()
    assert {step["id"]: step for step in built["steps"]} == {step["id"]: step for step in written["steps"]}
    assert built == written


def test_the_text_is_yaml_and_says_the_same() -> None:
    assert YAML(typ="safe", pure=True).load(order().to_yaml()) == order().to_dict()


def test_functions_and_methods_build_the_same_steps() -> None:
    by_methods = workflow.define("w").wait("nap", for_="1m", next="end").succeed("end", result=1)
    by_functions = workflow.define("w").steps(wait("nap", for_="1m", next="end"), succeed("end", result=1))
    assert (
        by_methods.to_dict()
        == by_functions.to_dict()
        == {
            "name": "w",
            "steps": [
                {"id": "nap", "type": "wait", "for": "1m", "next": "end"},
                {"id": "end", "type": "succeed", "result": 1},
            ],
        }
    )


def test_values_of_the_user_keep_their_keys() -> None:
    step = task("t", action="http:a/b", input={"snake_case": {"max_attempts": 1}}, output={"out_put": "$"})
    assert step["input"] == {"snake_case": {"max_attempts": 1}}
    assert step["output"] == {"out_put": "$"}


def test_a_stem_can_be_shared() -> None:
    stem = workflow.define("w").task("a", action="http:s/a")
    one, other = stem.succeed("end"), stem.fail("end", error={"type": "E", "message": "m"})
    assert [len(made.to_dict()["steps"]) for made in (stem, one, other)] == [1, 2, 2]


def test_a_child_is_the_step_that_the_order_has() -> None:
    text = FAMILY.read_text(encoding="utf-8")
    prepare = next(one for one in YAML(typ="safe", pure=True).load(text)["steps"] if one["id"] == "prepare")
    assert [
        child(
            "invoice",
            "invoice",
            input={"orderId": "$.input.orderId", "payment": "$.payment"},
            output={"invoice": "$"},
            on_parent_close="cancel",
        )
    ] == prepare["branches"]["papers"]


def test_a_deadline_may_count_from_the_start() -> None:
    assert Deadline(after="start", within="1h", reach="ship").to_dict() == {
        "after": "start",
        "within": "1h",
        "reach": {"step": "ship"},
    }


BUILDERS: dict[str, Callable[..., workflow.Step]] = {
    "task": task,
    "decision": decision,
    "parallel": parallel,
    "map": each,
    "wait": wait,
    "workflow": child,
    "compensate": compensate,
    "succeed": succeed,
    "fail": fail,
}
MODELS: dict[str, type[Model]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(AnyStep)[0])
}
KEYWORDS = {
    "parallel": workflow.ParallelFields,
    "map": workflow.EachFields,
    "task": workflow.TaskFields,
    "wait": workflow.WaitFields,
    "workflow": workflow.ChildFields,
    "compensate": workflow.CompensateFields,
}
OTHERS: list[tuple[type[Model], Any]] = [
    (RetryPolicyModel, RetryPolicy),
    (DeadlineModel, Deadline),
    (SignalModel, Signal),
    (ErrorHandlerModel, ErrorHandler),
]


def spelt(model: type[Model]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def camel(names: set[str]) -> set[str]:
    return {workflow._camel(name) for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_a_builder_takes_exactly_the_fields_that_its_step_has(kind: str) -> None:
    given = set(inspect.signature(BUILDERS[kind]).parameters) - {"fields", "step_id", "transitions"}
    if kind in KEYWORDS:
        given |= set(KEYWORDS[kind].__annotations__)
    implied = {"id", "type", "next"} if kind == "decision" else {"id", "type"}
    assert camel(given) | implied == spelt(MODELS[kind])


def test_the_other_builders_take_exactly_the_fields_of_the_language() -> None:
    assert camel(set(workflow.DefinitionFields.__annotations__)) | {"name", "version", "steps"} == spelt(
        DefinitionModel
    )
    for model, builder in OTHERS:
        assert camel(set(inspect.signature(builder).parameters)) == spelt(model)


def test_the_whole_language_deploys_without_findings() -> None:
    assert read_definition(order().to_yaml()).findings == []


def test_misspelt_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown field timout; known are"):
        task("t", action="http:a/b", timout="1s")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown field onFailure"):
        workflow.define("w", onFailure="fail")  # type: ignore[call-arg]


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        workflow.define("w").succeed("end", result=float("nan")).to_yaml()


def test_data_handed_out_is_not_shared() -> None:
    made = workflow.define("w").steps(compensate("undo"), fail("f", error={}), decision("d", otherwise("f")))
    made.to_dict()["steps"].clear()
    assert json.loads(made.to_yaml())["steps"][0] == {"id": "undo", "type": "compensate"}
