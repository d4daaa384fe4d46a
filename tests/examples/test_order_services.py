"""The services of the order example as real processes: effects once, calls on record, refusals typed."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
import yaml

from examples.order.ledger import Ledger
from examples.order.notifications import OrderConfirmation, make_activity
from tenuto.activity import ActivityContext
from tenuto.activity import running as running_activity
from tenuto.wire import Task

ROOT = Path(__file__).parents[2]
SERVICES = ("payments", "inventory", "shipping")
START_TIMEOUT_S = 20
NUMBERS = itertools.count(1)

CHARGE = {"orderId": "o1", "amount": 5000, "paymentMethod": "visa"}
RESERVE = {"orderId": "o1", "items": [{"sku": "BOOK", "quantity": 2}], "holdFor": "24h"}
ADDRESS = {"street": "Elm 1", "city": "Springfield"}
REFUND = {"paymentId": "pay_1", "amount": 5000, "reason": "Approval timeout"}
SHIP = {"orderId": "o1", "address": ADDRESS, "service": "standard", "mustShipBy": "2026-11-24T12:00:00Z"}


class Service:
    """One running service, and how the engine would call it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=START_TIMEOUT_S)

    def call(self, path: str, body: Any, *, key: str = "0-1/step#1", attempt: int = 1) -> httpx.Response:
        instance, execution = key.split("/", 1)
        headers = {
            "Idempotency-Key": key,
            "Tenuto-Instance": instance,
            "Tenuto-Step": execution.split("#")[0],
            "Tenuto-Attempt": str(attempt),
        }
        return self.http.post(path, json=body, headers=headers)

    def effects(self, key: str | None = None) -> list[Any]:
        """All effects, or those under `key`, oldest first."""
        return self._ledger("effects", key)

    def calls(self, key: str | None = None) -> list[Any]:
        return self._ledger("calls", key)

    def statuses(self, key: str | None = None) -> list[int | None]:
        return [call["status"] for call in self.calls(key)]

    def _ledger(self, part: str, key: str | None) -> list[Any]:
        return [row for row in self.http.get("/ledger").json()[part] if key in (None, row["key"])]


def new_key() -> str:
    """A key that no other test uses, of a new instance."""
    return f"0-{next(NUMBERS)}/step#1"


@contextmanager
def running(name: str, ledger: Path, *options: str) -> Iterator[Service]:
    command = [
        sys.executable,
        "-m",
        f"examples.order.services.{name}",
        "--port",
        "0",
        "--ledger",
        str(ledger),
    ]
    with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("ready http://"), ready
            service = Service(process, ready.removeprefix("ready ").strip())
            with service.http:
                yield service
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """One of each, for the tests that need no process of their own; each works under new keys."""
    folder = tmp_path_factory.mktemp("ledgers")
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(name, folder / f"{name}.sqlite")) for name in SERVICES}


@pytest.mark.parametrize(
    ("action", "body", "answer"),
    [
        ("payments/charge", CHARGE, {"orderId": "o1", "status": "completed", "amount": 5000}),
        ("payments/refund", REFUND, REFUND),
        ("inventory/reserve", RESERVE, {"orderId": "o1", "items": RESERVE["items"]}),
        ("inventory/release", {"reservationId": "res_1"}, {"reservationId": "res_1", "status": "released"}),
        ("shipping/shipments", SHIP, {"address": ADDRESS, "service": "standard", "carrier": "Parcel Post"}),
        ("shipping/shipments", {**SHIP, "service": "express"}, {"carrier": "Night Courier"}),
        ("shipping/cancel", {"shipmentId": "shp_1"}, {"shipmentId": "shp_1", "status": "cancelled"}),
    ],
)
def test_an_effect_is_had_once_per_key_and_every_call_is_on_record(
    services: dict[str, Service], action: str, body: dict[str, Any], answer: dict[str, Any]
) -> None:
    name, path = action.split("/")
    service, key, other_key = services[name], new_key(), new_key()
    first = service.call(f"/{path}", body, key=key, attempt=1)
    again = service.call(f"/{path}", body, key=key, attempt=2)
    other = service.call(f"/{path}", body, key=other_key)

    assert first.status_code == 200
    assert first.json().items() >= answer.items()
    assert again.json() == first.json()
    assert [effect["answer"] for effect in service.effects(key)] == [first.json()]
    assert [effect["answer"] for effect in service.effects(other_key)] == [other.json()]
    assert [(c["attempt"], c["path"], c["status"]) for c in service.calls(key)] == [
        (1, f"/{path}", 200),
        (2, f"/{path}", 200),
    ]
    call = service.calls(key)[0]
    assert (call["instance"], call["step"], json.loads(call["body"])) == (key.split("/")[0], "step", body)


