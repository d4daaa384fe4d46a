"""What is asked of instances and changes nothing: history, state now and then, and what a command would do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime

from domain.codec import decode
from domain.commands import Command
from domain.definition.program import Program
from domain.errors import UnknownInstanceError
from domain.events import Event
from domain.evolve import evolve
from domain.instance import decide
from domain.state import State
from engine.cache import fold
from engine.loop import Loop
from engine.messages import Envelope
from engine.ports import Clock, Recorded, Store
from engine.registry import Registry


class Readings:
    """A part of `Engine`. The log is read, never the cache, which may be ahead of its commit."""

    def __init__(self, store: Store, clock: Clock, loop: Loop, registry: Registry) -> None:
        self.store = store
        self.clock = clock
        self._loop = loop
        self._registry = registry

    async def history(
        self, instance_id: str, *, after: int = 0, upto: int | None = None, limit: int | None = None
    ) -> list[Recorded]:
        """Events from the log, never stale. Raises UnknownInstanceError."""
        events = await self.store.read(instance_id, after=after, upto=upto, limit=limit)
        if not events and not (await self.store.versions([instance_id]))[instance_id]:
            raise UnknownInstanceError(instance_id=instance_id)
        return events

    async def state_of(
        self, instance_id: str, *, version: int | None = None, at: datetime | None = None
    ) -> State:
        """Now, after `version` events, or as it was at `at`. Raises UnknownInstanceError."""
        if version is None and at is None:
            return await self._current(instance_id)
        state = State(id=instance_id)
        for recorded in await self.history(instance_id, upto=version):
            event = decode(recorded.topic, recorded.payload)
            if at is not None and event.at is not None and event.at > at:
                break
            evolve(state, event)
        return state

    async def program_of(self, state: State) -> Program:
        return await self.program(state.namespace, state.definition, state.definition_version)

    async def program(self, namespace: str, name: str, version: str | None) -> Program:
        """Raises UnknownDefinitionError. `version` None is the newest."""
        return await self._registry.program(namespace, name, version)

    async def preview(self, instance_id: str, make: Callable[[Envelope], Command]) -> list[Event]:
        """What a command would lead to now: the dry run of `act`, which raises what that would."""
        state = await self._current(instance_id)
        env = Envelope(max(self.clock.now(), state.now or self.clock.now()), "dry-run", 0.0)
        return decide(make(env), state, await self.program_of(state))

    def cached(self, instance_id: str) -> State | None:
        """What the engine works with, if it has the instance in memory and nothing of it is being committed: a copy."""
        entry = self._loop.decider.cache.get(instance_id)
        if entry is None or entry.committed != entry.state.version:
            return None
        return copy.deepcopy(entry.state)

    async def _current(self, instance_id: str) -> State:
        """As committed. Never the cached state, which may be ahead of its commit."""
        state = fold(instance_id, (await self.store.load([instance_id]))[instance_id])
        if not state.version or not state.definition:
            raise UnknownInstanceError(instance_id=instance_id)
        return state
