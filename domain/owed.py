"""What an instance still waits for the world to do: rows of the `owed` table, derived from the state alone.

Neither clock nor definition. After a command the engine writes the difference; after a crash it compares the
whole. One row at most per key: an open execution, `@instance`, or `@deadline/<name>`. `touched` says under which
keys an event can have made a difference, so that the rest need not be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from msgspec import Struct

from domain.events import (
    AlertRaised,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DeadlineSet,
    Event,
    InstanceStarted,
    Paused,
    Resumed,
    StatusChanged,
)
from domain.moves import Forked
from domain.paths import SLOW
from domain.state import Execution, Queued, Running, Scope, State, Stuck, Waiting

INSTANCE = "@instance"
DEADLINE = "@deadline/"


class Invoke(Struct, frozen=True, kw_only=True):
    """Hand this attempt to a worker of `queue` from `due_at` on; it gives up the wait for one at `timer_at`."""

    key: str
    attempt: int
    action: str
    queue: str
    priority: str
    due_at: datetime
    timer_at: datetime | None = None


class Await(Struct, frozen=True, kw_only=True):
    """A worker has it, under `token`; look again at `timer_at`."""

    key: str
    attempt: int
    queue: str
    token: str
    timer_at: datetime | None = None


class Attend(Struct, frozen=True, kw_only=True):
    """A child workflow, the instance `child`, has to be started or waited for; or, for an undo, called back."""

    key: str
    attempt: int
    action: str
    child: str
    timer_at: None = None  # Its time is the child's own affair.


class Listen(Struct, frozen=True, kw_only=True):
    """A signal may come, by instance or by correlation key; look again at `timer_at`.

    `signal` None: any that the definition declares.
    """

    key: str
    signal: str | None = None
    correlation_key: str | None = None
    timer_at: datetime | None = None


class Wake(Struct, frozen=True, kw_only=True):
    """Nothing but time has to pass."""

    key: str
    timer_at: datetime


Effect = Invoke | Await | Attend | Listen | Wake


def owed(state: State, keys: Iterable[str] | None = None) -> dict[str, Effect]:
    """Everything owed, or what is owed under the given keys only."""
    if keys is None:
        keys = [*state.open, INSTANCE, *(DEADLINE + name for name in state.deadlines)]
    found: dict[str, Effect] = {}
    for key in keys:
        effect = _owed_under(state, key)
        if effect is not None:
            found[key] = effect
    return found


def touched(event: Event) -> frozenset[str] | None:
    """The keys under which an event can have changed what is owed; None: any."""
    match event:
        case Paused() | Resumed() | Forked() | StatusChanged(to="completed" | "failed"):
            return None
        case InstanceStarted() | StatusChanged():
            return frozenset({INSTANCE})
        case DeadlineSet() | DeadlineEscalated() | DeadlineMet() | DeadlineMissed():
            return frozenset({DEADLINE + event.name})
        case AlertRaised():  # A slow step is said once: its timer has others to wait for.
            return frozenset({event.alert_id.removesuffix(SLOW)})
        case _:
            execution = getattr(event, "execution", None)
            return frozenset() if execution is None else frozenset({execution})


def _owed_under(state: State, key: str) -> Effect | None:
    if key == INSTANCE:
        return _of_instance(state)
    if key.startswith(DEADLINE):
        return _of_deadline(state, key)
    execution = state.open.get(key)
    return None if execution is None else _of_execution(state, key, execution)


def _of_instance(state: State) -> Effect | None:
    if state.ended or state.version == 0:
        return None
    counting = state.status in ("running", "waiting")
    timer_at = state.start_at if state.status == "pending" else state.timeout_at if counting else None
    if state.correlation_id is not None:
        return Listen(key=INSTANCE, correlation_key=state.correlation_id, timer_at=timer_at)
    return None if timer_at is None else Wake(key=INSTANCE, timer_at=timer_at)


def _of_deadline(state: State, key: str) -> Effect | None:
    deadline = state.deadlines.get(key.removeprefix(DEADLINE))
    if deadline is None or deadline.over or state.ended:
        return None
    coming = [escalation.at for escalation in deadline.escalations]
    return Wake(key=key, timer_at=min([*coming, deadline.due_at]))


def _of_execution(state: State, key: str, execution: Execution) -> Effect | None:
    match execution:
        case Queued(work=work) if work.order is not None:
            held = state.paused and not state.ended
            return None if held else Wake(key=key, timer_at=execution.due_at)
        case Running(work=work) if work.order is not None:
            return Attend(key=key, attempt=execution.attempt, action=work.action, child=execution.token)
        case Queued(work=work, timeouts=limits):
            gives_up_at = _earliest(limits.schedule_to_start_at, limits.schedule_to_close_at)
            if state.paused and not state.ended:
                return None if gives_up_at is None else Wake(key=key, timer_at=gives_up_at)
            return Invoke(
                key=key,
                attempt=execution.attempt,
                action=work.action,
                queue=work.queue,
                priority=work.priority,
                due_at=execution.due_at,
                timer_at=gives_up_at,
            )
        case Running(timeouts=limits):
            looks_again_at = _earliest(
                execution.closes_at, limits.schedule_to_close_at, execution.silent_at, execution.slow_at
            )
            return Await(
                key=key,
                attempt=execution.attempt,
                queue=execution.work.queue,
                token=execution.token,
                timer_at=looks_again_at,
            )
        case Waiting():
            if execution.signal is None:
                return None if execution.until is None else Wake(key=key, timer_at=execution.until)
            correlation_key = execution.correlation_key or state.correlation_id
            return Listen(
                key=key, signal=execution.signal, correlation_key=correlation_key, timer_at=execution.until
            )
        case Stuck() | Scope():
            return None  # A person, or the scope's own blocks, will move it.
        case _:
            assert_never(execution)


def _earliest(*times: datetime | None) -> datetime | None:
    some = [time for time in times if time is not None]
    return min(some) if some else None
