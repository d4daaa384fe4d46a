"""Attempts as the log tells them: handed out once, when they are due; one result that counts, from who holds it (I4 to
I8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from domain import events as e
from domain.state import Queued, Running
from simulation.instance import CALM, LOST, Instance
from simulation.undoing import over, succeeded

GRACE = timedelta(milliseconds=1)
"""A claim may come so much before an attempt is due (domain/results.py)."""


def _step_started(instance: Instance, event: e.StepStarted) -> None:
    open = instance.state.open.get(event.execution)
    if not isinstance(open, Queued) or open.attempt != event.attempt:
        instance.fail("I6", f"{event.execution} attempt {event.attempt} was handed out and was not queued")
    elif open.due_at > instance.now + GRACE:
        instance.fail("I8", f"{event.execution} was handed out before it was due")
    if instance.state.paused and not instance.state.ended and event.execution not in instance.told:
        instance.fail("I6", f"{event.execution} was handed out while the instance was paused")
    if instance.started.setdefault((event.execution, event.attempt), event.token) != event.token:
        instance.fail("I4", f"{event.execution} attempt {event.attempt} was handed out twice")


def _step_completed(instance: Instance, event: e.StepCompleted) -> None:
    _accepted(instance, event.execution, event.attempt, "completed")
    succeeded(instance, event.execution)


def _compensated(instance: Instance, event: e.Compensated) -> None:
    _accepted(instance, event.execution, event.attempt, "compensated")
    if instance.undone.setdefault(event.undoes, "compensated") != "compensated":
        instance.fail("I10", f"{event.undoes} was undone and had been given up")


def _step_failed(instance: Instance, event: e.StepFailed) -> None:
    if (event.error.details or {}).get("standing"):
        succeeded(instance, event.execution)  # A child has left something behind.
        instance.late.add(event.execution)
    if event.retry_at is None:
        over(instance, event.execution)
    if event.at is None:
        return  # It could not even be asked: nobody has reported anything.
    open = instance.state.open.get(event.execution)
    if event.timeout is None:
        _accepted(instance, event.execution, event.attempt, "failed")
    elif event.timeout == "leaseLost":
        handed = instance.handed[f"{instance.state.id}/{event.execution}", event.attempt]
        if handed and instance.calm_from is not None and event.at > instance.calm_from - CALM + LOST:
            instance.fail("I6", f"{event.execution} was taken from a worker that lives")
    else:
        limit = _limit(open, event.timeout)
        if limit is None or limit > event.at:
            instance.fail("I8", f"{event.execution} timed out ({event.timeout}) before {limit}")
        if event.timeout != "heartbeat":  # A bare beat moves its time, and is on no record.
            instance.in_time(limit, f"{event.timeout} of {event.execution}")


def _limit(open: object, timeout: e.TimeoutKind) -> datetime | None:
    if not isinstance(open, Queued | Running):
        return None
    match timeout:
        case "scheduleToClose":
            return open.timeouts.schedule_to_close_at
        case "scheduleToStart":
            return open.timeouts.schedule_to_start_at
        case "startToClose":
            return open.closes_at if isinstance(open, Running) else None
        case _:
            return open.silent_at if isinstance(open, Running) else None


def _accepted(instance: Instance, execution: str, attempt: int, what: str) -> None:
    """A result that counts: of the attempt that runs, and the first of that attempt."""
    open = instance.state.open.get(execution)
    if not isinstance(open, Running) or open.attempt != attempt:
        instance.fail("I6", f"{execution} attempt {attempt} {what}, and it was not running")
    if (execution, attempt) in instance.results:
        instance.fail(
            "I5", f"{execution} attempt {attempt} {what} after it {instance.results[execution, attempt]}"
        )
    instance.results[execution, attempt] = what


CHECKS: dict[type[e.Event], Callable[[Instance, Any], None]] = {
    e.StepStarted: _step_started,
    e.StepCompleted: _step_completed,
    e.StepFailed: _step_failed,
    e.Compensated: _compensated,
}