@pytest.mark.parametrize(
    ("action", "body", "error_type", "details"),
    [
        (
            "payments/charge",
            {**CHARGE, "paymentMethod": "declined"},
            "PaymentDeclinedError",
            {"declineReason": "insufficient_funds"},
        ),
        (
            "inventory/reserve",
            {**RESERVE, "items": [{"sku": "BOOK"}, {"sku": "DISCONTINUED"}]},
            "ItemDiscontinuedError",
            {"sku": "DISCONTINUED"},
        ),
        (
            "shipping/shipments",
            {**SHIP, "address": {"city": "Nowhere"}},
            "AddressUndeliverableError",
            {"city": "Nowhere"},
        ),
        (
            "shipping/shipments",
            {**SHIP, "address": {"city": "Closedville"}},
            "WarehouseClosedError",
            {"city": "Closedville"},
        ),
    ],
)
def test_a_refusal_is_a_typed_problem_without_effect(
    services: dict[str, Service], action: str, body: dict[str, Any], error_type: str, details: dict[str, Any]
) -> None:
    name, path = action.split("/")
    service, key = services[name], new_key()
    refused = service.call(f"/{path}", body, key=key)
    assert refused.status_code == 422
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert refused.json()["type"].rsplit("/", 1)[-1] == error_type
    assert refused.json()["detail"]
    assert refused.json().items() >= details.items()
    assert service.effects(key) == []
    assert service.statuses(key) == [422]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, json.dumps(CHARGE)),
        ({"Idempotency-Key": "half"}, '{"orderId": "o1"}'),
        ({"Idempotency-Key": "list"}, "[1]"),
        ({"Idempotency-Key": "text"}, "nonsense"),
    ],
    ids=["no key", "a member missing", "no object", "no json"],
)
def test_a_call_that_makes_no_sense_is_refused_and_still_on_record(
    services: dict[str, Service], headers: dict[str, str], body: str
) -> None:
    service, key = services["payments"], headers.get("Idempotency-Key", "")
    assert service.http.post("/charge", content=body, headers=headers).status_code == 400
    assert [(call["body"], call["status"]) for call in service.calls(key)] == [(body, 400)]
    assert service.effects(key) == []


def test_a_refused_call_may_come_again_under_its_key_with_better_data(services: dict[str, Service]) -> None:
    service, key = services["payments"], new_key()
    assert service.call("/charge", {**CHARGE, "paymentMethod": "declined"}, key=key).status_code == 422
    assert service.call("/charge", CHARGE, key=key).status_code == 200
    assert len(service.effects(key)) == 1


def test_goods_are_held_for_as_long_as_they_were_asked_for(services: dict[str, Service]) -> None:
    service, key = services["inventory"], new_key()
    expires_at = service.call("/reserve", RESERVE, key=key).json()["expiresAt"]
    (call,) = service.calls(key)
    assert datetime.fromisoformat(expires_at) == datetime.fromisoformat(call["at"]) + timedelta(hours=24)


def test_ids_follow_from_the_key_alone(services: dict[str, Service], file: Path) -> None:
    with running("payments", file) as elsewhere:
        key = new_key()
        here = services["payments"].call("/charge", CHARGE, key=key).json()
        assert elsewhere.call("/charge", CHARGE, key=key).json() == here
        assert elsewhere.call("/charge", CHARGE, key=new_key()).json()["paymentId"] != here["paymentId"]


def test_a_flaky_item_fails_twice_per_key_and_then_succeeds_also_after_a_restart(file: Path) -> None:
    body = {**RESERVE, "items": [{"sku": "FLAKY-2"}]}
    with running("inventory", file) as service:
        assert service.call("/reserve", body, key="0-1/reserve#1", attempt=1).status_code == 503
        assert service.call("/reserve", body, key="0-2/reserve#1", attempt=1).status_code == 503
    with running("inventory", file) as service:
        assert service.call("/reserve", body, key="0-1/reserve#1", attempt=2).status_code == 503
        assert service.call("/reserve", body, key="0-1/reserve#1", attempt=3).status_code == 200
        assert service.call("/reserve", body, key="0-2/reserve#1", attempt=2).status_code == 503
        assert [effect["key"] for effect in service.effects()] == ["0-1/reserve#1"]
        assert service.statuses() == [503, 503, 503, 200, 503]


