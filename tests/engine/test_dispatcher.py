"""The dispatcher: what a connector is asked, what becomes of its answers, and how it stops."""

from __future__ import annotations

import asyncio

from domain.calls import Failed, StepError, Succeeded
from domain.events import StepFailed, StepStarted
from engine.dispatcher import CONCURRENCY
from engine.ports import Batch, StoreUnavailableError
from tests.engine.world import FakeService, World, failures

ORDER = """
name: order
steps:
  - {id: charge, type: task, action: http:payments/charge, input: {amount: $.input.amount}, timeout: 30s, next: ship}
  - {id: ship, type: task, action: http:shipping/ship}
"""
ONCE = "{name: once, steps: [{id: charge, type: task, action: http:payments/charge, retryPolicy: {maxAttempts: 1}}]}"
BEATING = "{name: beating, steps: [{id: slow, type: task, action: http:s/slow, heartbeat: 2s}]}"


async def test_a_connector_is_asked_with_everything_a_service_must_know() -> None:
    service = FakeService(charge=Succeeded({"paid": 5}))
    async with World(connector=service) as world:
        await world.deploy(ORDER)
        started = await world.start("order", {"amount": 5})
        await world.settle()
        charge, ship = service.calls
        assert (charge.step, charge.action, charge.attempt) == ("charge", "http:payments/charge", 1)
        assert (charge.input, charge.timeout_ms) == ({"amount": 5}, 30_000)
        assert charge.deadline_at is not None
        assert (charge.deadline_at - world.clock.now()).total_seconds() == 30
        assert charge.idempotency_key == f"{started.instance_id}/charge#1"
        assert (ship.instance_id, ship.execution) == (started.instance_id, "ship#1")
        state = await world.state(started.instance_id)
        assert (state.outcome, state.data["charge"]) == ("succeeded", {"paid": 5})
        await world.check(started.instance_id)


async def test_a_failure_waits_as_long_as_the_service_asks() -> None:
    slow_down = Failed(StepError(type="TooManyRequestsError", message="later"), retry_after_ms=9_000)
    service = FakeService(charge=slow_down)
    async with World(connector=service) as world:
        await world.deploy(ORDER)
        started = await world.start("order", {"amount": 5})
        await world.pass_time(8.9)
        assert len(service.calls) == 1
        service.answers.clear()
        await world.pass_time(0.2)
        assert [call.attempt for call in service.calls] == [1, 2, 1]
        assert len({call.idempotency_key for call in service.calls[:2]}) == 1
        assert (await world.state(started.instance_id)).outcome == "succeeded"


async def test_a_connector_that_raises_is_a_failure_like_any_other() -> None:
    service = FakeService(charge=ZeroDivisionError("bug"))
    async with World(connector=service) as world:
        await world.deploy(ONCE)
        id = (await world.start("once")).instance_id
        await world.settle()
        [failure] = [event for event in await world.log(id) if isinstance(event, StepFailed)]
        assert failure.error.type == "ConnectorError"
        assert (await world.state(id)).status == "failed"


async def test_an_answer_that_cannot_be_stored_fails_the_step_and_is_not_sent_for_ever() -> None:
    service = FakeService(charge=Succeeded("nul \0"))
    async with World(connector=service) as world:
        await world.deploy(ONCE)
        id = (await world.start("once")).instance_id
        await world.settle()
        [failure] = [event for event in await world.log(id) if isinstance(event, StepFailed)]
        assert (failure.error.type, failure.error.retryable) == ("BadResponseError", False)


async def test_a_result_is_kept_while_the_store_is_away() -> None:
    service = FakeService()
    async with World(connector=service, lease_seconds=100) as world:
        await world.deploy(ONCE)
        service.release.clear()
        id = (await world.start("once")).instance_id
        await world.settle()
        world.faults.down = True
        service.release.set()
        await world.pass_time(20)
        world.faults.down = False
        await world.pass_time(1)
        assert (await world.state(id)).outcome == "succeeded"
        assert len(service.calls) == 1


async def test_it_keeps_its_leases_and_beats_for_as_long_as_a_call_takes() -> None:
    service = FakeService()
    async with World(connector=service) as world:
        await world.deploy(BEATING)
        service.release.clear()
        id = (await world.start("beating")).instance_id
        await world.pass_time(60)
        assert failures(await world.log(id)) == []
        service.release.set()
        await world.settle()
        assert (await world.state(id)).outcome == "succeeded"
        assert len(service.calls) == 1


async def test_it_takes_no_more_than_it_can_call_at_once() -> None:
    service = FakeService()
    async with World(connector=service) as world:
        await world.deploy(ONCE)
        service.release.clear()
        await asyncio.gather(*(world.start("once") for _ in range(CONCURRENCY + 20)))
        await world.settle()
        assert len(service.calls) == CONCURRENCY
        service.release.set()
        await world.settle()
        assert len(service.calls) == CONCURRENCY + 20


async def test_it_asks_again_after_the_store_was_away() -> None:
    service = FakeService()
    async with World(connector=service) as world:
        await world.deploy(ONCE)

        async def away(_: Batch) -> None:
            raise StoreUnavailableError(problem="test")

        world.faults.down = True
        await world.pass_time(30)
        world.faults.down = False
        id = (await world.start("once")).instance_id
        await world.pass_time(1)
        assert (await world.state(id)).outcome == "succeeded"


async def test_a_stop_lets_calls_end_and_stores_what_they_answer() -> None:
    service = FakeService()
    async with World(connector=service) as world:
        await world.deploy(ORDER)
        service.release.clear()
        id = (await world.start("order", {"amount": 1})).instance_id
        await world.settle()
        stopping = asyncio.ensure_future(world.engine.stop(30))
        await world.pass_time(12)
        assert not stopping.done()
        assert failures(await world.log(id)) == [], "its leases are renewed meanwhile"
        service.release.set()
        await stopping
        assert (await world.topics(id)).count("StepCompleted") == 1
        assert len(service.calls) == 1, "nothing new is taken"
        assert service.closed


async def test_a_call_that_outlives_the_grace_is_tried_again_at_once_by_the_next_server() -> None:
    service = FakeService()
    world = World(connector=service)
    async with world:
        await world.deploy(ONCE)
        service.release.clear()
        id = (await world.start("once")).instance_id
        await world.settle()
        stopping = asyncio.ensure_future(world.engine.stop(3))
        await world.pass_time(3)
        await stopping
    service.release.set()
    async with World(world.faults, world.clock, connector=service) as again:
        await again.pass_time(1.5)
        assert (await again.state(id)).outcome == "succeeded"
        log = await again.log(id)
        assert failures(log) == ["leaseLost"]
        assert [event.attempt for event in log if isinstance(event, StepStarted)] == [1, 2]
