"""A world: engines, workers, services and clients over one store, and everything that goes wrong between them.

    World(seed).run()      chaos → heal → until all is at rest → what must hold then

A seed is a whole story: which faults there are, how often, which definitions, who asks what, and in which order everything
happens. The same seed tells the same story. The engines are the engine's own, unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from random import Random
from typing import Any

from msgspec import Struct

import engine.cache
import engine.registry
from domain.definition.parse import load_program
from domain.definition.program import Program
from domain.errors import TenutoError
from domain.state import State
from engine.engine import Engine, EngineOptions
from engine.errors import StoppedError
from engine.ports import Recorded
from engine.store.memory import MemoryStore
from simulation import aftermath
from simulation.clients import NAMESPACE, Asked, Client, Customer, Operator
from simulation.definitions import ORDER, QUEUES, Writer, deployable
from simulation.faults import Faults
from simulation.invariants import Watch
from simulation.network import Network
from simulation.remote_worker import RemoteWorker, Report
from simulation.services import HttpConnector, Services
from simulation.store import Connection, Database
from simulation.virtual_time import Process, Violation, VirtualClock, VirtualLoop

PATIENCE = 240.0
"""Seconds within which everything must have come to its end once nothing goes wrong any more."""
REST = 12.0
"""Seconds in which late results may still come."""
LEASE_SECONDS = 3.0

log = logging.getLogger("tenuto")


class Size(Struct, frozen=True, kw_only=True):
    """How much of a world there is; a failing one is made smaller."""

    without: frozenset[str] = frozenset()
    chaos: float = 1.0
    instances: int = 99


class Outcome(Struct, frozen=True, kw_only=True):
    """`digest` is of everything that happened; `struck` counts faults by kind."""

    seed: int
    digest: str
    struck: dict[str, int]
    rates: dict[str, float]
    events: int
    instances: int
    seconds: float
    steps: int
    problem: str | None = None


class EngineNode:
    """One engine process after the other, under one name."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.process = Process(name)
        self.up: Engine | None = None
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
        self._world.spawn(self._start(), self.process)

    async def _start(self) -> None:
        """Until it is up: a process that cannot reach its store is started again by whoever looks after it."""
        world, process = self._world, self.process
        clock = self.clock = world.clock(*self.skew)
        while True:
            try:
                connectors = {"http": HttpConnector(world.services, world.network)}
                opened = await Engine.open(
                    Connection(world.database, process),
                    clock,
                    connectors=connectors,
                    options=EngineOptions(lease_seconds=LEASE_SECONDS),
                )
                if world.faults.has("small cache"):
                    opened._loop.decider.cache = engine.cache.Cache(limit=1)
                    world.faults.struck_by("small cache")
                await opened.start()
            except TenutoError:
                await clock.sleep(0.5)
            else:
                self.up = opened
                return

    async def stop(self) -> None:
        """As a deploy does it."""
        stopping, self.up = self.up, None
        if stopping is not None:
            self._world.trace(f"{self.name} stops")
            await stopping.stop(grace_seconds=1.0)

    def crash(self) -> None:
        self._world.trace(f"{self.name} crashes")
        self.up = None
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


