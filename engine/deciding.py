"""From requests to decisions: loads the instances that are not in memory, and asks the domain.

Faults stay where they are: an instance that cannot be read, or whose decision raises, is an incident of its own, and
the rest of the batch goes on. What it does not know: what is stored, and who is answered.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from domain.commands import MigrateInstance
from domain.errors import NotStartedError, TenutoError, UnknownInstanceError
from domain.evolve import evolve
from domain.instance import advance
from domain.state import State
from engine.cache import Cache, Entry, fold
from engine.draft import Decided, Draft, Request
from engine.errors import NOT_NOW, IncidentError, WrongVersionError
from engine.messages import Envelope
from engine.ports import Clock, Loaded, Store
from engine.registry import Registry

log = logging.getLogger("tenuto.engine")

KEPT_INCIDENTS = 100


class Incident(NamedTuple):
    """A command that could not be decided because of a fault inside."""

    at: datetime
    instance: str
    command: str
    error: str

    def __str__(self) -> str:
        return f"{self.command} on {self.instance}: {self.error}"


class Decider:
    def __init__(self, store: Store, clock: Clock, registry: Registry) -> None:
        self.cache = Cache()
        self.incidents: deque[Incident] = deque(maxlen=KEPT_INCIDENTS)
        self._store = store
        self._clock = clock
        self._registry = registry
        self._commands = 0
        self._prefix = clock.new_id()[-12:]

    async def load(self, draft: Draft, requests: Iterable[Request]) -> None:
        """The entries of all instances asked for; what is not in the cache comes in one query."""
        missing: dict[str, Request] = {}
        for request in requests:
            stream, starts = request.stream, request.program is not None
            entry = self.cache.get(stream)
            if entry is None and starts and not request.tries and stream not in missing:
                entry = Entry(State(id=stream), request.program)  # A new id: there is nothing to load.
                self.cache.put(entry)
            if entry is not None:
                draft.entries[stream] = entry
            elif starts or stream not in missing:  # A child may be asked about before it is started.
                missing[stream] = request
        if missing:
            loaded = await self._store.load(list(missing))
            for stream, request in missing.items():
                await self._load(draft, request, loaded[stream])

    async def _load(self, draft: Draft, request: Request, loaded: Loaded) -> None:
        stream = request.stream
        try:
            entry = Entry(fold(stream, loaded), request.program)
            state = entry.state
            if state.definition:
                entry.program = await self._registry.program(
                    state.namespace, state.definition, state.definition_version
                )
        except NOT_NOW:
            raise
        except Exception as error:  # noqa: BLE001 - an instance that cannot be read must not stop the others
            draft.broken[stream] = error
            return
        draft.entries[stream] = entry
        draft.loaded.add(stream)
        if state.version or entry.program is not None:
            self.cache.put(entry)

    async def decide(self, draft: Draft, request: Request) -> None:
        """Adds what becomes of it to the draft."""
        broken = draft.broken.get(request.stream)
        if broken is not None:
            item = Decided(request=request, at=draft.at, command_id="")
            item.refusal = self.incident(request, broken)
        else:
            item = self._begin(draft, request)
            try:
                self._fold(draft, item)
            except Exception as error:  # noqa: BLE001 - a poison instance leaves the batch alone, as an incident
                item.refusal = self.incident(request, error)
                await self._fold_anew(draft, request.stream)
        draft.decided.append(item)

    def _begin(self, draft: Draft, request: Request) -> Decided:
        """A command is never dated before its stream's last event."""
        now, last = draft.at, draft.entries[request.stream].state.now
        self._commands += 1
        at = now if last is None else max(now, last)
        return Decided(request=request, at=at, command_id=f"{self._prefix}-{self._commands:x}")

    def _fold(self, draft: Draft, item: Decided) -> None:
        request, entry = item.request, draft.entries[item.request.stream]
        before = entry.state.version
        try:
            if entry.program is None:
                raise UnknownInstanceError(instance_id=request.stream)
            if request.expected_version not in (None, before):
                raise WrongVersionError(
                    instance_id=request.stream, expected=request.expected_version, actual=before
                )
            command = request.make(Envelope(item.at, item.command_id, self._clock.entropy()))
            if request.copies and not before:
                state = State(id=request.stream)
                for event in request.copies:
                    evolve(state, event)
                item.events = [*request.copies, *advance(command, state, entry.program)]
                entry.state = state
            else:
                item.events = advance(command, entry.state, entry.program)
            if isinstance(command, MigrateInstance) and item.events:
                entry.program = command.target
        except TenutoError as refusal:
            if entry.state.version != before:
                raise  # A refusal leaves the state as it was; this one did not, so it is a fault.
            unknown = isinstance(refusal, NotStartedError)
            item.refusal = UnknownInstanceError(instance_id=request.stream) if unknown else refusal
        item.version = entry.state.version

    async def _fold_anew(self, draft: Draft, stream: str) -> None:
        """The state was left half changed: what the log had when the batch began, and what the batch decided since."""
        spoilt = draft.entries[stream]
        events = await self._store.read(stream, upto=spoilt.committed) if spoilt.committed else []
        entry = Entry(fold(stream, Loaded(None, events)), spoilt.program)
        for item in draft.decided:
            for event in item.events if item.request.stream == stream else ():
                evolve(entry.state, event)
        draft.entries[stream] = entry
        self.cache.put(entry)

    def incident(self, request: Request, error: Exception) -> TenutoError:
        """Takes note of a fault. What the caller hears: a refusal has its own words."""
        name = getattr(request.make, "__qualname__", "a command")
        log.error("%s on %s failed", name, request.stream, exc_info=error)
        self.incidents.append(Incident(self._clock.now(), request.stream, name, repr(error)))
        if isinstance(error, TenutoError):
            return error
        return IncidentError(command=name, instance_id=request.stream)
