"""Signals: always stored; consumed in order by the earliest open wait, or handled by the definition (semantics)."""

from __future__ import annotations

from domain import rollback
from domain.commands import SendSignal
from domain.digest import digest
from domain.errors import (
    InstanceEndedError,
    LimitExceededError,
    SignalConflictError,
    TenutoError,
    UnknownSignalError,
)
from domain.events import SignalHandled, SignalReceived
from domain.state import BufferedSignal, Waiting
from domain.steps.wait import Wait
from domain.turn import Turn

MAX_UNCONSUMED = 1_000


def send_signal(turn: Turn, command: SendSignal) -> None:
    state, rule = turn.state, turn.program.signals.get(command.name)
    known = state.signals.get(command.signal_id)
    if known is not None:
        if known != digest(command.payload):
            raise SignalConflictError(signal_id=command.signal_id)
        return
    if state.ended:
        raise InstanceEndedError(instance_id=state.id, status=state.status, act=f"receive {command.name!r}")
    if rule is None and command.name not in turn.program.awaited:
        raise UnknownSignalError(definition=turn.program.name, name=command.name)
    if len(state.buffer) >= MAX_UNCONSUMED:
        raise LimitExceededError(
            subject="the number of unconsumed signals",
            actual=len(state.buffer) + 1,
            limit=MAX_UNCONSUMED,
            unit="signals",
        )
    if rule is not None and rule.check is not None:
        rule.check(command.payload, f"the payload of signal {command.name!r}")
    patch = _patch(turn, command)
    turn.emit(SignalReceived(signal_id=command.signal_id, name=command.name, payload=command.payload))
    turn.cause = f"signal {command.name} came"
    _deliver(turn, command, patch)


def _deliver(turn: Turn, command: SendSignal, patch: dict[str, object] | None) -> None:
    for execution, open in turn.state.open.items():
        if isinstance(open, Waiting) and open.signal == command.name:
            step = turn.program.steps[open.step]
            assert isinstance(step, Wait)
            step.receive(turn, execution, BufferedSignal(command.signal_id, command.name, command.payload))
            return
    rule = turn.program.signals.get(command.name)
    if rule is None or not rule.acts:
        return  # Kept for a wait that is still to come.
    reason = _reason(turn, command)
    do = "cancel" if rule.cancels else "set"
    turn.emit(SignalHandled(signal_id=command.signal_id, do=do, data=patch))  # type: ignore[arg-type]
    if rule.cancels:
        cancel(turn, reason)


def cancel(turn: Turn, reason: str) -> None:
    """Begins the rollback at once. During the final rollback it changes nothing any more."""
    status = turn.state.status
    if status == "pending":
        turn.end("failed", "cancelled", reason)
    elif status != "compensating":
        rollback.begin(turn, "cancel", reason, rollback.everything(turn), final=True)


def _patch(turn: Turn, command: SendSignal) -> dict[str, object] | None:
    """What the signal sets. Worked out before anything is stored: a payload that lacks it is refused."""
    rule = turn.program.signals.get(command.name)
    if rule is None or rule.set is None:
        return None
    view = turn.view(signal=_as_seen(command))
    return {name: value(view) for name, value in rule.set.items()}


def _reason(turn: Turn, command: SendSignal) -> str:
    rule = turn.program.signals[command.name]
    default = command.reason or f"signal {command.name}"
    if rule.reason is None:
        return default
    try:
        return str(rule.reason(turn.view(signal=_as_seen(command))))
    except TenutoError:
        return default  # A reason is optional for the sender, whatever the definition would like to read.


def _as_seen(command: SendSignal) -> dict[str, object]:
    return {"id": command.signal_id, "name": command.name, "payload": command.payload}