class World:
    """`memory` makes the store that is used: a broken one shows that the checks bite."""

    def __init__(
        self,
        seed: int,
        size: Size | None = None,
        *,
        memory: Callable[[VirtualClock], MemoryStore] = MemoryStore,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.size = size or Size()
        self.random = self._dice("choices")
        self.loop = VirtualLoop(self._dice("order"), shuffled=self.random.random() < 0.8)
        self.faults = Faults(self._dice("faults"), without=self.size.without)
        self.network = Network(self.loop, self._dice("network"), self.faults)
        self.memory = memory(self.clock())
        self.database = Database(self.loop, self.memory, self._dice("store"), self.faults)
        self.services = Services(self.loop, self._dice("services"), self.faults)
        self.watch = Watch(self.memory)
        self.asked: list[Asked] = []
        self.reports: list[Report] = []
        self.engines = [EngineNode(f"engine-{n}", self) for n in range(self.random.choice((1, 2, 2, 3)))]
        self.workers = [
            WorkerNode(f"worker-{n}", self, QUEUES if n == 0 else self.random.choice((QUEUES, QUEUES[:1])))
            for n in range(self.random.randint(1, 4))
        ]
        self._chaos = self.random.choice((6.0, 15.0, 40.0)) * self.size.chaos
        self._instances = min(self.random.randint(2, 12), self.size.instances)
        self._programs: dict[tuple[str, str], Program] = {}
        self._compiled: dict[tuple[str, str], Program] = {}
        self._tell = tell
        self._digest = hashlib.sha256()
        self.database.on_commit += [self._tell_commit, self.watch.committed]

    def run(self) -> Outcome:
        problem = None
        with self._surroundings():
            try:
                self.loop.run(self._story())
                self._check()
            except (Violation, TenutoError) as error:
                problem = str(error)
        if problem is not None:
            self.trace(f"VIOLATION {problem}")
        return Outcome(
            seed=self.seed,
            digest=self._digest.hexdigest()[:16],
            struck=dict(self.faults.struck),
            rates=self.faults.rates,
            events=len(self.memory.log),
            instances=len(self.watch.instances),
            seconds=self.loop.time(),
            steps=self.loop.steps,
            problem=problem,
        )

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """What the engine has as constants, for the time of the story."""
        before = engine.cache.SNAPSHOT_EVERY, engine.registry.load_program, log.level
        if self.faults.has("early snapshots"):
            engine.cache.SNAPSHOT_EVERY = 7
            self.faults.struck_by("early snapshots")
        # A program is the same for every engine that compiles it: once is enough, and half of the time is saved.
        engine.registry.load_program = self._load_program
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            engine.cache.SNAPSHOT_EVERY, engine.registry.load_program = before[:2]
            log.setLevel(before[2])

    def _load_program(self, tree: dict[str, Any], version: str, hash: str) -> Program:
        key = (hash, version)
        if key not in self._compiled:
            self._compiled[key] = load_program(tree, version, hash)
        return self._compiled[key]

    # What its inhabitants ask of it --------------------------------------------------

    def trace(self, line: str) -> None:
        line = f"{self.loop.time():12.6f} {line}"
        self._digest.update(line.encode())
        if self._tell is not None:
            self._tell(line)

    def clock(self, offset: int = 0, rate: float = 1.0) -> VirtualClock:
        return VirtualClock(self.loop, Random(self.random.getrandbits(64)), offset=offset, rate=rate)

    def spawn(self, what: Coroutine[Any, Any, None], process: Process) -> asyncio.Task[None]:
        return self.loop.create_task(what, context=process.context.copy())

    def some_engine(self) -> EngineNode:
        return self.random.choice(self.engines)

    # The story -----------------------------------------------------------------------

    async def _story(self) -> None:
        self.trace(f"seed {self.seed}: {', '.join(f'{kind} {rate:.2f}' for kind, rate in self.faults.rates.items())}")
        self._skew_clocks()
        for node in (*self.engines, *self.workers):
            node.start()
        names = await self._deploy()
        customers = [self._live(number, names) for number in range(self._instances)]
        trouble = [self.loop.create_task(one) for one in self._troubles()]
        await asyncio.sleep(self._chaos)
        for one in trouble:
            one.cancel()
        await self._heal()
        operator = Operator(self._client("operator"), self._open_instances)
        process = Process("operator")
        self.spawn(operator.run(), process)
        await self._come_to_rest(customers)
        await asyncio.sleep(REST)
        process.alive = False

    async def _deploy(self) -> list[str]:
        """Through the engine, whatever happens to it meanwhile."""
        trees = [Writer(self.random, f"random-{n}").definition() for n in range(self.random.randint(1, 2))]
        if self.random.random() < 0.3:
            trees.append(ORDER)
        for tree in trees:
            wanted = deployable(tree)
            while True:
                try:
                    done = await self.some_engine().engine.deploy(NAMESPACE, wanted, actor="ann", request_id=None)
                except TenutoError:
                    await asyncio.sleep(0.2)
                else:
                    break
            self._programs[done.name, done.version] = self._load_program(tree, done.version, done.hash)
        return [tree["name"] for tree in trees]

    def _live(self, number: int, names: list[str]) -> asyncio.Task[None]:
        customer = Customer(self._client(f"client-{number}"), names, number)
        return self.spawn(customer.run(self._chaos), Process(f"client-{number}"))

    def _client(self, name: str) -> Client:
        return Client(
            name,
            self.clock(),
            Random(self.random.getrandbits(64)),
            network=self.network,
            faults=self.faults,
            choose=self.some_engine,
            record=self.asked,
        )

    async def _come_to_rest(self, customers: list[asyncio.Task[None]]) -> None:
        give_up_at = self.loop.time() + PATIENCE
        while self._open_instances() or not all(task.done() for task in customers):
            if self.loop.time() > give_up_at:
                return  # The checks say what is left.
            await asyncio.sleep(0.5)
        for task in customers:
            await task

    def _open_instances(self) -> list[State]:
        states = [instance.state for instance in self.watch.instances.values()]
        return [state for state in states if not state.ended or state.open]

    # Trouble ---------------------------------------------------------------------------

    def _troubles(self) -> Iterable[Coroutine[Any, Any, None]]:
        for node in self.engines:
            yield self._again_and_again("engine crash", lambda node=node: self._crash(node))  # type: ignore[misc]
            yield self._again_and_again("engine restart", lambda node=node: self._restart(node))  # type: ignore[misc]
            yield self._again_and_again("engine pause", lambda node=node: self._pause(node))  # type: ignore[misc]
            yield self._again_and_again("isolation", lambda node=node: self._isolate(node))  # type: ignore[misc]
            yield self._again_and_again("store outage", lambda node=node: self._outage(node))  # type: ignore[misc]
            yield self._again_and_again("clock jump", lambda node=node: self._jump(node))  # type: ignore[misc]
            yield self._again_and_again("forgotten timer", lambda node=node: self._forget(node))  # type: ignore[misc]
        for worker in self.workers:
            yield self._again_and_again("worker crash", lambda node=worker: self._crash(node))  # type: ignore[misc]
            yield self._again_and_again("worker pause", lambda node=worker: self._pause(node))  # type: ignore[misc]

    async def _again_and_again(self, kind: str, happen: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while (pause := self.faults.pause_before(kind)) is not None:
            await asyncio.sleep(pause)
            self.faults.struck_by(kind)
            await happen()

    async def _crash(self, node: Node) -> None:
        node.crash()
        await asyncio.sleep(self.random.uniform(0, 4))
        node.start()

    async def _restart(self, node: EngineNode) -> None:
        """SIGTERM, and after a while a new one."""
        if node.up is None or node.process.frozen:
            return
        process = node.process
        stopping = self.spawn(node.stop(), process)
        await asyncio.wait([stopping], timeout=4)
        if process is node.process:
            process.alive = False
            self.network.gone(process)
            node.process = Process(node.name)
            node.start()

    async def _pause(self, node: Node) -> None:
        process = node.process
        if process.frozen:
            return
        self.trace(f"{node.name} stands still")
        process.frozen = True
        await asyncio.sleep(self.random.choice((0.2, 2.0, 8.0)))
        self.trace(f"{node.name} goes on")
        self.loop.thaw(process)

    async def _isolate(self, node: EngineNode) -> None:
        process = node.process
        self.network.cut_off(process)
        await asyncio.sleep(self.random.uniform(0.5, 8))
        self.network.join(process)

    async def _outage(self, node: EngineNode) -> None:
        """Of one engine's way to the store, or of the store."""
        names = [node.name] if self.random.random() < 0.5 else [each.name for each in self.engines]
        self.trace(f"no store for {', '.join(names)}")
        self.database.down |= dict.fromkeys(names)
        await asyncio.sleep(self.random.uniform(0.2, 6))
        for name in names:
            self.database.down.pop(name, None)

    async def _jump(self, node: EngineNode) -> None:
        if node.clock is not None:
            node.clock.offset += self.random.choice((-3_000_000, -200_000, 200_000, 3_000_000))

    async def _forget(self, node: EngineNode) -> None:
        """An entry of memory is gone; the table has it still."""
        if node.up is not None:
            alarms = node.up._loop.alarms
            known = sorted({key for key, _ in alarms._armed})
            if known:
                alarms.disarm(self.random.choice(known))

    def _skew_clocks(self) -> None:
        if self.faults.has("skewed clocks"):
            self.faults.struck_by("skewed clocks")
            for node in self.engines:
                node.skew = (
                    self.random.choice((-2_000_000, -100_000, 0, 100_000, 2_000_000)),
                    self.random.uniform(0.98, 1.02),
                )

    async def _heal(self) -> None:
        """Everything works from now on; clocks agree as well as they do where they are measured."""
        self.trace("all is well from now on")
        self.faults.heal()
        self.services.heal()
        self.database.down.clear()
        for node in (*self.engines, *self.workers):
            self.network.join(node.process)
            if node.process.frozen:
                self.loop.thaw(node.process)
        for node in self.engines:
            node.crash()
            node.skew = (self.random.randint(-5_000, 5_000), 1.0)
            node.start()
        for worker in self.workers:
            if worker.runs and self.random.random() < 0.5:
                worker.crash()
            if not worker.runs:
                worker.start()

    # At the end ------------------------------------------------------------------------

    def _check(self) -> None:
        aftermath.check_clients(self.watch, self.asked)
        aftermath.check_workers(self.watch, self.reports, self.services)
        aftermath.check_replay(self.watch, self.memory, self._programs)
        for node in self.engines:
            if node.up is not None:
                aftermath.check_cache(self.watch, node.up._loop.decider.cache)
                if node.up.incidents:
                    raise Violation(f"I13: {node.name} has incidents: {node.up.incidents}")
        aftermath.check_ends(self.watch, self.services)

    def _dice(self, name: str) -> Random:
        """Chance of its own for each concern, so that leaving out a fault leaves the rest as it is."""
        return Random(f"{self.seed}/{name}")

    def _tell_commit(self, events: list[Recorded]) -> None:
        for recorded in events:
            self.trace(f"{recorded.stream[-6:]} {recorded.version:4} {recorded.topic} {_short(recorded)}")


def _short(recorded: Recorded) -> str:
    return recorded.payload[:160].decode(errors="replace")
