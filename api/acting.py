"""Acts of a person, as commands: who, why, and which execution is meant. For one instance, or for each of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.errors import AmbiguousExecutionError, NothingWaitsError
from api.wiring import Caller
from domain.commands import Command
from domain.errors import UnknownExecutionError
from domain.state import State, Stuck
from engine.messages import Envelope

Make = Callable[[dict[str, Any]], Command]
"""From the envelope of a command, actor and reason included."""


def asked_by(caller: Caller, reason: str, make: Make) -> Callable[[Envelope], Command]:
    """What the engine is handed."""

    def command(env: Envelope) -> Command:
        return make(
            {
                "at": env.at,
                "command_id": env.command_id,
                "entropy": env.entropy,
                "actor": caller.actor,
                "reason": reason,
                "request_id": caller.request_id,
            }
        )

    return command


def execution_meant(state: State, named: str | None, *, undo: bool | None) -> str:
    """The execution that is meant: the one named, or the only one that waits. `undo` says which kind may be.

    Raises NothingWaitsError, AmbiguousExecutionError, UnknownExecutionError (also for one of the other kind).
    """
    waiting = {
        name: found.work.undoes is not None for name, found in state.open.items() if isinstance(found, Stuck)
    }
    fitting = [name for name, is_undo in waiting.items() if undo in (None, is_undo)]
    meant = [named] if named is not None else fitting or list(waiting)
    if not meant:
        raise NothingWaitsError(instance_id=state.id)
    if len(meant) > 1:
        raise AmbiguousExecutionError(
            instance_id=state.id, count=len(meant), executions=meant, named=", ".join(meant)
        )
    (execution,) = meant
    if execution not in fitting:
        reason = _why_not(waiting.get(execution))
        raise UnknownExecutionError(instance_id=state.id, execution=execution, reason=reason)
    return execution


def _why_not(is_undo: bool | None) -> str:
    if is_undo is None:
        return "it does not wait for a person"
    return (
        "it is an undo: give it up (`tenuto give-up`), retry or resolve it"
        if is_undo
        else "it is no undo: skip it (`tenuto skip`), retry or resolve it"
    )
