"""Forks: reads the old instance's history, finds the point, and makes the request that begins the new one.

What a point is, and where none can be, stands in `domain/forking.py`. Nothing is written to the old stream.
"""

from __future__ import annotations

from collections.abc import Callable

from domain.codec import decode
from domain.commands import ForkInstance
from domain.errors import LimitExceededError, UnknownInstanceError
from domain.events import Event
from domain.forking import MAX_COPIED, copied, failing_execution, point_at, point_of
from domain.moves import Origin
from domain.state import State
from engine.draft import ClientKey, Request
from engine.messages import Envelope, ForkRequest
from engine.ports import Store
from engine.registry import Registry

MAX_READ = 2 * MAX_COPIED
"""Events that are read of an instance to fork it: those after the point say what has been undone since."""


class Forks:
    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    async def asks(self, request: ForkRequest, new_id: str) -> Request:
        """What to submit. Raises UnknownInstanceError, ForkRefusedError, UnknownExecutionError, LimitExceededError."""
        events = await self._events(request.instance_id)
        version = _point(request, events)
        state = copied(events, version, request.instance_id, new_id)
        program = await self._registry.program(state.namespace, state.definition, state.definition_version)
        key = request.idempotency_key
        return Request(
            stream=new_id,
            make=_forks(request, Origin(request.instance_id, version), state),
            program=program,
            copies=events[:version],
            client=None if key is None else ClientKey(state.namespace, key, request.body_hash),
        )

    async def _events(self, instance_id: str) -> list[Event]:
        recorded = await self._store.read(instance_id, limit=MAX_READ + 1)
        if not recorded:
            raise UnknownInstanceError(instance_id=instance_id)
        if len(recorded) > MAX_READ:
            raise LimitExceededError(
                subject="the length of its history", actual=len(recorded), limit=MAX_READ, unit="events"
            )
        return [decode(one.topic, one.payload) for one in recorded]


def _point(request: ForkRequest, events: list[Event]) -> int:
    if request.version is not None:
        return point_at(events, request.version)
    execution = request.execution or failing_execution(events, request.instance_id)
    return point_of(events, execution, request.instance_id)


def _forks(request: ForkRequest, origin: Origin, state: State) -> Callable[[Envelope], ForkInstance]:
    last = state.now

    def fork(env: Envelope) -> ForkInstance:
        """Never dated before what it has copied."""
        return ForkInstance(
            at=env.at if last is None else max(env.at, last),
            command_id=env.command_id,
            actor=request.actor,
            reason=request.reason,
            request_id=request.request_id,
            origin=origin,
            input=request.input,
            data=request.data,
        )

    return fork
