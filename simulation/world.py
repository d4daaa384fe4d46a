"""A world: engines, workers, services and clients over one store, and everything that goes wrong between them.

    World(seed).run()      chaos → heal → until all is at rest → what must hold then

A seed is a whole story: which faults there are, how often, which definitions, who asks what, and in which order all of
it happens. The same seed tells the same story. The engines are the engine's own, unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

from msgspec import Struct

import engine.cache
import engine.registry
from domain.definition.parse import Deployable, load_program
from domain.definition.program import Program
from domain.errors import TenutoError
from domain.state import State
from engine.messages import Deployed
from engine.ports import Recorded
from engine.store.memory import MemoryStore
from simulation import aftermath
from simulation.answers import check_answers
from simulation.clients import NAMESPACE, Asked, Client, Customer, Operator, Read, Stranger
from simulation.definitions import QUEUES, Writer, deployable, order
from simulation.families import children
from simulation.faults import Faults
from simulation.follower import Follower
from simulation.invariants import Watch
from simulation.network import Network
from simulation.nodes import EngineNode, Node, WorkerNode
from simulation.remote_worker import Report
from simulation.services import Services
from simulation.store import Database
from simulation.trouble import Trouble
from simulation.variants import Mapping, Tree, variant
from simulation.virtual_time import (
    START,
    EndlessError,
    NothingToDoError,
    Process,
    ViolationError,
    VirtualClock,
    VirtualLoop,
)

PATIENCE = 240.0
"""Seconds within which everything must have come to its end once nothing goes wrong any more."""
REST = 12.0
"""Seconds in which late results may still come."""

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
    children: int
    seconds: float
    steps: int
    problem: str | None = None


class Complaints(logging.Handler):
    """What the engine logs as an error: a fault of its own, whatever went wrong around it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(
            record.getMessage() + ("" if record.exc_info is None else f": {record.exc_info[1]!r}")
        )


