"""What an instance owes, as rows of the `owed` table."""

from __future__ import annotations

from collections.abc import Iterable

from domain.owed import Attend, Await, Effect, Invoke, Listen, Wake, owed
from domain.state import State
from engine.ports import OwedRow
from engine.tokens import session_of

PRIORITIES = {"high": 0, "normal": 1, "low": 2}


def rows_of(state: State, keys: Iterable[str] | None = None) -> dict[str, OwedRow]:
    """By key; of the given keys only, when given."""
    return {key: row_of(state, effect) for key, effect in owed(state, keys).items()}


def row_of(state: State, effect: Effect) -> OwedRow:
    match effect:
        case Invoke():
            return OwedRow(
                namespace=state.namespace,
                instance=state.id,
                key=effect.key,
                kind="invoke",
                attempt=effect.attempt,
                action=effect.action,
                queue=effect.queue,
                priority=PRIORITIES[effect.priority],
                due_at=effect.due_at,
                timer_at=effect.timer_at,
            )
        case Await():
            return OwedRow(
                namespace=state.namespace,
                instance=state.id,
                key=effect.key,
                kind="await",
                attempt=effect.attempt,
                queue=effect.queue,
                token=effect.token,
                session=session_of(effect.token),
                timer_at=effect.timer_at,
            )
        case Attend():
            return OwedRow(
                namespace=state.namespace,
                instance=state.id,
                key=effect.key,
                kind="child",
                attempt=effect.attempt,
                action=effect.action,
                token=effect.child,
            )
        case Listen():
            return OwedRow(
                namespace=state.namespace,
                instance=state.id,
                key=effect.key,
                kind="listen",
                signal=effect.signal,
                correlation_key=effect.correlation_key,
                timer_at=effect.timer_at,
            )
        case Wake():
            return OwedRow(
                namespace=state.namespace,
                instance=state.id,
                key=effect.key,
                kind="wake",
                timer_at=effect.timer_at,
            )
