"""An execution's coming and going in the state: opened, closed, completed. What the appliers of `evolve.py` share."""

from __future__ import annotations

from domain.events import Json
from domain.paths import UNDO, index_of, path_of, scope_of, visit_of
from domain.state import Attempted, Closed, Execution, Scope, State, Undoable, Work, step_of


def attempted(execution: Execution) -> Attempted:
    """What only a task's execution can be, as the fold knows."""
    assert isinstance(execution, Attempted)
    return execution


def opened(state: State, execution: str, step: str) -> None:
    """A new visit begins; its scope has one more open execution. Undos are no visits."""
    if execution.endswith(UNDO):
        return
    state.visits[path_of(execution)] = visit_of(execution)
    scope = state.open.get(scope_of(execution))
    if isinstance(scope, Scope):
        block = index_of(execution) or step
        scope.open[block] = scope.open.get(block, 0) + 1


def reopened(state: State, execution: str) -> None:
    """What has just failed for good is not over: it waits for an operator."""
    assert state.failing is not None
    state.open[execution] = state.failing
    state.closed.pop(execution, None)
    state.undo.pop(execution, None)


def closed(state: State, execution: str, *, accepted: int = 0) -> Work | None:
    """Takes it off the open ones, and remembers of it only what a late result would ask for."""
    before = state.open.pop(execution)
    scope = state.open.get(scope_of(execution))
    if isinstance(scope, Scope):
        block = index_of(execution) or step_of(before)
        scope.open[block] -= 1
        if not scope.open[block]:
            del scope.open[block]
    if not isinstance(before, Attempted):
        return None
    work = before.work
    if not accepted and work.late_success is not None:
        # An earlier attempt did succeed, too late to count while a later one was open: now its effect stands.
        completed(state, execution, work, work.late_success.output)
    if accepted != 1 or work.reported:
        may_still_succeed = not accepted and work.late_success is None and work.compensate_with is not None
        state.closed[execution] = Closed(
            accepted=accepted, work=work if may_still_succeed else None, reported=list(work.reported)
        )
    else:
        state.closed.pop(execution, None)
    return work


def completed(state: State, execution: str, work: Work | None, output: Json) -> None:
    """Its effect stands: if there is an undo for it, it joins the list."""
    if work is not None and work.compensate_with is not None:
        state.undo.pop(execution, None)  # The order is that of completion.
        state.undo[execution] = Undoable(
            execution=execution,
            step=work.step,
            undo_step=work.compensate_with,
            version=state.version,
            input=work.input,
            output=output,
        )
