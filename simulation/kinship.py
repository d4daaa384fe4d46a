"""Parents and children, told from both logs: who was ordered is born, once; what a parent hears of a child is true (I5,
I7, I10, I11).

What a parent's own log says of a child, as of any step, is told where steps are (`attempts.py`, `undoing.py`). That
nobody is left behind can only be told at the end (`check_kin`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from domain import events as e
from domain.paths import UNDO, undo_of
from domain.state import Queued, State
from simulation.instance import Instance

FAILS_WITH = {
    "failed": "ChildFailedError",
    "compensated": "ChildCompensatedError",
    "timed_out": "ChildTimedOutError",
    "cancelled": "ChildCancelledError",
    "terminated": "ChildTerminatedError",
    "compensation_failed": "ChildCompensationFailedError",
}
"""How the step of a child fails, once more, by the child's outcome."""
NOT_AGAIN = ("cancelled", "terminated", "compensation_failed")
"""After these outcomes there is no other child: they are somebody's will, or something stands."""


class Kinship:
    """`instances` by id, parents and children."""

    def __init__(self, instances: Mapping[str, Instance]) -> None:
        self._instances = instances

    def happens(self, instance: Instance, event: e.Event) -> None:
        """It is about to be folded."""
        check = CHECKS.get(type(event))
        if check is not None:
            check(self, instance, event)

    def settled(self, instance: Instance) -> None:
        """One transaction is over: whoever was given up in it hears of it."""
        if instance.to_tell:
            instance.fail("I7", f"the children of {sorted(instance.to_tell)} were given up, and go on")
        for undo in sorted(instance.told):
            if isinstance(instance.state.open.get(undo), Queued):
                instance.fail("I7", f"{undo} was to begin at once")
        instance.told.clear()

    def _born(self, child: Instance, event: e.InstanceStarted) -> None:
        """As an attempt of its parent that has begun, under the id that stands there, and as was ordered."""
        if event.parent is None:
            return
        parent = self._instances.get(event.parent.instance_id)
        number = None if parent is None else attempt_of(parent, event.parent.execution, child.state.id)
        if parent is None or number is None:
            child.fail("I11", f"no attempt of {event.parent} has ordered it")
            return
        scheduled = parent.orders[number]
        order = scheduled.child
        assert order is not None
        depth = 1 if parent.state.parent is None else parent.state.parent.depth + 1
        told = (event.definition, event.correlation_id, event.priority, event.parent.depth)
        asked = (order.definition, order.correlation_id, scheduled.priority, depth)
        if told != asked or order.version not in (None, event.version):
            child.fail("I11", f"it was started as {told}, and ordered as {asked}")
        if event.input != _input_of(parent, number):
            child.fail("I11", "it was started with another input than was ordered")
        if order.timeout_at is not None and (event.timeout_at is None or event.timeout_at > order.timeout_at):
            child.fail(
                "I8", f"it may take until {event.timeout_at}, and its parent waits until {order.timeout_at}"
            )
        child.in_time(parent.begun[number], "its start")

    def _begun(self, parent: Instance, event: e.StepStarted) -> None:
        if (event.execution, event.attempt) not in parent.orders:
            return
        parent.begun[event.execution, event.attempt] = parent.now
        for (execution, attempt), token in parent.started.items():
            other = (execution, attempt) != (event.execution, event.attempt)
            if token == event.token and other and not event.execution.endswith(UNDO):
                parent.fail(
                    "I11", f"{event.execution} attempt {event.attempt} has the child of attempt {attempt}"
                )

    def _completed(self, parent: Instance, event: e.StepCompleted) -> None:
        child = self._child(parent, event.execution, event.attempt)
        if child is None:
            return
        if child.state.outcome != "succeeded" or event.output != child.state.result:
            said = f"{child.state.outcome} with {child.state.result!r}"
            parent.fail("I5", f"{event.execution} completed with {event.output!r}, its child {said}")
        parent.in_time(child.state.ended_at, f"the end of {event.execution}")

    def _failed(self, parent: Instance, event: e.StepFailed) -> None:
        if event.at is None or (event.execution, event.attempt) not in parent.orders:
            return
        child = self._child(parent, event.execution, event.attempt)
        said = f"{event.execution} failed with {event.error.type}"
        if child is None:
            parent.fail("I7", f"{said}, and its child was never started: {event.error.message}")
            return
        standing = _standing((event.error.details or {}).get("standing"))
        if event.execution.endswith(UNDO):
            if not standing or any(child.undone.get(one) != "given up" for one in standing):
                parent.fail("I10", f"{said}, and {standing} of {child.state.id} is not given up")
            return
        outcome = child.state.outcome or ""
        if FAILS_WITH.get(outcome) != event.error.type:
            parent.fail("I5", f"{said}, and its child is {child.state.status} {outcome}")
        left = [one for one in child.succeeded if stands(child, one) and not succeeded_late(child, one)]
        if set(left) - set(standing) or set(standing) - child.succeeded.keys():
            parent.fail("I10", f"{said} and {standing} standing, its child has {left}")
        if event.error.retryable and (outcome in NOT_AGAIN or standing):
            parent.fail("I4", f"{said} of a child {outcome} with {standing} standing, and may be tried again")
        parent.in_time(child.state.ended_at, f"the end of {event.execution}")

    def _compensated(self, parent: Instance, event: e.Compensated) -> None:
        """The child has come to rest, and whatever it did is undone, or about to be."""
        child = self._child(parent, event.execution, event.attempt)
        if child is None or called_off(parent, event.execution, child):
            return
        if not child.state.ended:
            parent.fail("I10", f"{event.undoes} counts as undone, and its child is {child.state.status}")
        for one in child.succeeded:
            if stands(child, one) and undo_of(one) not in child.state.open and not succeeded_late(child, one):
                parent.fail("I10", f"{event.undoes} counts as undone, and {one} of {child.state.id} stands")

    def _told(self, child: Instance, event: e.CancelRequested | e.TerminateRequested) -> None:
        """By its parent: at once."""
        if child.state.parent is None or event.actor != f"instance:{child.state.parent.instance_id}":
            return
        parent = self._instances[child.state.parent.instance_id]
        number = attempt_of(parent, undo_of(child.state.parent.execution), child.state.id)
        if number is None:
            child.fail("I10", "its parent ends it, and nothing in its log says so")
        else:
            child.in_time(parent.begun[number], "its cancel")

    def _child(self, parent: Instance, execution: str, attempt: int) -> Instance | None:
        """The instance that runs as this attempt, or is called back by it."""
        if (execution, attempt) not in parent.orders:
            return None
        return self._instances.get(parent.started[execution, attempt])