class World:
    """`tell` hears of everything that happens, line by line."""

    def __init__(
        self,
        seed: int,
        size: Size | None = None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.size = size or Size()
        self.random = self._dice("choices")
        shuffled = self.random.random() < 0.8
        self.loop = VirtualLoop(self._dice("order"), shuffled=shuffled)  # type: ignore[abstract]  # as much as is used
        self.faults = Faults(self._dice("faults"), without=self.size.without)
        self.network = Network(self.loop, self._dice("network"), self.faults)
        self.memory = MemoryStore(self.clock())
        self.database = Database(self.loop, self.memory, self._dice("store"), self.faults)
        self.services = Services(self.loop, self._dice("services"), self.faults)
        self._programs: dict[str, dict[str, Program]] = {}
        self.watch = Watch(self.memory, self._programs, self.services.dispatches)
        self.asked: list[Asked] = []
        self.reads: list[Read] = []
        self.reports: list[Report] = []
        self.follower = Follower(self.memory.log, self.clock(), self._dice("follower"), self.faults)
        self.complaints = Complaints()
        self.engines = [EngineNode(f"engine-{n}", self) for n in range(self.random.choice((1, 2, 2, 3)))]
        self.workers = [
            WorkerNode(f"worker-{n}", self, QUEUES if n == 0 else self.random.choice((QUEUES, QUEUES[:1])))
            for n in range(self.random.randint(1, 4))
        ]
        self._chaos = self.random.choice((6.0, 15.0, 40.0)) * self.size.chaos
        self._instances = min(self.random.randint(2, 12), self.size.instances)
        self.renamed: dict[str, Mapping] = {}  # By definition: what the second version calls otherwise.
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
            except ViolationError as error:
                problem = str(error)
            except (NothingToDoError, EndlessError) as error:
                problem = f"I7: {error}"
            except Exception as error:  # noqa: BLE001 - whatever it is, it has no type that a caller could know
                problem = f"I14: {error!r}"
                self.trace(traceback.format_exc())
        if problem is not None:
            self.trace(f"VIOLATION {problem}")
        return Outcome(
            seed=self.seed,
            digest=self._digest.hexdigest()[:16],
            struck=dict(self.faults.struck),
            rates=self.faults.rates,
            events=len(self.memory.log),
            instances=len(self.watch.instances),
            children=len(self._children()),
            seconds=self.loop.time(),
            steps=self.loop.steps,
            problem=problem,
        )

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """What the engine has as constants, for the time of the story."""
        level = log.level
        with contextlib.ExitStack() as stack:
            if self.faults.has("early snapshots"):
                stack.enter_context(patch.object(engine.cache, "SNAPSHOT_EVERY", 7))
                self.faults.struck_by("early snapshots")
            # A program is the same for every engine that compiles it: once is enough, and half of the time is saved.
            stack.enter_context(patch.object(engine.registry, "load_program", self._load_program))
            stack.callback(log.setLevel, level)
            stack.callback(log.removeHandler, self.complaints)
            stack.enter_context(patch.object(log, "propagate", False))
            log.setLevel(logging.ERROR)
            log.addHandler(self.complaints)
            yield

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

    def nodes(self) -> list[Node]:
        return [*self.engines, *self.workers]

    def some_engine(self) -> EngineNode:
        return self.random.choice(self.engines)

    # The story -----------------------------------------------------------------------

    async def _story(self) -> None:
        self.trace(f"seed {self.seed}: {', '.join(self.faults.rates)}")
        trouble = Trouble(self)
        for node in self.nodes():
            node.start()
        families = children(self._dice("children"))
        names = await self._deploy(families)
        customers = [self._live(number, names) for number in range(self._instances)]
        if families:
            customers.append(self._meddle())
        following = self.spawn(self.follower.run(), Process("follower"))
        trouble.begin()
        await asyncio.sleep(self._chaos)
        trouble.heal()
        self.watch.healed_at = START + timedelta(seconds=self.loop.time())
        operator = Operator(self._client("operator"), self._open_instances)
        process = Process("operator")
        self.spawn(operator.run(), process)
        await self._come_to_rest(customers)
        await asyncio.sleep(REST)
        await self._come_to_rest(customers)  # What came late may have left something to do.
        process.alive = False
        following.cancel()

    async def _deploy(self, families: list[Tree]) -> list[str]:
        """Through the engine, whatever happens to it meanwhile. → what clients may start."""
        names = [tree["name"] for tree in families]
        trees = [
            Writer(self.random, f"random-{n}", names).definition() for n in range(self.random.randint(1, 2))
        ]
        if self.random.random() < 0.3:
            trees.append(order())
        for tree in [*families, *trees]:
            other, renamed = variant(tree, self.random)
            for version in (tree, other):
                done = await self._deploy_one(deployable(version))
                self._programs.setdefault(done.name, {})[done.version] = self._load_program(
                    version, done.version, done.hash
                )
            self.renamed[tree["name"]] = renamed
        return [tree["name"] for tree in trees]

    async def _deploy_one(self, wanted: Deployable) -> Deployed:
        while True:
            try:
                return await self.some_engine().engine.deploy(NAMESPACE, wanted, actor="ann", request_id=None)
            except TenutoError:
                await asyncio.sleep(0.2)

    def _live(self, number: int, names: list[str]) -> asyncio.Task[None]:
        customer = Customer(self._client(f"client-{number}"), names, number)
        return self.spawn(customer.run(self._chaos), Process(f"client-{number}"))

    def _meddle(self) -> asyncio.Task[None]:
        stranger = Stranger(self._client("stranger"), self._kin)
        return self.spawn(stranger.run(self._chaos), Process("stranger"))

    def _children(self) -> dict[str, str]:
        """And whose they are."""
        known = self.watch.instances.items()
        return {id: one.state.parent.instance_id for id, one in known if one.state.parent is not None}

    def _kin(self) -> list[str]:
        """Each child twice, and its parent once."""
        children = self._children()
        return [*children, *children, *children.values()]

    def _client(self, name: str) -> Client:
        return Client(
            name,
            self.clock(),
            Random(self.random.getrandbits(64)),
            network=self.network,
            faults=self.faults,
            choose=self.some_engine,
            record=self.asked,
            renamed=self.renamed,
            reads=self.reads,
            version_of=self.watch.version_of,
        )

    async def _come_to_rest(self, customers: list[asyncio.Task[None]]) -> None:
        give_up_at = self.loop.time() + PATIENCE
        while self._open_instances() or not all(task.done() for task in customers):
            if self.loop.time() > give_up_at:
                waiting = [number for number, task in enumerate(customers) if not task.done()]
                if waiting:
                    raise ViolationError(f"I16: clients {waiting} have never got an answer")
                return  # The checks say what is left.
            await asyncio.sleep(0.5)
        for task in customers:
            await task

    def _open_instances(self) -> list[State]:
        states = [instance.state for instance in self.watch.instances.values()]
        return [state for state in states if not state.ended or state.open]

    # At the end ------------------------------------------------------------------------

    def _check(self) -> None:
        aftermath.check_clients(self.watch, self.asked)
        aftermath.check_kept(self.watch, self.asked)
        check_answers(self.watch, self.asked, self._programs)
        aftermath.check_reads(self.reads)
        aftermath.check_workers(self.watch, self.reports, self.services)
        aftermath.check_replay(self.watch, self.memory, self._programs)
        for node in self.engines:
            if node.up is not None:
                aftermath.check_cache(self.watch, node.up._loop.decider.cache)
                if node.up.incidents:
                    raise ViolationError(f"I13: {node.name} has incidents: {node.up.incidents}")
        aftermath.check_ends(self.watch, self.services)
        while self.follower.position < len(self.memory.log):
            self.follower.catch_up(len(self.memory.log))
        aftermath.check_views(self.watch, self.follower)
        if self.complaints.said or self.loop.faults:
            raise ViolationError(f"I14: it complains of {[*self.complaints.said, *self.loop.faults][:3]}")

    def _dice(self, name: str) -> Random:
        """Chance of its own for each concern, so that leaving out a fault leaves the rest as it is."""
        return Random(f"{self.seed}/{name}")

    def _tell_commit(self, events: list[Recorded]) -> None:
        for recorded in events:
            self.trace(f"{recorded.stream[-6:]} {recorded.version:4} {recorded.topic} {_short(recorded)}")


def _short(recorded: Recorded) -> str:
    return recorded.payload[:160].decode(errors="replace")
