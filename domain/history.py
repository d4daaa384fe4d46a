"""What users read about one instance, folded from its own log: always as new as the log itself.

    history = list(timed(enumerate(events, start=1)))   # when each event happened, and on whose behalf
    transitions(history)                                # S102
    step_executions(history)                            # S085, S091–S098, S145
    instance_view(state, history)                       # the Instance of wire.md: S066–S090

Refuses to know the definition and the database. Lists of many instances come from `projections/`. Next:
`domain/executions.py` (the fold of step executions), `domain/state.py` (what is true now).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from domain.events import CompensationEnded, Event, Status, StatusChanged
from domain.executions import (
    CHILD,
    MANUAL,
    Attempt,
    ExecutionError,
    Executions,
    StepExecution,
    WaitingFor,
    advance,
    touched,
    waiting_for,
)
from domain.happened import Happened, Stimulus, timed
from domain.state import Execution, Queued, Running, Scope, State, Stuck, Waiting, step_of
from domain.times import rfc3339

__all__ = [
    "Attempt",
    "ExecutionError",
    "Happened",
    "NearTimeout",
    "StepExecution",
    "Stimulus",
    "Transition",
    "current_step",
    "instance_view",
    "near_timeouts",
    "step_executions",
    "timed",
    "transitions",
    "waiting_for_of",
]


class Transition(
    Struct, rename="camel", omit_defaults=True, kw_only=True, tag_field="type", tag="transition"
):
    """One change of status (S102)."""

    version: int
    from_status: Status = field(name="from")
    to: Status
    reason: str
    timestamp: str
    actor: str | None = None


def transitions(history: Iterable[Happened]) -> list[Transition]:
    """Every change of status, in order."""
    return [
        Transition(
            version=now.version,
            from_status=now.event.from_status,
            to=now.event.to,
            reason=now.reason or "",
            timestamp=rfc3339(now.at),
            actor=now.actor,
        )
        for now in history
        if isinstance(now.event, StatusChanged)
    ]


def step_executions(history: Iterable[Happened]) -> list[StepExecution]:
    """One entry per execution, in the order in which they began (S085)."""
    executions: Executions = {}
    for now in history:
        advance(executions, now)
    return list(executions.values())


# The instance ----------------------------------------------------------------


Limit = Literal["startToClose", "scheduleToStart", "scheduleToClose", "heartbeat", "wait"]


class NearTimeout(Struct, rename="camel", frozen=True, kw_only=True):
    """The limit that an open execution meets first (S069): `timeout` is a kind of StepFailed's, or `wait`."""

    execution: str
    step_id: str
    timeout: Limit
    at: str


def instance_view(
    state: State, history: Iterable[Happened], *, include_history: bool = False
) -> dict[str, Any]:
    """The Instance of wire.md as plain JSON; `history` are all events up to the state's version.

    `completedSteps` are ids in order of completion, undone ones included; `pendingSteps` are scheduled;
    `nearTimeouts` stand by time. With `include_history`, `history` holds the step executions (S085).
    """
    executions, over = _folded(history)
    last_error = _plain(state.last_error)
    if last_error is not None and state.last_error is not None:
        last_error["timestamp"] = rfc3339(state.last_error.timestamp)
    view: dict[str, Any] = {
        "id": state.id,
        "namespace": state.namespace,
        "definitionName": state.definition,
        "definitionVersion": state.definition_version,
        "correlationId": state.correlation_id,
        "status": state.status,
        "outcome": state.outcome,
        "waitingFor": waiting_for_of(state),
        "businessStatus": state.business_status,
        "paused": state.paused,
        "currentStep": current_step(state),
        "completedSteps": [executions[name].step_id for name in over if _is_done(executions[name])],
        "pendingSteps": [step_of(found) for found in state.open.values() if isinstance(found, Queued)],
        "completedCompensableSteps": [undoable.step for undoable in state.undo.values()],
        "nearTimeouts": [_plain(near) for near in near_timeouts(state)],
        "data": state.data if last_error is None else {**state.data, "lastError": last_error},
        "lastError": last_error,
        "error": _plain(state.error),
        "result": state.result,
        "standing": list(state.standing),
        "labels": dict(state.labels),
        "priority": state.priority,
        "version": state.version,
        "parent": _plain(state.parent),
        "forkedFrom": _plain(state.origin),
        "createdAt": _time(state.created_at),
        "startAt": _time(state.start_at),
        "startedAt": _time(state.started_at),
        "completedAt": _time(state.ended_at),
        "timeoutAt": _time(state.timeout_at),
    }
    if include_history:
        view["history"] = [_plain(execution) for execution in executions.values()]
    return view


