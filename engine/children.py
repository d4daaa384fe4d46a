"""Child workflows: a parent's orders are brought to its children, and their ends back to the parent.

    parent owes a `child` row ─► start it ─► it ends ─► CompleteStep or FailStep, under the child's id as token
    parent owes an undo of it ─► cancel it, or undo what it did once it has ended ─► at rest: CompleteStep

Nothing is remembered: each look reads both logs and takes the one step that is missing, so a crash between any two of
them costs nothing, and several servers may look at once. A commit here says where to look; the scan finds the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from domain.calls import StepError
from domain.commands import (
    CancelInstance,
    Command,
    CompleteStep,
    FailStep,
    StartInstance,
    TerminateInstance,
    UndoInstance,
)
from domain.errors import TenutoError
from domain.events import ChildOrder, Outcome, Parent
from domain.paths import UNDO, undo_of
from domain.state import Running, State
from engine.cache import fold
from engine.draft import Request
from engine.errors import NOT_NOW
from engine.loop import Loop
from engine.messages import Answer, Envelope
from engine.ports import Clock, Key, Store
from engine.registry import Registry

log = logging.getLogger("tenuto.children")

LOOKS_AT_ONCE = 256
RETRY_SECONDS = 0.5
SCAN_PAGE = 1_000

ERRORS: dict[Outcome, str] = {
    "failed": "ChildFailedError",
    "compensated": "ChildCompensatedError",
    "timed_out": "ChildTimedOutError",
    "cancelled": "ChildCancelledError",
    "terminated": "ChildTerminatedError",
    "compensation_failed": "ChildCompensationFailedError",
}
"""How the parent's step fails, by the child's outcome."""

MAY_RUN_AGAIN: frozenset[Outcome] = frozenset({"failed", "compensated", "timed_out"})
"""If it left no effects behind. The others are somebody's will."""


class Children:
    def __init__(self, store: Store, clock: Clock, loop: Loop, registry: Registry) -> None:
        self._store = store
        self._clock = clock
        self._loop = loop
        self._registry = registry
        self._due: dict[Key, None] = {}  # (parent, execution), in order.
        self._undone_by: dict[
            str, set[Key]
        ] = {}  # Who undoes a child that is not theirs: forks of its parent.
        self._wake = asyncio.Event()
        loop.hooks.owed["child"].append(lambda row: self._look_at((row.instance, row.key)))
        loop.hooks.end.append(self._look_at_parent)

    async def scan(self) -> None:
        """Everything in the table with which something may be due."""
        after: Key | None = None
        while rows := await self._store.children(SCAN_PAGE, after):
            after = (rows[-1].instance, rows[-1].key)
            for row in rows:
                self._look_at((row.instance, row.key))

    async def attend(self) -> None:
        """One round: waits until there is something to look at, and looks. What could not be done comes again."""
        await self._wake.wait()
        self._wake.clear()
        due = list(islice(self._due, LOOKS_AT_ONCE))
        for key in due:
            del self._due[key]
        if self._due:
            self._wake.set()
        done = await asyncio.gather(*(self._look(key) for key in due))
        if not all(done):
            await self._clock.sleep(RETRY_SECONDS)
            for key in (key for key, well in zip(due, done, strict=True) if not well):
                self._look_at(key)

    def _look_at(self, key: Key) -> None:
        self._due[key] = None
        self._wake.set()

    def _look_at_parent(self, child: State) -> None:
        """The child has ended, or something has happened since."""
        if child.parent is not None:
            self._look_at((child.parent.instance_id, child.parent.execution))
            self._look_at((child.parent.instance_id, undo_of(child.parent.execution)))
        for key in self._undone_by.pop(child.id, ()):
            self._look_at(key)

    async def _look(self, key: Key) -> bool:
        """False when it must be tried again, because it was not the moment for it."""
        try:
            await self._take_step(*key)
        except NOT_NOW:
            return False
        except TenutoError as refusal:
            log.info("%s of %s moved on meanwhile: %s", key[1], key[0], refusal)
        except Exception:
            log.exception("%s of %s could not be looked at", key[1], key[0])
        return True

    async def _take_step(self, instance: str, execution: str) -> None:
        parent = await self._state(instance)
        running = parent.open.get(execution)
        if not isinstance(running, Running) or running.work.order is None:
            return
        child = await self._state(running.token)
        if execution.endswith(UNDO) and child.parent is not None and child.parent.instance_id != instance:
            self._undone_by.setdefault(child.id, set()).add((instance, execution))
            child = await self._state(child.id)  # What comes after this one is told.
        look = _Look(self, parent, execution, running, running.work.order, child)
        await (look.call_back() if execution.endswith(UNDO) else look.run())

    async def _state(self, instance: str) -> State:
        """As committed."""
        return fold(instance, (await self._store.load([instance]))[instance])

    async def ask(self, instance: str, make: Callable[[Envelope], Command]) -> Answer:
        return await self._loop.submit(Request(stream=instance, make=make))

    async def start(self, look: _Look) -> None:
        """Raises what refuses the child: UnknownDefinitionError, SchemaMismatchError, …"""
        namespace, order = look.parent.namespace, look.order
        program = await self._registry.program(namespace, order.definition, order.version)
        await self._loop.submit(Request(stream=look.child.id, make=look.starts, program=program))


