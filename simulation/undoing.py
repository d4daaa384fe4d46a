"""What was done and has to be undone, told again: in reverse, one at a time, once, and all of it (I10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from domain import events as e
from domain.moves import Migrated
from domain.paths import UNDO, undo_of
from domain.rollback import BY_PARENT
from domain.state import Attempted, Queued, Running
from simulation.instance import Instance

CHILD = "workflow:"
"""How the action of a step begins that is a workflow itself."""


def _scheduled(instance: Instance, event: e.StepScheduled) -> None:
    first = event.execution not in instance.state.open
    before = instance.scheduled.setdefault(event.execution, event)
    if before.compensate_with is None and event.compensate_with is not None:
        instance.scheduled[event.execution] = event  # The first one could not even be asked.
    if event.child is not None:
        instance.orders[event.execution, event.attempt] = event
    if event.undoes is not None and first:
        _undo_begins(instance, event.undoes)


def _undo_begins(instance: Instance, undoes: str) -> None:
    if undoes not in instance.succeeded:
        instance.fail("I10", f"{undoes} is undone and never succeeded")
    if instance.undone.get(undoes) == "given up":
        del instance.undone[undoes]  # A later rollback tries once more what a person gave up.
    if undoes in instance.undone:
        instance.fail("I10", f"{undoes} is undone twice")
    if undoes in instance.to_tell:
        instance.to_tell.remove(undoes)
        instance.told.add(undo_of(undoes))
        instance.expected = [one for one in instance.expected if one != undoes]
        return  # A child that runs hears of it at once, whatever else is under way.
    if undoes in instance.expected:
        if instance.expected[0] != undoes:
            instance.fail("I10", f"{undoes} is undone before {instance.expected[0]}")
        instance.expected.pop(0)
    elif instance.state.rollback is not None:
        instance.fail("I10", f"{undoes} is undone, and nobody asked for it")
    if (rollback := instance.state.rollback) is not None:
        for execution, open in instance.state.open.items():
            if isinstance(open, Queued | Running) and open.work.undoes in rollback.pending:
                instance.fail("I10", f"{undoes} is undone while {execution} is under way")


def _cancelled(instance: Instance, event: e.StepCancelled) -> None:
    """A child joins the list when it is given up while it runs, and has to hear of it in the same transaction."""
    execution = event.execution
    if is_child(instance, execution) and runs_or_stands(instance, execution):
        succeeded(instance, execution)
        instance.to_tell |= {execution} & instance.succeeded.keys()
    else:
        over(instance, execution)


def _left(instance: Instance, event: e.StepSkipped | e.StepGivenUp) -> None:
    over(instance, event.execution)


def over(instance: Instance, execution: str) -> None:
    """An execution that is over without success, though one came late, joins the list only now."""
    if execution in instance.succeeded:
        del instance.succeeded[execution]
        instance.succeeded[execution] = None


def _ignored(instance: Instance, event: e.ResultIgnored) -> None:
    """A late success joins the list unless it is there; the final rollback undoes it next, a partial one does not."""
    execution, number = event.execution, (event.execution, event.attempt)
    if number in instance.ignored or number in instance.results:
        instance.fail("I5", f"a result of {number} was put on record before")
    instance.ignored.add(number)
    known = execution in instance.succeeded
    if known or event.error is not None or execution.endswith(UNDO) or execution not in instance.scheduled:
        return
    succeeded(instance, execution)
    instance.late.add(execution)
    state = instance.state
    rolling_back = state.rollback is not None and (state.status == "compensating" or state.ended)
    if rolling_back and execution not in instance.state.open and execution in instance.succeeded:
        instance.expected.insert(0, execution)


def _resolved(instance: Instance, event: e.StepResolved) -> None:
    undoes = instance.scheduled[event.execution].undoes
    if undoes is None:
        if not is_child(instance, event.execution) or event.execution in instance.succeeded:
            succeeded(instance, event.execution)  # Of a child that a person stands in for, nothing may stand.
    else:
        instance.undone[undoes] = "resolved"


def _given_up(instance: Instance, event: e.CompensationGivenUp) -> None:
    undoes = instance.scheduled[event.execution].undoes
    assert undoes is not None
    instance.undone[undoes] = "given up"
    if instance.state.ended:
        instance.given_up_after_the_end.add(undoes)


def _rollback(instance: Instance, event: e.CompensationStarted) -> None:
    """S154: the reverse of the order of completion; what is still being tried is newest, if it has succeeded late or
    is a child. A child that is over and is called back does not begin anew what it undoes already."""
    open = instance.state.open
    standing = [one for one in instance.succeeded if instance.undone.get(one, "given up") == "given up"]
    standing += [one for one in open if one not in instance.succeeded and will_join(instance, one)]
    tried = [one for one in standing if one in instance.state.open]
    done = [one for one in reversed(standing) if one not in tried]
    first = event.executions[: len(event.executions) - sum(one in done for one in event.executions)]
    rest = event.executions[len(first) :]
    if set(first) - set(tried) or rest != [one for one in done if one in rest]:
        instance.fail("I10", f"{event.executions} is not the reverse of {standing}")
    all = [one for one in standing if event.trigger != BY_PARENT or one + UNDO not in open]
    if "#" not in event.trigger and len(event.executions) != len(all):
        instance.fail("I10", f"{event.executions} leaves something of {standing} standing")
    under_way = [one for one in event.executions if one + UNDO in instance.state.open]
    instance.expected = [one for one in event.executions if one not in under_way]
    instance.partial = "#" in event.trigger


def _migrated(instance: Instance, event: Migrated) -> None:
    """What is still to succeed may have an undo now that it had not; what has, too late to count, joins with it."""
    for execution, undo in event.undos.items():
        scheduled = instance.scheduled[execution]
        instance.scheduled[execution] = replace(scheduled, compensate_with=undo)
        if execution in instance.late & instance.state.open.keys() - instance.succeeded.keys():
            succeeded(instance, execution)


def succeeded(instance: Instance, execution: str) -> None:
    instance.succeeded.pop(execution, None)  # What succeeded late before counts from now on.
    if instance.scheduled[execution].compensate_with is not None:
        instance.succeeded[execution] = None


def is_child(instance: Instance, execution: str) -> bool:
    """Whether a child workflow is being tried; its undo is none."""
    open = instance.state.open.get(execution)
    return isinstance(open, Attempted) and open.work.action.startswith(CHILD) and open.work.undoes is None


def runs_or_stands(instance: Instance, execution: str) -> bool:
    """Whether the child exists, or will, or an earlier one has left something behind."""
    return isinstance(instance.state.open[execution], Running) or execution in instance.succeeded


def will_join(instance: Instance, execution: str) -> bool:
    """Whether it is a child that runs and can be undone."""
    running = is_child(instance, execution) and isinstance(instance.state.open[execution], Running)
    return running and instance.scheduled[execution].compensate_with is not None


CHECKS: dict[type[e.Event], Callable[[Instance, Any], None]] = {
    e.StepScheduled: _scheduled,
    e.StepCancelled: _cancelled,
    e.StepSkipped: _left,
    e.StepGivenUp: _left,
    e.StepResolved: _resolved,
    e.ResultIgnored: _ignored,
    e.CompensationGivenUp: _given_up,
    e.CompensationStarted: _rollback,
    Migrated: _migrated,
}
