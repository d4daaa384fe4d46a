"""The processes of a simulated world that may die and come back: engines and workers, one after another.

A node decides nothing: it starts the engine's own code, or a worker, in a process that the loop can stop dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import TenutoError
from engine.cache import Cache
from engine.engine import Engine
from engine.errors import StoppedError
from engine.options import EngineOptions
from simulation.remote_worker import RemoteWorker
from simulation.services import HttpConnector
from simulation.store import Connection
from simulation.virtual_time import Process, VirtualClock

if TYPE_CHECKING:
    from simulation.world import World

LEASE_SECONDS = 3.0
GATHER_SECONDS = 0.001


class EngineNode:
    """One engine process after the other, under one name."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.process = Process(name)
        self.up: Engine | None = None
        self.runs = False
        self.skew = (0, 1.0)
        self.clock: VirtualClock | None = None
        self._world = world

    @property
    def engine(self) -> Engine:
        if self.up is None:
            raise StoppedError
        return self.up

    def start(self) -> None:
        self._world.trace(f"{self.name} starts")
        self.runs = True
        self._world.spawn(self._start(), self.process)

    async def _start(self) -> None:
        """A process that cannot reach its store ends, and another is started by whoever looks after it."""
        world = self._world
        clock = self.clock = world.clock(*self.skew)
        try:
            opened = await Engine.open(
                Connection(world.database, self.process),
                clock,
                connectors={"http": HttpConnector(world.services, world.network)},
                options=EngineOptions(lease_seconds=LEASE_SECONDS, gather_seconds=GATHER_SECONDS),
            )
            if world.faults.has("small cache"):
                opened._loop.decider.cache = Cache(limit=1)
                world.faults.struck_by("small cache")
            await opened.start()
        except TenutoError:
            await clock.sleep(0.5)
            self.crash()
            self.start()
        else:
            self.up = opened

    async def stop(self) -> None:
        """As a deploy does it."""
        stopping, self.up, self.runs = self.up, None, False
        if stopping is not None:
            self._world.trace(f"{self.name} stops")
            await stopping.stop(grace_seconds=1.0)

    def crash(self) -> None:
        self._world.trace(f"{self.name} crashes")
        self.up, self.runs = None, False
        self.process.alive = False
        self._world.network.gone(self.process)
        self.process = Process(self.name)


class WorkerNode:
    def __init__(self, name: str, world: World, queues: tuple[str, ...]) -> None:
        self.name = name
        self.process = Process(name)
        self.runs = False
        self._queues = queues
        self._world = world

    def start(self) -> None:
        world = self._world
        worker = RemoteWorker(
            self.process,
            world.clock(),
            world.random,
            network=world.network,
            services=world.services,
            faults=world.faults,
            choose=world.some_engine,
            queues=self._queues,
            reports=world.reports,
        )
        world.trace(f"{self.name} starts")
        self.runs = True
        world.spawn(worker.run(), self.process)

    def crash(self) -> None:
        self._world.trace(f"{self.name} crashes")
        self.process.alive = self.runs = False
        self._world.network.gone(self.process)
        self.process = Process(self.name)


Node = EngineNode | WorkerNode
