"""One bad command, instance, poll or listener never spoils it for the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.commands import ChangeData, Command, PauseInstance, TerminateInstance
from domain.errors import TenutoError
from engine.errors import IncidentError
from engine.messages import Answer, Envelope
from engine.ports import Batch, Recorded
from engine.store.admission import UnstorableTextError
from tests.engine.world import ONE, World


async def test_a_decision_that_raises_is_an_incident_of_its_own() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id

        def poison(env: Envelope) -> Command:
            raise ZeroDivisionError("poison")

        def change(env: Envelope) -> Command:
            return ChangeData(at=env.at, command_id=env.command_id, actor="a", reason="r", data={"n": 1})

        world.faults.batches.clear()
        outcomes = await asyncio.gather(
            world.engine.act(id, change),
            world.engine.act(id, poison),
            world.engine.act(id, change),
            world.start("one"),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Answer, IncidentError, Answer, Answer]
        assert len(world.faults.batches) == 1
        assert len(world.engine.incidents) == 1
        assert "poison" in world.engine.incidents[0]
        await world.work("w")
        assert (await world.state(id)).outcome == "succeeded", "the instance is usable afterwards"
        await world.check(id)


async def test_a_poison_decision_cannot_smuggle_in_what_another_server_made_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state that a fault spoilt is folded anew as it was, not as it has become meanwhile."""
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        other = await world.another()
        inner = world.faults.inner
        theirs = False

        async def read(*args: Any, **kwargs: Any) -> Any:
            nonlocal theirs
            if not theirs:
                theirs = True
                await other.act(id, TerminateInstance, actor="a", reason="r")
            return await inner.read(*args, **kwargs)

        def poison(env: Envelope) -> Command:
            raise ZeroDivisionError

        def change(env: Envelope) -> Command:
            return ChangeData(at=env.at, command_id=env.command_id, actor="a", reason="r", data={"n": 1})

        monkeypatch.setattr(world.faults, "read", read, raising=False)
        outcomes = await asyncio.gather(
            world.engine.act(id, change), world.engine.act(id, poison), return_exceptions=True
        )
        assert theirs
        assert isinstance(outcomes[0], TenutoError), "the instance was terminated first"
        assert "DataChanged" not in await world.topics(id)
        await other.engine.stop(0)


async def test_what_cannot_be_stored_is_refused_alone() -> None:
    """One client's NUL character is not the problem of the others in its batch."""
    async with World() as world:
        await world.deploy(ONE)
        wanted = [world.start("one", {"text": "a\0b" if number == 5 else "ab"}) for number in range(12)]
        outcomes = await asyncio.gather(*wanted, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Answer] * 5 + [UnstorableTextError] + [Answer] * 6
        assert len(await world.faults.inner.streams("0-")) == 11
        await world.check(*[outcome.instance_id for outcome in outcomes if isinstance(outcome, Answer)])
        assert len(await world.work("w")) == 11


async def test_a_poll_that_cannot_be_stored_is_refused_and_the_task_goes_to_another() -> None:
    async with World() as world:
        await world.deploy(ONE)
        bad = world.polling("w", worker="nul\0", session="bad")
        good = world.polling("w", session="good")
        await world.settle()
        with pytest.raises(UnstorableTextError):
            await bad
        answer = await world.start("one")
        assert (await world.got(good))[0].instance_id == answer.instance_id
        await world.check(answer.instance_id)


async def test_an_instance_that_cannot_be_read_stops_nobody_else() -> None:
    async with World() as world:
        await world.deploy(ONE)
        unreadable = Recorded("0-future", 1, "InventedByANewerVersion", b"{}")
        await world.faults.inner.append(Batch(events=[unreadable]))
        world.faults.batches.clear()
        outcomes = await asyncio.gather(
            world.start("one"),
            world.act("0-future", PauseInstance, actor="a", reason="r"),
            world.start("one"),
            return_exceptions=True,
        )
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]
        assert len(world.faults.batches) == 1
        assert "0-future" in world.engine.incidents[0]


async def test_a_listener_that_fails_takes_nobody_s_answer() -> None:
    async with World() as world:
        await world.deploy(ONE)

        def fails(_: int) -> None:
            raise ZeroDivisionError

        world.engine.on_commit(fails)
        heard: list[int] = []
        world.engine.on_commit(heard.append)
        answer = await world.start("one")
        assert heard == [answer.position]
        assert (await world.start("one")).created