class _Look:
    """One parent's execution and its child, as their logs were a moment ago."""

    def __init__(
        self,
        children: Children,
        parent: State,
        execution: str,
        running: Running,
        order: ChildOrder,
        child: State,
    ) -> None:
        self.parent = parent
        self.order = order
        self.child = child
        self._children = children
        self._execution = execution
        self._running = running

    async def run(self) -> None:
        if self.child.ended:
            await self._tell_parent(self.error())
        elif not self.child.version:
            try:
                await self._children.start(self)
            except NOT_NOW:
                raise
            except TenutoError as refusal:
                error = StepError(type=type(refusal).__name__, message=str(refusal), retryable=False)
                await self._tell_parent(error)

    async def call_back(self) -> None:
        """An undo: over when the child has ended, and nothing of it stands or is being undone."""
        child, reason = self.child, self.order.reason
        if not child.version:
            await self._nip_in_the_bud()
        elif not child.ended:
            await self._children.ask(child.id, self._ends)
        elif child.open or child.rollback is not None:
            return  # It will be heard of again.
        elif not child.undo or (self.order.do == "terminate" and child.outcome == "terminated"):
            await self._tell_parent(None)
        elif all(entry.given_up for entry in child.undo.values()):
            standing = list(child.undo)
            message = f"child {child.id} could not undo {', '.join(standing)}"
            details = {"instanceId": child.id, "standing": standing}
            error = StepError(type="ChildUndoError", message=message, retryable=False, details=details)
            await self._tell_parent(error)
        else:
            await self._children.ask(
                child.id,
                lambda env: UndoInstance(
                    at=env.at, command_id=env.command_id, actor=self._actor, reason=reason, by_parent=True
                ),
            )

    async def _nip_in_the_bud(self) -> None:
        """It was not started yet, and another server may be about to: it is, so that its end is there to be found."""
        try:
            await self._children.start(self)
        except NOT_NOW:
            raise
        except TenutoError:
            await self._tell_parent(None)  # Nobody can start it.
        else:
            await self._children.ask(self.child.id, self._ends)

    @property
    def _actor(self) -> str:
        return f"instance:{self.parent.id}"

    def starts(self, env: Envelope) -> StartInstance:
        order, work = self.order, self._running.work
        execution = self._execution.removesuffix(UNDO)
        undone = self.parent.undo.get(execution)
        return StartInstance(
            at=env.at,
            command_id=env.command_id,
            actor=self._actor,
            namespace=self.parent.namespace,
            input=work.input if undone is None else undone.input,
            correlation_id=order.correlation_id,
            labels=order.labels,
            priority=work.priority,
            timeout_at=order.timeout_at,
            parent=Parent(self.parent.id, execution, order.depth),
        )

    def _ends(self, env: Envelope) -> Command:
        kind = TerminateInstance if self.order.do == "terminate" else CancelInstance
        return kind(at=env.at, command_id=env.command_id, actor=self._actor, reason=self.order.reason)

    async def _tell_parent(self, error: StepError | None) -> None:
        attempt, token = self._running.attempt, self._running.token

        def make(env: Envelope) -> Command:
            if error is None:
                return CompleteStep(
                    at=env.at,
                    command_id=env.command_id,
                    execution=self._execution,
                    attempt=attempt,
                    token=token,
                    output=self.child.result if self.order.do == "run" else None,
                )
            return FailStep(
                at=env.at,
                command_id=env.command_id,
                entropy=env.entropy,
                execution=self._execution,
                attempt=attempt,
                token=token,
                error=error,
            )

        await self._children.ask(self.parent.id, make)

    def error(self) -> StepError | None:
        """How the step fails by the child's outcome; None when it succeeded."""
        child = self.child
        outcome = child.outcome
        if outcome is None or outcome == "succeeded":
            return None
        said = "" if child.error is None else f": {child.error.message}"
        details = {"instanceId": child.id, "outcome": outcome}
        if child.error is not None:
            details["type"] = child.error.type
        standing = list(child.undo)
        return StepError(
            type=ERRORS[outcome],
            message=f"child workflow {child.definition} ended as {outcome}{said}",
            code=None if child.error is None else child.error.code or child.error.type,
            retryable=outcome in MAY_RUN_AGAIN and not standing,
            details={**details, "standing": standing} if standing else details,
        )
