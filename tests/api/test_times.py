"""Times have one form wherever they are answered: six decimals at a full second, too, so that they sort as text."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.reading import events_after
from api.routes import webhooks
from domain.times import rfc3339
from feeds.desk import DeadLetter
from tests.api.conftest import APPROVAL, Server
from tests.api.test_webhooks import register
from tests.engine.world import NOON, World

TIMED = """
name: timed
steps: [{id: work, type: task, action: worker:w/work, timeout: 30s}]
"""


async def test_events_and_tasks_at_a_full_second() -> None:
    async with World() as world:
        await world.deploy(TIMED)
        started = await world.start("timed")
        (task,) = await world.tasks("w")
        now = world.clock.now()
        assert now.microsecond == 0
        assert task.deadline_at == rfc3339(now + timedelta(seconds=30))
        assert len(task.lease_expires_at) == len("2026-03-01T12:00:05.000000Z")
        events = await events_after(world.engine, started.instance_id, 0, 100)
        assert {event["at"] for event in events} == {rfc3339(NOON)}


async def test_a_dead_letter_at_a_full_second(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.deploy(APPROVAL, "approval")
    await register(server, "http://127.0.0.1:9/none")

    async def kept(*_: object) -> list[DeadLetter]:
        return [DeadLetter(position=7, attempts=12, error="HTTP 500", at=NOON)]

    monkeypatch.setattr(server.wiring.webhooks, "dead_letters", kept)
    page = await server.get("/v1/webhooks/crm/dead-letters")
    assert page["deadLetters"] == [webhooks.LETTER | {"position": 7, "at": rfc3339(NOON)}]
