"""The engine, as the API and the command line use it: everything that can be asked of one shard.

It wires the loop (`loop.py`), the worker protocol (`workers.py`), what happens by the clock (`upkeep.py`), the
definitions (`registry.py`) and the dispatchers together. It decides nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from domain.calls import Connector
from domain.commands import Command, SendSignal, StartInstance
from domain.definition.findings import Finding
from domain.definition.parse import Deployable
from domain.definition.verification.children import verify_children
from domain.errors import TenutoError
from domain.state import State
from domain.why import Facts
from engine.children import Children
from engine.dispatcher import Dispatcher
from engine.draft import ClientKey, Request
from engine.errors import NoListenerError, SeveralListenersError
from engine.forks import Forks
from engine.kept_signals import Keeper
from engine.loop import Loop
from engine.messages import (
    Answer,
    BeatReport,
    DefinitionInfo,
    Deployed,
    Envelope,
    ForkRequest,
    Poll,
    PollAnswer,
    ResultStatus,
    StartRequest,
    TaskResult,
)
from engine.onlookers import Onlooker
from engine.options import EngineOptions
from engine.ports import Clock, Store
from engine.readings import Readings
from engine.registry import Registry
from engine.rows import rows_of
from engine.sessions import Sessions
from engine.tokens import Tokens
from engine.upkeep import Upkeep
from engine.waits import within
from engine.witness import Witness
from engine.workers import Workers

log = logging.getLogger("tenuto.engine")

WAIT_CHECK_SECONDS = 1.0
"""How often an awaited instance is looked up in the log, in case another server brings it to its end."""


class Engine(Readings):
    def __init__(
        self,
        store: Store,
        clock: Clock,
        secret: bytes,
        *,
        connectors: Mapping[str, Connector],
        options: EngineOptions,
    ) -> None:
        """Use `Engine.open`."""
        tokens, registry = Tokens(secret), Registry(store, clock)
        loop = Loop(store, clock, registry, tokens, options)
        super().__init__(store, clock, loop, registry)
        self.options = options
        self._sessions = Sessions(store, clock, options.lease_seconds)
        self._workers = Workers(self._loop, store, self._sessions, tokens, clock, self._current)
        self._witness = Witness(self._loop, self._sessions, self._workers, clock)
        self.keeper = Keeper(store, clock, act=self.act, by_key=self.signal_by_key, knows=self._knows)
        self._loop.hooks.owed["listen"].append(self.keeper.listens)
        self._children = Children(store, clock, self._loop, self._registry)
        self._upkeep = Upkeep(
            store,
            clock,
            self._loop,
            sessions=self._sessions,
            workers=self._workers,
            tokens=tokens,
            keeper=self.keeper,
            children=self._children,
        )
        self._forks = Forks(store, self._registry)
        self._dispatchers = [
            Dispatcher(kind, connector, clock, poll=self.poll, report=self.report)
            for kind, connector in connectors.items()
        ]
        self._running: asyncio.Task[None] | None = None
        self._upkeep_task: asyncio.Task[None] | None = None
        self._dispatching: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        clock: Clock,
        *,
        connectors: Mapping[str, Connector] | None = None,
        options: EngineOptions | None = None,
    ) -> Engine:
        """An engine on an open store; it does nothing until `start`."""
        return cls(
            store,
            clock,
            await store.secret(),
            connectors=connectors or {},
            options=options or EngineOptions(),
        )

    async def start(self) -> None:
        """Begins to work: what was owed when the last engine stopped is found in the table. Recovery is no mode."""
        await self._sessions.give_grace()
        await self._upkeep.scan()
        await self._children.scan()
        self._running = asyncio.create_task(self._loop.run())
        self._upkeep_task = asyncio.create_task(self._upkeep.run(self._beat))
        for dispatcher in self._dispatchers:
            await self._sessions.touch(dispatcher.session, dispatcher.worker)
            self._dispatching.append(asyncio.create_task(dispatcher.run()))

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Takes nothing new, lets calls under way end within the grace, and gives its leases back.

        Leases and timers are looked after until the last call has ended.
        """
        await _cancelled(self._dispatching)
        for dispatcher in self._dispatchers:
            await dispatcher.drain(grace_seconds)
        await _cancelled(filter(None, [self._upkeep_task]))
        self._loop.stop()
        if self._running is not None:
            await self._running
        for dispatcher in self._dispatchers:
            try:
                await self._sessions.end(dispatcher.session)
            except TenutoError as error:
                log.warning("the leases of %s end when they are missed: %s", dispatcher.session, error)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Called after each commit with its last position (0 when it is not known): a hint for who follows the log."""
        self._loop.hooks.commit.append(callback)

    @property
    def incidents(self) -> list[str]:
        """The last commands that could not be decided because of a fault inside Tenuto."""
        return list(map(str, self._loop.decider.incidents))

    def facts_of(self, state: State) -> Facts:
        """What this server knows about an instance beside its log: who polls its queues, who holds its leases."""
        return self._witness.facts_of(state)

    # Definitions -----------------------------------------------------------------

    async def deploy(
        self, namespace: str, deployable: Deployable, *, actor: str | None, request_id: str | None
    ) -> Deployed:
        return await self._registry.deploy(namespace, deployable, actor=actor, request_id=request_id)

    async def findings_of_children(self, namespace: str, deployable: Deployable) -> list[Finding]:
        """What is wrong with the definitions that it starts, as far as they are deployed."""
        return verify_children(deployable, await self._registry.children_of(namespace, deployable))

    async def definitions(self, namespace: str) -> list[DefinitionInfo]:
        return await self._registry.newest_of_all(namespace)

    async def definition_versions(self, namespace: str, name: str) -> list[DefinitionInfo]:
        return await self._registry.versions(namespace, name)

    async def definition(self, namespace: str, name: str, version: str | None = None) -> DefinitionInfo:
        return await self._registry.info(namespace, name, version)

    # Instances -------------------------------------------------------------------

    def check_room(self) -> None:
        """Raises OverloadedError when there is too much to do already. Cheap: to be asked before a start is read."""
        self._loop.pressure.check(self.clock.monotonic())

    def new_instance_id(self) -> str:
        return f"{self.options.shard}-{self.clock.new_id()}"

    async def start_instance(self, request: StartRequest, instance_id: str | None = None) -> Answer:
        """Raises UnknownDefinitionError, SchemaMismatchError, IdempotencyConflictError.

        The answer names another instance than `instance_id` when the idempotency key was used before.
        """
        program = await self._registry.program(request.namespace, request.definition, request.version)
        key = request.idempotency_key

        def start(env: Envelope) -> StartInstance:
            return StartInstance(
                at=env.at,
                command_id=env.command_id,
                actor=request.actor,
                request_id=request.request_id,
                namespace=request.namespace,
                input=request.input,
                correlation_id=request.correlation_id,
                labels=request.labels,
                priority=request.priority,
                start_at=request.start_at,
                idempotency_key=key,
            )

        return await self._loop.submit(
            Request(
                stream=instance_id or self.new_instance_id(),
                make=start,
                program=program,
                client=None if key is None else ClientKey(request.namespace, key, request.body_hash),
            )
        )

    async def act(
        self,
        instance_id: str,
        make: Callable[[Envelope], Command],
        *,
        expected_version: int | None = None,
    ) -> Answer:
        """Any command for one instance. Raises UnknownInstanceError and whatever the domain refuses it with.

        Raises WrongVersionError when the instance has another version than the expected one at that very moment.
        """
        return await self._loop.submit(
            Request(stream=instance_id, make=make, expected_version=expected_version)
        )

    async def signal_by_key(
        self,
        namespace: str,
        name: str,
        correlation_key: str,
        signal_id: str,
        payload: object,
        *,
        all: bool = False,
        actor: str | None = None,
        request_id: str | None = None,
    ) -> list[Answer]:
        """To the one open instance that listens, or to all of them. Raises NoListenerError, SeveralListenersError."""
        found = await self.store.listeners(namespace, correlation_key, name)
        if not found:
            raise NoListenerError(correlation_key=correlation_key, signal=name)
        if len(found) > 1 and not all:
            raise SeveralListenersError(correlation_key=correlation_key, signal=name, count=len(found))

        def signal(env: Envelope) -> SendSignal:
            return SendSignal(
                at=env.at,
                command_id=env.command_id,
                actor=actor,
                request_id=request_id,
                signal_id=signal_id,
                name=name,
                payload=payload,
            )

        return [await self.act(instance_id, signal) for instance_id in found]

    async def fork(self, request: ForkRequest) -> Answer:
        """A new instance from a point of an old one. Raises UnknownInstanceError, ForkRefusedError and
        UnknownExecutionError."""
        return await self._loop.submit(await self._forks.asks(request, self.new_instance_id()))

    def onlooker(self, instance_id: str) -> AbstractContextManager[Onlooker]:
        """Of what is committed here of the instance, for as long as the context lasts."""
        return self._loop.onlookers.of(instance_id)

    async def wait_for_end(self, instance_id: str, seconds: float) -> bool:
        """Whether it has ended, within so many seconds. Raises UnknownInstanceError."""
        with self.onlooker(instance_id) as onlooker:
            return await self.wait_for(onlooker, instance_id, seconds)

    async def wait_for(self, onlooker: Onlooker, instance_id: str, seconds: float) -> bool:
        """The same, where an onlooker was there before."""
        give_up_at = self.clock.monotonic() + seconds
        # What runs here will end here, most likely; but another server may be the one to end it.
        ask_the_log = not self._loop.decider.cache.runs(instance_id)
        while not onlooker.ended.done():
            if ask_the_log and (await self._current(instance_id)).ended:
                return True
            left = give_up_at - self.clock.monotonic()
            if left <= 0:
                return False
            await within(self.clock, min(left, WAIT_CHECK_SECONDS), onlooker.ended)
            ask_the_log = True
        return True

    async def rebuild_owed(self, instance_id: str) -> bool:
        """Puts what the log implies in the place of the instance's rows; False when it moved on meanwhile."""
        state = await self._current(instance_id)
        return await self.store.replace_owed(
            instance_id, list(rows_of(state).values()), version=state.version
        )

    # Workers ---------------------------------------------------------------------

    async def poll(self, poll: Poll) -> PollAnswer:
        return await self._workers.poll(poll)

    def pollers(self) -> dict[str, int]:
        """How many polls this server holds, by queue (`http:` stands for all that begin so)."""
        return self._loop.board.pollers()

    def give_back(self, unheard: PollAnswer) -> None:
        """Of an answer that nobody heard: its leases end at once."""
        for task in unheard.tasks:
            self._workers.give_back(task.token)

    async def report(self, results: Sequence[TaskResult]) -> list[ResultStatus]:
        return await self._workers.report(results)

    async def heartbeat(self, session: str, worker: str, beats: Sequence[BeatReport]) -> list[ResultStatus]:
        return await self._workers.heartbeat(session, worker, beats)

    # Inside ----------------------------------------------------------------------

    async def _knows(self, instance_id: str, signal: str) -> bool:
        """Whether the instance goes on, and its definition has to do with signals of that name."""
        state = await self._current(instance_id)
        program = await self.program_of(state)
        return not state.ended and (signal in program.signals or signal in program.awaited)

    async def _beat(self) -> None:
        """The signs of life that nobody sends: of the dispatchers, and of workers that hold a poll open."""
        await self._workers.keep_sessions()
        for dispatcher in self._dispatchers:
            await self._workers.heartbeat(dispatcher.session, dispatcher.worker, dispatcher.beats())


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a task of the engine had ended early", exc_info=outcome)
