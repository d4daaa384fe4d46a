"""Rows S001–S010: one service holds the whole flow, calls the others, and decides what comes next."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from domain.calls import ServiceCall, Succeeded
from domain.events import DecisionMade, StepCompleted, StepScheduled
from tenuto import workflow
from tenuto.workflow import on, otherwise
from tests.brief.played import NOT_YET, at, playing
from tests.engine.world import FakeService, World
from tests.examples.processes import ROOT

PLAIN = (ROOT / "examples/order/plain.yaml").read_text()
ORDER = {
    "orderId": "o-1",
    "amount": 5,
    "items": [{"sku": "a"}],
    "shippingAddress": {"city": "Bonn"},
    "email": "a@b.c",
}
ANSWERS: dict[str, Any] = {
    "processPayment": Succeeded({"paymentId": "p-1"}),
    "reserveInventory": Succeeded({"reservationId": "r-1"}),
    "scheduleShipment": Succeeded({"shipmentId": "s-1", "trackingNumber": "t-1"}),
}
FLOW = """
version: "1"
steps:
  - {id: a, type: task, action: worker:w/a, next: b}
  - {id: b, type: task, action: worker:w/b}
"""


async def test_one_definition_and_one_engine_run_the_order_and_services_see_only_commands() -> None:
    """S001, S002: who is called is told its own step's input, and answers; what comes next it does not know."""
    service = FakeService(**ANSWERS)
    async with World(connector=service) as world:
        await world.deploy(PLAIN)
        id = (await world.start("order-plain", ORDER)).instance_id
        await world.settle()
        await world.work("notifications")
        done = [event.execution for event in await world.log(id) if isinstance(event, StepCompleted)]
        assert done == [
            "processPayment#1",
            "reserveInventory#1",
            "scheduleShipment#1",
            "sendOrderConfirmation#1",
        ]
        assert [call.action for call in service.calls] == [
            "http:payments/charge",
            "http:inventory/reserve",
            "http:shipping/shipments",
        ]
        told = {field.name for field in msgspec.structs.fields(ServiceCall)}
        assert told & {"next", "steps", "data", "definition", "compensateWith"} == set()
        assert [call.input for call in service.calls] == [
            {"orderId": "o-1", "amount": 5},
            {"orderId": "o-1", "items": [{"sku": "a"}], "holdFor": "24h"},
            {"orderId": "o-1", "address": {"city": "Bonn"}, "service": "standard"},
        ]
        assert (await world.state(id)).outcome == "succeeded"
        await world.check(id)


async def test_the_engine_chooses_the_next_step_from_the_output() -> None:
    """S003."""
    text = """
steps:
  - {id: ask, type: task, action: worker:w/ask, next: [{condition: $.ask.score >= 7, next: good}, {next: bad}]}
  - {id: good, type: task, action: worker:w/good}
  - {id: bad, type: task, action: worker:w/bad}
"""
    for score, chosen in ((7, "good"), (6, "bad")):
        async with playing(text) as play:
            await play.complete("ask", {"score": score})
            assert (await play.last(DecisionMade)).next == chosen
            assert await play.serve() == [chosen]


async def test_one_call_answers_with_the_whole_instance() -> None:
    """S004, S122: status, position, data and history."""
    async with playing(FLOW, {"x": 1}) as play:
        await play.complete("a", {"y": 2})
        view = await play.get(include="history")
        assert (view["status"], view["currentStep"], view["completedSteps"]) == ("running", "b", ["a"])
        assert view["data"] == {"input": {"x": 1}, "a": {"y": 2}}
        assert [(each["stepId"], each["status"]) for each in view["history"]] == [
            ("a", "completed"),
            ("b", "scheduled"),
        ]
        await play.serve()


async def test_one_ordered_list_tells_what_happened() -> None:
    """S005, S123: every stored event once, in order, each with its time."""
    async with playing(FLOW) as play:
        await play.wait("5s")
        await play.fail("a")
        await play.serve()
        events = (await play.get("/events"))["events"]
        assert [each["version"] for each in events] == list(range(1, len(events) + 1))
        assert [each["type"] for each in events] == await play.topics()
        assert [each["type"] for each in events] == [
            "InstanceStarted", "StatusChanged", "StepScheduled", "StepStarted", "StepFailed", "StepScheduled",
            "StepStarted", "StepCompleted", "StepScheduled", "StepStarted", "StepCompleted", "StatusChanged",
        ]  # fmt: skip
        times = [each["at"] for each in events]
        assert [datetime.fromisoformat(each) for each in times] == [at("0s")] * 3 + [at("5s")] * 3 + [
            at("6s")
        ] * 6


