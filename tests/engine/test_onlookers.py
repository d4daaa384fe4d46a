"""What is seen of an instance while somebody waits for its end: all of it, or it is said that something is missing."""

from __future__ import annotations

from domain.commands import CompleteStep
from domain.events import Event
from domain.state import State
from engine.draft import Decided, Request
from engine.messages import StartRequest
from engine.onlookers import Onlooker, Onlookers
from tests.engine.world import NOON, ONE, World


def decided(version: int, events: int, stream: str = "0-i") -> Decided:
    def make(_: object) -> CompleteStep:
        raise AssertionError("never decided")

    request = Request(stream=stream, make=make)
    return Decided(request=request, at=NOON, command_id="c", events=[Event()] * events, version=version)


async def seen(*items: Decided) -> Onlooker:
    onlookers = Onlookers()
    with onlookers.of("0-i") as onlooker:
        for item in items:
            onlookers.saw([item])
        onlookers.saw_end(State(id="0-i", version=sum(len(item.events) for item in items)))
    onlookers.saw([decided(99, 1)])  # Nobody looks any more.
    return onlooker


async def test_it_sees_what_is_committed_in_order() -> None:
    history = (await seen(decided(2, 2), decided(7, 7, stream="0-other"), decided(3, 1))).history
    assert history is not None
    assert len(history) == 3


async def test_what_another_server_has_committed_is_missed_and_said() -> None:
    assert (await seen(decided(2, 2), decided(5, 1))).history is None


async def test_without_an_end_there_is_no_whole_history() -> None:
    with Onlookers().of("0-i") as onlooker:
        onlooker.saw(decided(2, 2))
        assert onlooker.history is None


async def test_what_it_has_seen_is_the_log() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = world.engine.new_instance_id()
        with world.engine.onlooker(id) as onlooker:
            request = StartRequest(namespace="default", definition="one", input={})
            await world.engine.start_instance(request, id)
            await world.work("w")
            assert onlooker.history == await world.log(id)
            assert onlooker.state == await world.state(id)