def test_a_kill_between_the_effect_and_its_answer_loses_neither(file: Path) -> None:
    with (
        running("payments", file, "--delay-ms", "60000") as service,
        ThreadPoolExecutor(1) as caller,
    ):
        lost = caller.submit(service.call, "/charge", CHARGE, key="0-1/charge#1", attempt=1)
        deadline = monotonic() + START_TIMEOUT_S
        while not service.effects():
            assert monotonic() < deadline
        os.kill(service.process.pid, signal.SIGKILL)
        assert isinstance(lost.exception(START_TIMEOUT_S), httpx.TransportError)

    with running("payments", file) as service:
        (effect,) = service.effects()
        again = service.call("/charge", CHARGE, key="0-1/charge#1", attempt=2)
        assert again.json() == effect["answer"]
        assert service.effects() == [effect]
        assert service.statuses() == [None, 200]


def test_calls_that_race_under_one_key_have_one_effect(file: Path) -> None:
    with (
        running("payments", file, "--delay-ms", "50") as one,
        running("payments", file, "--delay-ms", "50") as two,
        ThreadPoolExecutor(8) as callers,
    ):
        calls = [callers.submit(service.call, "/charge", CHARGE) for service in (one, two) * 4]
        answers = [call.result().json() for call in calls]
        assert answers == [answers[0]] * 8
        assert len(one.effects()) == 1
        assert one.statuses() == [200] * 8


def test_services_that_share_a_file_see_only_their_own(file: Path) -> None:
    with running("payments", file) as payments, running("shipping", file) as shipping:
        payments.call("/charge", CHARGE, key="0-1/charge#1")
        shipping.call("/shipments", SHIP, key="0-1/ship#1")
        assert [effect["path"] for effect in payments.effects()] == ["/charge"]
        assert [effect["path"] for effect in shipping.effects()] == ["/shipments"]


def test_a_service_says_that_it_is_well_and_ends_when_it_is_asked_to(file: Path) -> None:
    with running("shipping", file) as service:
        assert service.http.get("/healthz").json() == {"status": "ok"}
        service.process.terminate()
        assert service.process.wait(START_TIMEOUT_S) == 0


def test_an_effect_that_raises_leaves_nothing_behind(file: Path) -> None:
    ledger = Ledger(str(file), "payments")
    call = ledger.receive(path="/charge", key="k", instance="i", step="s", attempt=1, body="{}")

    def broken() -> dict[str, Any]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ledger.once(call, broken)
    assert ledger.effects() == []
    assert ledger.once(call, lambda: {"done": True}) == {"done": True}
    ledger.close()


def test_every_http_action_of_the_definition_is_an_endpoint_of_its_service() -> None:
    definition = yaml.safe_load((ROOT / "examples/order/order.yaml").read_text())
    actions = {step["action"] for step in definition["steps"] if "action" in step}
    endpoints = {
        f"http:{name}{path}"
        for name in SERVICES
        for path in importlib.import_module(f"examples.order.services.{name}").ENDPOINTS
    }
    assert actions == endpoints | {"worker:notifications/order-confirmation"}


async def test_the_worker_confirms_once_per_key(file: Path) -> None:
    ledger = Ledger(str(file), "notifications")
    confirm = make_activity(ledger)
    order = OrderConfirmation.model_validate({"to": "ada@example.com", "trackingNumber": "trk_1"})
    for attempt in (1, 2):
        task: Task = {"instanceId": "0-1", "attempt": attempt, "idempotencyKey": "0-1/confirm#1"}
        token = running_activity.set(ActivityContext(task))
        assert await confirm(order) == {"sentTo": "ada@example.com", "trackingNumber": "trk_1"}
        running_activity.reset(token)

    assert confirm.action == "worker:notifications/order-confirmation"
    assert [call["attempt"] for call in ledger.calls()] == [1, 2]
    assert [effect["key"] for effect in ledger.effects()] == ["0-1/confirm#1"]
    ledger.close()