async def test_a_changed_flow_is_deployed_without_touching_services() -> None:
    """S006, S007, S051: while an instance of the old one runs on."""
    service = FakeService()
    text = "name: test\n" + FLOW.replace("worker:w", "http:shop")
    async with World(connector=service) as world:
        service.release.clear()
        await world.deploy(text)
        old = (await world.start("test")).instance_id
        await world.settle()
        await world.deploy(
            text.replace('"1"', '"2"').replace("next: b}", "next: c}")
            + "  - {id: c, type: task, action: http:shop/c, next: b}\n"
        )
        new = (await world.start("test")).instance_id
        service.release.set()
        await world.settle()
        for id, steps in ((old, ["a", "b"]), (new, ["a", "c", "b"])):
            scheduled = [event.step for event in await world.log(id) if isinstance(event, StepScheduled)]
            assert scheduled == steps
            await world.check(id)


async def test_rules_of_many_conditions_change_at_run_time() -> None:
    """S007: a tariff of twenty steps, then another one."""
    rules = "".join(
        f'      - {{condition: "$.input.weight < {10 * n}", next: band{n}}}\n' for n in range(1, 21)
    )
    ends = "".join(f"  - {{id: band{n}, type: succeed, result: {n}}}\n" for n in range(1, 21))
    text = (
        f'version: "1"\nsteps:\n  - id: weigh\n    type: decision\n    next:\n{rules}      - {{next: heavy}}\n{ends}'
        "  - {id: heavy, type: succeed, result: 99}\n"
    )
    async with playing(text, NOT_YET) as play:
        results = {weight: (await play.start({"weight": weight}))["result"] for weight in (5, 10, 195, 200)}
        assert results == {5: 1, 10: 2, 195: 20, 200: 99}
        await play.deploy(text.replace('"1"', '"2"').replace("< 10", "< 11"))
        assert (await play.start({"weight": 10}))["result"] == 1


async def test_a_start_may_wait_for_the_result_within_a_limit() -> None:
    """S009: the answer is held until it has ended, or the time is over; then it says how things stand."""
    async with playing("version: '1'\nsteps: [{id: a, type: task, action: worker:w/a}]", NOT_YET) as play:
        body = {"definition": "test", "input": {}}
        held = asyncio.ensure_future(play.ask("POST", "/v1/instances?wait=20s", body, 201))
        await play.world.settle()
        (task,) = await play.poll("w")
        assert not held.done()
        await play.completes(task, "hi")
        view = await held
        play.id = view["id"]
        assert (view["status"], view["data"]["a"]) == ("completed", "hi")

        held = asyncio.ensure_future(play.ask("POST", "/v1/instances?wait=20s", body, 201))
        await play.world.pass_time(19)
        assert not held.done()
        await play.world.pass_time(1)
        view = await held
        play.id = view["id"]
        assert view["status"] == "running"
        await play.serve()


async def test_a_definition_is_data_or_python_and_runs_the_same() -> None:
    """S010: what the builders emit is deployed over HTTP beside the YAML, and gives the same log."""
    built = (
        workflow.define("built", "1")
        .task("ask", action="worker:w/ask", next="judge")
        .decision("judge", on("$.ask.score >= 7", "good"), otherwise("bad"))
        .succeed("good", result={"score": "$.ask.score"})
        .succeed("bad")
    )
    written = """
name: written
version: "1"
steps:
  - {id: ask, type: task, action: worker:w/ask, next: judge}
  - {id: judge, type: decision, next: [{condition: $.ask.score >= 7, next: good}, {next: bad}]}
  - {id: good, type: succeed, result: {score: $.ask.score}}
  - {id: bad, type: succeed}
"""
    async with playing() as play:
        logs = []
        for name, text in (("built", built.to_yaml()), ("written", written)):
            await play.deploy(text, name=name)
            await play.start()
            await play.complete("ask", {"score": 8})
            assert (await play.get())["result"] == {"score": 8}
            logs.append(await play.topics())
        assert logs[0] == logs[1]
