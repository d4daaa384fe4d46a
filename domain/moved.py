"""What a migration and a fork make of the state: appliers of `evolve.py`, in a file of their own.

Executions keep their names whatever becomes of their steps: names are in idempotency keys and leases, and those must
not change. What a name stands for is said in the state, and changes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import UNSET
from msgspec.structs import replace

from domain import events as e
from domain.moves import Forked, Migrated
from domain.state import Attempted, Deadline, Queued, Running, State, Waiting, Work
from domain.times import MILLISECOND


def migrated(state: State, event: Migrated) -> None:
    state.definition_version, state.definition_hash = event.to_version, event.to_hash
    for execution, step in event.positions.items():
        _stands_at(state, execution, step)
    for execution, step in event.undos.items():
        if (work := work_of(state, execution)) is not None:
            work.compensate_with = step
        else:
            state.undo[execution] = replace(state.undo[execution], undo_step=step)


def _stands_at(state: State, execution: str, step: str) -> None:
    open = state.open.get(execution)
    if open is not None and not isinstance(open, Attempted):
        open.step = step
    elif (work := work_of(state, execution)) is not None:
        work.step = step
    else:
        state.undo[execution] = replace(state.undo[execution], step=step)


def work_of(state: State, execution: str) -> Work | None:
    """Of what is open, or is over and may still succeed; None for what has completed."""
    open, over = state.open.get(execution), state.closed.get(execution)
    if isinstance(open, Attempted):
        return open.work
    return None if over is None else over.work


def forked(state: State, event: Forked) -> None:
    """What it has inherited keeps the key under which services know it; its parent waits for the other one."""
    for work in _works(state):
        work.owner = work.owner or event.origin.instance_id
    for execution, done in state.undo.items():
        state.undo[execution] = replace(done, owner=done.owner or event.origin.instance_id)
    state.origin, state.parent, state.created_at = event.origin, None, event.at
    if event.input is not UNSET:
        state.data["input"] = event.input
    state.data.update(event.data or {})
    _put_off(state, event.delay_ms * MILLISECOND)


def _works(state: State) -> Iterator[Work]:
    yield from (open.work for open in state.open.values() if isinstance(open, Attempted))
    yield from (over.work for over in state.closed.values() if over.work is not None)


def _put_off(state: State, delay: timedelta) -> None:
    """Every time that is still to come."""
    state.start_at, state.timeout_at = _later(state.start_at, delay), _later(state.timeout_at, delay)
    for open in state.open.values():
        match open:
            case Queued() | Running():
                open.timeouts = replace(
                    open.timeouts,
                    schedule_to_start_at=_later(open.timeouts.schedule_to_start_at, delay),
                    schedule_to_close_at=_later(open.timeouts.schedule_to_close_at, delay),
                )
                if isinstance(open, Queued):
                    open.due_at += delay
                    if (order := open.work.order) is not None:
                        open.work.order = replace(order, timeout_at=_later(order.timeout_at, delay))
            case Waiting():
                open.until = _later(open.until, delay)
            case _:
                pass
    for name, deadline in state.deadlines.items():
        coming = [e.Escalation(one.percent, one.at + delay) for one in deadline.escalations]
        state.deadlines[name] = Deadline(
            due_at=deadline.due_at + delay, escalations=coming, over=deadline.over
        )


def _later(moment: datetime | None, delay: timedelta) -> datetime | None:
    return None if moment is None else moment + delay
