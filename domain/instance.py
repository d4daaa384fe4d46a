"""The life of one workflow instance. This is the heart of Tenuto: three functions.

    decide(command, state, program) -> [Event]   what happens, or a typed refusal
    evolve(state, event) -> State                what is now true
    owed(state) -> {key: Effect}                 what is due now: service commands, timers, signals listened for

Commands are in `commands.py`, events in `events.py`, the state in `state.py`. No clock, no I/O, no chance: whatever
varies arrives inside the command. What to do after a command is the difference that it made to what is owed; what to
do after a crash is what is owed: recovery is not a mode.

The five laws that hold for them are written down, and tested, in `tests/domain/test_laws.py`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from domain import acts, commands, deadlines, forking, migration, results, signals
from domain.commands import Command, StartInstance
from domain.definition.program import Program
from domain.errors import MappingError, NotStartedError, UnusableValueError
from domain.events import Event, InstanceStarted, Json
from domain.evolve import evolve
from domain.jsonvalues import as_text
from domain.owed import owed
from domain.state import State
from domain.steps.task import PRIORITIES
from domain.turn import Turn

__all__ = ["advance", "decide", "evolve", "owed"]


def decide(command: Command, state: State, program: Program) -> list[Event]:
    """What happens when `state` is asked for `command`: events, none when it is redundant.

    Raises a subclass of TenutoError when it is impossible. `state` is not touched.
    """
    return advance(command, copy.deepcopy(state), program)


def advance(command: Command, state: State, program: Program) -> list[Event]:
    """`decide`, with its events folded into `state` as they come: what the engine uses, to fold each of them once.

    After a refusal `state` is as it was. After any other exception it must be thrown away.
    """
    if state.version == 0 and not isinstance(command, StartInstance):
        raise NotStartedError(instance_id=state.id, act=type(command).__name__)
    turn = Turn(state, program, command)
    HANDLERS[type(command)](turn, command)
    turn.run()
    turn.settle()
    return turn.events


def start_instance(turn: Turn, command: StartInstance) -> None:
    """Creates the instance; it begins at once, or when `startAt` has come."""
    state, program = turn.state, turn.program
    if state.version:
        return
    if command.priority is not None and command.priority not in PRIORITIES:
        raise UnusableValueError(
            subject="the priority", value=command.priority, expected=" or ".join(PRIORITIES)
        )
    if program.check_input is not None:
        program.check_input(command.input, "the input")
    starts_at = max(command.start_at or command.at, command.at)
    turn.emit(
        InstanceStarted(
            namespace=command.namespace,
            definition=program.name,
            version=program.version,
            definition_hash=program.hash,
            input=command.input,
            correlation_id=command.correlation_id,
            labels={**_labels(program, command.input), **(command.labels or {})} or None,
            priority=command.priority,
            timeout_at=_times_out_at(program, starts_at, command.timeout_at),
            start_at=command.start_at if starts_at > command.at else None,
            parent=command.parent,
            idempotency_key=command.idempotency_key,
        )
    )
    if state.start_at is None:
        deadlines.begin(turn, "started")
    else:
        turn.say_business_status("pending")


def _times_out_at(program: Program, starts_at: datetime, given: datetime | None) -> datetime | None:
    """By its definition, or earlier if its parent's step says so."""
    limit = program.timeout_ms
    own = None if limit is None else starts_at + timedelta(milliseconds=limit)
    return min(filter(None, (own, given)), default=None)


def _labels(program: Program, input: Json) -> dict[str, str]:
    """The definition's labels; one whose data this input does not have is left out."""
    labels: dict[str, str] = {}
    for name, value in program.labels.items():
        with contextlib.suppress(MappingError):
            labels[name] = as_text(value({"input": input}))
    return labels


HANDLERS: dict[type[Command], Callable[[Turn, Any], None]] = {
    commands.StartInstance: start_instance,
    commands.ClaimStep: results.claim_step,
    commands.Beat: results.beat,
    commands.CompleteStep: results.complete_step,
    commands.FailStep: results.fail_step,
    commands.LoseLease: results.lose_lease,
    commands.FireTimer: deadlines.fire_timer,
    commands.SendSignal: signals.send_signal,
    commands.CancelInstance: acts.cancel_instance,
    commands.UndoInstance: acts.undo_instance,
    commands.TerminateInstance: acts.terminate_instance,
    commands.PauseInstance: acts.pause_instance,
    commands.ResumeInstance: acts.resume_instance,
    commands.RetryStep: acts.retry_step,
    commands.SkipStep: acts.skip_step,
    commands.FailStuckStep: acts.fail_stuck_step,
    commands.ResolveStep: acts.resolve_step,
    commands.ChangeData: acts.change_data,
    commands.MigrateInstance: migration.migrate_instance,
    commands.ForkInstance: forking.fork_instance,
    commands.AcknowledgeAlert: acts.acknowledge_alert,
}
"""Every command there is, and where it is decided."""