def _input_of(parent: Instance, number: tuple[str, int]) -> object:
    """As made for the first attempt, or anew for a later one, when the data had been changed."""
    execution, attempt = number
    orders = [one for (name, _), one in parent.orders.items() if name == execution and one.attempt <= attempt]
    return next((one.input for one in reversed(orders) if one.input is not None), None)


def _standing(told: object) -> list[str]:
    return [str(one) for one in told] if isinstance(told, list) else []


def attempt_of(parent: Instance, execution: str, child: str) -> tuple[str, int] | None:
    """The attempt that began under the child's id."""
    return next(
        (key for key, token in parent.started.items() if key[0] == execution and token == child), None
    )


def stands(instance: Instance, execution: str) -> bool:
    return instance.undone.get(execution, "given up") == "given up"


def succeeded_late(instance: Instance, execution: str) -> bool:
    """Whether its success was heard of after the end."""
    return any(
        isinstance(event, e.ResultIgnored) and event.execution == execution and event.why == "ended"
        for event in instance.events
    )


def called_off(parent: Instance, undo: str, child: Instance) -> bool:
    """Whether it was terminated, as its step says, and stays as it was then."""
    orders = [one.child for (execution, _), one in parent.orders.items() if execution == undo]
    return child.state.outcome == "terminated" and any(
        order is not None and order.do == "terminate" for order in orders
    )


def check_kin(instances: Mapping[str, Instance]) -> None:
    """At the end: nobody goes on for a parent that has ended, and nothing of whom it called back stands."""
    for child in instances.values():
        if child.state.parent is not None:
            _check_child(instances[child.state.parent.instance_id], child, child.state.parent)


def _check_child(parent: Instance, child: Instance, link: e.Parent) -> None:
    execution, undo = link.execution, undo_of(link.execution)
    number = attempt_of(parent, execution, child.state.id)
    assert number is not None
    called = attempt_of(parent, undo, child.state.id) is not None
    if parent.scheduled[execution].compensate_with is None:
        if called:
            child.fail("I10", f"{execution} is nobody's, and was called back")
        return
    if number not in parent.results and not called:
        child.fail("I7", f"its parent has ended ({parent.state.outcome}), and it never heard of it")
    if called_off(parent, undo, child) or parent.undone.get(execution) in ("resolved", "given up"):
        return
    undone = called and parent.undone.get(execution) == "compensated"
    if undone or _was_rolled_back(parent.state, partly=parent.partial):
        terminated = child.state.outcome == "terminated"  # What it hears of then is said, and stands.
        for one in child.succeeded:
            if one not in child.undone and not (terminated and succeeded_late(child, one)):
                child.fail("I10", f"its parent was rolled back, and {one} stands")


def _was_rolled_back(state: State, *, partly: bool) -> bool:
    return state.outcome in ("compensated", "cancelled") and not partly


CHECKS: dict[type[e.Event], Callable[[Kinship, Instance, Any], None]] = {
    e.InstanceStarted: Kinship._born,
    e.StepStarted: Kinship._begun,
    e.StepCompleted: Kinship._completed,
    e.StepFailed: Kinship._failed,
    e.Compensated: Kinship._compensated,
    e.CancelRequested: Kinship._told,
    e.TerminateRequested: Kinship._told,
}
