"""What goes wrong by the clock: processes die, stand still or are cut off, the store goes away, clocks jump.

Each kind comes again and again, at random, to each node; `heal` ends it all. Faults of single calls and messages are
not here: they strike where the call is made (`store.py`, `network.py`, `services.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from domain.errors import TenutoError
from simulation.nodes import EngineNode, Node
from simulation.virtual_time import Process

if TYPE_CHECKING:
    from simulation.world import World

Happen = Callable[[], Coroutine[Any, Any, None]]


class Trouble:
    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._under_way: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._skew_clocks()
        for node in self._world.engines:
            self._keep("engine crash", partial(self._crash, node))
            self._keep("engine restart", partial(self._restart, node))
            self._keep("engine pause", partial(self._pause, node))
            self._keep("isolation", partial(self._isolate, node))
            self._keep("store outage", partial(self._outage, node))
            self._keep("clock jump", partial(self._jump, node))
            self._keep("forgotten timer", partial(self._forget, node))
            self._keep("rows rebuilt", partial(self._rebuild, node))
        for worker in self._world.workers:
            self._keep("worker crash", partial(self._crash, worker))
            self._keep("worker pause", partial(self._pause, worker))

    def heal(self) -> None:
        """Everything works from now on; clocks agree as well as they do where they are measured."""
        world = self._world
        world.trace("all is well from now on")
        for task in self._under_way:
            task.cancel()
        world.faults.heal()
        world.services.heal()
        world.database.down.clear()
        for node in world.nodes():
            world.network.join(node.process)
            if node.process.frozen:
                world.loop.thaw(node.process)
        for server in world.engines:
            offset = self._random.randint(-5_000, 5_000)
            server.skew = (offset, 1.0)
            if server.clock is not None:
                server.clock.set_right(offset)
        for node in world.nodes():
            if not node.runs:
                node.crash()
                node.start()

    def _keep(self, kind: str, happen: Happen) -> None:
        self._under_way.append(self._world.loop.create_task(self._again_and_again(kind, happen)))

    async def _again_and_again(self, kind: str, happen: Happen) -> None:
        faults = self._world.faults
        while (pause := faults.pause_before(kind)) is not None:
            await asyncio.sleep(pause)
            faults.struck_by(kind)
            await happen()

    async def _crash(self, node: Node) -> None:
        """kill -9, and after a while a new one."""
        node.crash()
        await asyncio.sleep(self._random.uniform(0, 4))
        node.start()

    async def _restart(self, node: EngineNode) -> None:
        """SIGTERM, which is not waited for for ever."""
        process = node.process
        if node.up is None or process.frozen:
            return
        stopping = self._world.spawn(node.stop(), process)
        await asyncio.wait([stopping], timeout=4)
        if process is node.process:
            node.crash()
            node.start()

    async def _pause(self, node: Node) -> None:
        """SIGSTOP, and after a while SIGCONT."""
        process = node.process
        if process.frozen:
            return
        self._world.trace(f"{node.name} stands still")
        process.frozen = True
        await asyncio.sleep(self._random.choice((0.2, 2.0, 8.0)))
        self._world.trace(f"{node.name} goes on")
        self._world.loop.thaw(process)

    async def _isolate(self, node: EngineNode) -> None:
        """No client, worker or service reaches it, though the store does."""
        process: Process = node.process
        self._world.network.cut_off(process)
        await asyncio.sleep(self._random.uniform(0.5, 8))
        self._world.network.join(process)

    async def _outage(self, node: EngineNode) -> None:
        """Of one engine's way to the store, or of the store."""
        down, engines = self._world.database.down, self._world.engines
        names = [node.name] if self._random.random() < 0.5 else [each.name for each in engines]
        self._world.trace(f"no store for {', '.join(names)}")
        down |= dict.fromkeys(names)
        await asyncio.sleep(self._random.uniform(0.2, 6))
        for name in names:
            down.pop(name, None)

    async def _jump(self, node: EngineNode) -> None:
        """Of the clock, as after a failover to a database whose time is another."""
        if node.clock is not None:
            node.clock.offset += self._random.choice((-3_000_000, -200_000, 200_000, 3_000_000))

    async def _forget(self, node: EngineNode) -> None:
        """An entry of memory is gone; the table has it still."""
        if node.up is not None:
            alarms = node.up._loop.alarms
            known = sorted({key for key, _ in alarms._armed})
            if known:
                alarms.disarm(self._random.choice(known))

    async def _rebuild(self, node: EngineNode) -> None:
        """The rows of an instance are made from its log again, in the middle of whatever happens to it."""
        instances = list(self._world.watch.instances)
        if node.up is not None and instances:
            engine, instance = node.up, self._random.choice(instances)

            async def rebuild() -> None:
                with contextlib.suppress(TenutoError):
                    await engine.rebuild_owed(instance)

            self._world.spawn(rebuild(), node.process)

    def _skew_clocks(self) -> None:
        faults = self._world.faults
        if faults.has("skewed clocks"):
            faults.struck_by("skewed clocks")
            for node in self._world.engines:
                offset = self._random.choice((-2_000_000, -100_000, 0, 100_000, 2_000_000))
                node.skew = (offset, self._random.uniform(0.98, 1.02))