def waiting_for_of(state: State) -> list[WaitingFor]:
    """What it waits for, each kind once, sorted. In another status than `waiting` only what a person must do."""
    kinds = {kind for found in state.open.values() if (kind := _waits_for(found)) is not None}
    return sorted(kinds if state.status == "waiting" else kinds & {MANUAL})


def current_step(state: State) -> str | None:
    """The step opened last among those still open; None when there is none, or the instance has ended."""
    if state.ended:
        return None
    steps = [step_of(found) for found in state.open.values() if not isinstance(found, Scope)]
    return steps[-1] if steps else None


def near_timeouts(state: State) -> list[NearTimeout]:
    """The closest limit of every open execution that has one, the nearest first."""
    found = [
        NearTimeout(execution=name, step_id=step_of(execution), timeout=kind, at=rfc3339(at))
        for name, execution in state.open.items()
        for at, kind in sorted(_limits(execution))[:1]
    ]
    return sorted(found, key=lambda near: (near.at, near.execution))


def _limits(
    execution: Execution,
) -> Iterator[
    tuple[datetime, Literal["startToClose", "scheduleToStart", "scheduleToClose", "heartbeat", "wait"]]
]:
    match execution:
        case Queued(timeouts=limits):
            if limits.schedule_to_start_at is not None:
                yield limits.schedule_to_start_at, "scheduleToStart"
            if limits.schedule_to_close_at is not None:
                yield limits.schedule_to_close_at, "scheduleToClose"
        case Running(timeouts=limits):
            if execution.closes_at is not None:
                yield execution.closes_at, "startToClose"
            if execution.silent_at is not None:
                yield execution.silent_at, "heartbeat"
            if limits.schedule_to_close_at is not None:
                yield limits.schedule_to_close_at, "scheduleToClose"
        case Waiting():
            if execution.until is not None:
                yield execution.until, "wait"
        case Stuck() | Scope():
            return


def _waits_for(execution: Execution) -> WaitingFor | None:
    match execution:
        case Waiting():
            return waiting_for(execution.signal, execution.until)
        case Stuck():
            return MANUAL
        case Queued(work=work) | Running(work=work):
            return "child" if work.action.startswith(CHILD) else None
        case Scope():
            return None


def _folded(history: Iterable[Happened]) -> tuple[Executions, list[str]]:
    """The executions in the order in which they began, and the names of those that are over, as they came to be."""
    executions: Executions = {}
    over: dict[str, None] = {}
    for now in history:
        advance(executions, now)
        for name in _concerned(executions, now.event):
            if executions[name].completed_at is not None:
                over.setdefault(name)
            else:
                over.pop(name, None)  # An operator tries it again.
    return executions, list(over)


def _concerned(executions: Executions, event: Event) -> Iterable[str]:
    if isinstance(event, CompensationEnded):
        return [name for name, execution in executions.items() if execution.kind == "compensate"]
    return touched(event)


def _is_done(execution: StepExecution) -> bool:
    return execution.kind != "undo" and execution.status in ("completed", "compensated", "skipped")


def _plain(value: Struct | None) -> Any:
    return None if value is None else msgspec.to_builtins(value)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
