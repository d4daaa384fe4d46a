"""Definitions: versions, identical content, two servers that deploy at once, and what an instance is pinned to."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from domain.definition.parse import read_definition
from domain.errors import UnknownDefinitionError, VersionTakenError
from engine.messages import Deployed
from engine.ports import Batch
from engine.registry import FRESH_SECONDS
from tests.engine.world import ONE, World


def text(step: str, version: str | None = None) -> str:
    named = "" if version is None else f'version: "{version}", '
    return f"{{name: one, {named}steps: [{{id: {step}, type: task, action: worker:w/{step}}}]}}"


async def deploy(world: World, text: str, namespace: str = "default", **fields: Any) -> Deployed:
    return await world.engine.deploy(namespace, read_definition(text), actor="ann", request_id=None, **fields)


async def test_versions_count_up_and_the_same_content_is_deployed_once() -> None:
    async with World() as world:
        first, again = await deploy(world, text("a")), await deploy(world, text("a"))
        second = await deploy(world, text("b"))
        assert (first.version, first.created, again.version, again.created) == ("1", True, "1", False)
        assert (second.version, second.created) == ("2", True)
        assert first.position is not None
        infos = await world.engine.definition_versions("default", "one")
        assert [(info.version, info.deployed_by, info.deployed_at) for info in infos] == [
            ("1", "ann", world.clock.now()),
            ("2", "ann", world.clock.now()),
        ]
        assert await world.topics("definition/default/one") == ["DefinitionDeployed"] * 2


async def test_a_version_is_never_given_twice() -> None:
    async with World() as world:
        await deploy(world, text("a", "2026-1"))
        assert not (await deploy(world, text("a", "2026-1"))).created
        with pytest.raises(VersionTakenError):
            await deploy(world, text("b", "2026-1"))
        assert (await deploy(world, text("b"))).version == "1"


async def test_an_instance_stays_on_its_version_and_new_ones_take_the_newest() -> None:
    async with World() as world:
        await deploy(world, text("a"))
        old = await world.start("one")
        await deploy(world, text("b"))
        new = await world.start("one")
        pinned = await world.start("one", version="1")
        steps = {task.instance_id: task.step for task in await world.tasks("w")}
        assert steps == {old.instance_id: "a", new.instance_id: "b", pinned.instance_id: "a"}


async def test_two_servers_that_deploy_at_once_make_one_version_of_the_same_and_two_of_others() -> None:
    async with World() as world:
        other = await world.another()

        async def meanwhile(_: Batch) -> None:
            world.faults.before = None
            await deploy(other, text("a"))

        world.faults.before = meanwhile
        same = await deploy(world, text("a"))
        assert (same.version, same.created) == ("1", False)
        world.faults.before = meanwhile
        await deploy(other, text("c"))
        assert (await deploy(world, text("b"))).version == "4"
        assert [info.version for info in await world.engine.definition_versions("default", "one")] == list(
            "1234"
        )
        await other.engine.stop(0)


async def test_what_another_server_deployed_is_known_soon_and_at_once_when_named() -> None:
    async with World() as world:
        other = await world.another()
        await deploy(world, text("a"))
        assert (await other.start("one")).created
        await deploy(world, text("b"))
        assert (await other.engine.definition("default", "one", "2")).version == "2"
        await world.pass_time(FRESH_SECONDS)
        await other.start("one")
        assert {task.step for task in await other.tasks("w")} == {"a", "b"}
        await other.engine.stop(0)


async def test_many_starts_do_not_all_look_for_the_newest_version() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        await world.pass_time(FRESH_SECONDS * 2)
        world.faults.calls.clear()
        world.faults.chance = Random(1)
        await asyncio.gather(*(world.start("one") for _ in range(50)))
        assert world.faults.calls.count("read") == 1


async def test_namespaces_do_not_see_each_other() -> None:
    async with World() as world:
        await deploy(world, text("a"), "blue")
        with pytest.raises(UnknownDefinitionError):
            await world.start("one")
        assert await world.engine.definitions("default") == []
        assert [info.name for info in await world.engine.definitions("blue")] == ["one"]
        with pytest.raises(UnknownDefinitionError):
            await world.engine.definition("blue", "one", "7")


async def test_definitions_are_read_again_after_a_restart() -> None:
    world = World()
    async with world:
        await deploy(world, text("a"))
        started = await world.start("one")
    async with World(world.faults, world.clock) as again:
        [task] = await again.tasks("w")
        await again.complete(task)
        assert (await again.state(started.instance_id)).outcome == "succeeded"
