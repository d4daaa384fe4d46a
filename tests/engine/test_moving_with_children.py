"""Migrations and forks of instances with child workflows: what runs goes on, what has ended is undone by whoever rolls
back first, and what the logs say can be decided again."""

from __future__ import annotations

from typing import Any

import pytest

from domain.again import decided_again
from domain.codec import encode
from domain.commands import CancelInstance, MigrateInstance
from domain.errors import MigrationRefusedError
from domain.paths import undo_of
from engine.messages import ForkRequest
from tests.engine.test_children import INVOICE, PARENT, begun, children, step
from tests.engine.world import World

WHO: dict[str, Any] = {"actor": "ann", "reason": "another form"}
SECOND = (
    PARENT.replace("id: invoice,", "id: bill,")
    .replace("next: invoice", "next: bill")
    .replace("worker:w/after", "worker:w/other")
)
CHARGED = SECOND.replace(
    "type: workflow, definition: invoice, input: {n: 1}, output: {invoice: $}",
    "type: task, action: worker:w/bill, compensateWith: unbefore",
)


async def migrate(world: World, instance: str, **steps: str) -> None:
    target = await world.engine.program("default", "parent", None)
    await world.act(instance, MigrateInstance, target=target, steps=steps, **WHO)


async def fork(world: World, instance: str, **fields: Any) -> str:
    return (await world.engine.fork(ForkRequest(instance_id=instance, **WHO, **fields))).instance_id


async def again(world: World, instance: str) -> bool:
    """Law 2: whether the stimuli of its log lead to its log."""
    log = await world.log(instance)
    versions = [one.version for one in await world.engine.definition_versions("default", "parent")]
    programs = {version: await world.engine.program("default", "parent", version) for version in versions}
    return list(map(encode, decided_again(log, instance, programs))) == list(map(encode, log))


async def test_a_child_that_runs_goes_on_and_its_result_counts_in_the_new_version() -> None:
    async with World() as world:
        parent, child = await begun(world)
        await world.deploy(SECOND)
        await migrate(world, parent, invoice="bill")
        assert await step(world) == ["write", "send", "after"]
        assert await children(world, parent) == [child]
        assert (await world.state(parent)).outcome == "succeeded"
        assert await again(world, parent)
        await world.check(parent, child)


async def test_a_child_that_has_ended_is_undone_in_the_new_version() -> None:
    async with World() as world:
        parent, child = await begun(world)
        assert await step(world, until="after") == ["write", "send"]
        await world.pass_time(1)
        await world.deploy(SECOND)
        await migrate(world, parent, invoice="bill")
        await world.act(parent, CancelInstance, reason="enough")
        done = await step(world)
        assert done[-3:] == ["recall", "tear", "unbefore"]
        assert (await world.state(parent)).outcome == "cancelled"
        assert await again(world, parent)
        await world.check(parent, child)


async def test_what_a_child_does_no_task_can_undo() -> None:
    async with World() as world:
        parent, child = await begun(world)
        assert await step(world, until="after") == ["write", "send"]
        await world.deploy(CHARGED)
        with pytest.raises(MigrationRefusedError, match="invoice#1 is undone by 'invoice'"):
            await migrate(world, parent, invoice="bill")
        await world.check(parent, child)


async def test_a_fork_starts_a_child_of_its_own_and_the_old_one_stays_where_it_is() -> None:
    async with World() as world:
        parent, child = await begun(world)
        new = await fork(world, parent, version=10**6)
        await world.settle()
        [inherited, own] = await children(world, new)
        assert (inherited, own != child) == (child, True)
        assert len(await step(world)) == 6
        for one in (parent, new, child, own):
            assert (await world.state(one)).outcome == "succeeded"
        assert (await again(world, parent), await again(world, new)) == (True, True)
        await world.check(parent, new, child, own)


async def test_a_fork_that_is_cancelled_leaves_the_running_child_of_the_old_one_alone() -> None:
    async with World() as world:
        parent, child = await begun(world)
        new = await fork(world, parent, version=10**6)
        await world.settle()
        own = (await children(world, new))[1]
        await world.act(new, CancelInstance, reason="enough")
        await step(world)
        assert [(await world.state(one)).outcome for one in (new, own)] == ["cancelled", "cancelled"]
        assert [(await world.state(one)).outcome for one in (parent, child)] == ["succeeded", "succeeded"]
        await world.check(parent, new, child, own)


@pytest.mark.parametrize("crash", [True, False])
async def test_a_child_that_had_ended_is_undone_by_the_fork_that_rolls_back(*, crash: bool) -> None:
    """Its parent is another one, and yet the fork hears when it is done; the old one then has nothing left to undo."""
    async with World() as world:
        await world.deploy(INVOICE, PARENT.replace("name: parent", "name: parent\nonFailure: fail"))
        parent = (await world.start("parent")).instance_id
        assert await step(world, until="after") == ["before", "write", "send"]
        [child] = await children(world, parent)
        new = await fork(world, parent, version=10**6)
        await world.act(new, CancelInstance, reason="enough")
        await world.settle()
        if crash:
            world.kill()
        async with World(world.faults, world.clock) if crash else world as then:
            done = await step(then)
            assert [one for one in done if one in ("recall", "tear")] == ["recall", "tear"]
            assert (await then.state(new)).outcome == "cancelled"
            assert undo_of("invoice#1") not in (await then.state(new)).open
            await then.act(parent, CancelInstance, reason="enough, too")
            assert "recall" not in await step(then)
            assert (await then.state(child)).undo == {}
            assert await again(then, new)
            await then.check(parent, new, child)
