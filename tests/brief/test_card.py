"""Rows S209–S215: the log is the state, and everything else is made from it."""

from __future__ import annotations

import msgspec

from domain.calls import Succeeded
from domain.codec import decode
from domain.events import Compensated, StepFailed, StepStarted
from domain.evolve import evolve
from domain.state import State
from engine.store import MemoryStore
from tests.brief.played import playing
from tests.engine.world import FakeService, Faults, World

ORDER = """
name: test
timeout: 24h
deadlines: {shipBy: {after: start, within: 2h, reach: {step: ship}}}
steps:
  - {id: pay, type: task, action: worker:w/pay, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship, timeout: 1m}
  - {id: refund, type: task, action: worker:w/refund}
"""


async def test_no_table_holds_what_the_log_lacks() -> None:
    """S209: a store that is given nothing but the events serves the same instance, and goes on with it."""
    async with World(lease_seconds=1_000) as world:
        await world.deploy(ORDER)
        id = (await world.start("test", correlation_id="c-1")).instance_id
        [task] = await world.tasks("w")
        await world.complete(task, output={"paymentId": "p-1"})
        live, inner = await world.state(id), world.faults.inner
        assert isinstance(inner, MemoryStore)
        owed = await inner.owed_of([id])

        bare = MemoryStore(world.clock)
        for stream in await inner.streams(""):
            for recorded in await inner.read(stream):
                bare._streams.setdefault(stream, []).append(recorded)
                bare.log.append(recorded)
        async with World(Faults(bare), world.clock, lease_seconds=1_000) as other:
            assert msgspec.json.encode(await other.state(id)) == msgspec.json.encode(live)
            assert await other.engine.rebuild_owed(id)
            assert await bare.owed_of([id]) == owed
            await other.engine._upkeep.scan()
            assert [task.step for task in await other.work("w")] == ["ship"]
            assert (await other.state(id)).outcome == "succeeded"
            await other.check(id)


async def test_started_failed_and_compensated_are_events_by_these_names() -> None:
    """S210: in the log of a run, as HTTP and as the store give it."""
    async with playing(ORDER) as play:
        await play.complete("pay", {"paymentId": "p-1"})
        await play.fail("ship", retryable=False)
        await play.complete("refund")
        assert {"StepStarted", "StepFailed", "Compensated"} <= set(await play.topics())
        by_http = [each["type"] for each in (await play.get("/events"))["events"]]
        assert by_http == await play.topics()
        assert [event.execution for event in await play.all(StepStarted)] == ["pay#1", "ship#1", "pay#1/undo"]
        assert (await play.last(StepFailed)).error.type == "BoomError"
        assert (await play.last(Compensated)).undoes == "pay#1"


async def test_the_process_manager_issues_service_commands() -> None:
    """S212: one for each attempt that the log owes, after the commit of what led to it, and its answer goes back."""
    text = """
name: test
steps:
  - {id: a, type: task, action: http:shop/a, next: b}
  - {id: b, type: task, action: http:shop/b, input: {from: $.a}}
"""
    service = FakeService(a=Succeeded({"x": 1}))
    async with World(connector=service) as world:
        await world.deploy(text)
        seen: list[list[str]] = []
        call = service.call

        async def watched(command: object) -> object:
            streams = await world.faults.inner.streams("0-")
            seen.append([each.topic for each in await world.faults.inner.read(streams[0])])
            return await call(command)  # type: ignore[arg-type]

        service.call = watched  # type: ignore[method-assign, assignment]
        id = (await world.start("test")).instance_id
        await world.settle()
        assert [each.step for each in service.calls] == ["a", "b"]
        assert service.calls[1].input == {"from": {"x": 1}}
        assert [topics[-1] for topics in seen] == ["StepStarted", "StepStarted"], "stored before it is called"
        assert (await world.state(id)).outcome == "succeeded"
        await world.check(id)


async def test_a_replay_of_the_history_gives_the_live_state() -> None:
    """S213: by folding what is stored; the past can be read at any version. (The check over HTTP compares with what the
    database derives, too: tests/api/test_insight.py.)"""
    async with playing(ORDER) as play:
        await play.complete("pay", {"paymentId": "p-1"})
        then = await play.get()
        await play.fail("ship", retryable=False)
        await play.serve()
        assert await play.get("/state", version=str(then["version"])) == then
        folded = State(id=play.id)
        for each in await play.world.faults.inner.read(play.id):
            evolve(folded, decode(each.topic, each.payload))
        assert msgspec.json.encode(folded) == msgspec.json.encode(await play.world.state(play.id))


async def test_the_transitions_of_an_instance_are_audited() -> None:
    """S215, S117: each with who, why and when; across instances it is a list (tests/api/test_lists.py)."""
    async with playing(ORDER) as play:
        await play.complete("pay", {"paymentId": "p-1"})
        await play.act("cancel", reason="the customer called", actor="ada")
        await play.serve()
        changes = (await play.get("/transitions"))["transitions"]
        assert [(each["from"], each["to"], each.get("actor")) for each in changes] == [
            ("pending", "running", "anonymous"),
            ("running", "compensating", "ada"),
            ("compensating", "completed", None),
        ]
        assert [each["version"] for each in changes] == sorted(each["version"] for each in changes)
