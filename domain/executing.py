"""An execution's coming and going in the state: opened, begun, closed, completed. What `evolve.py` is made of."""

from __future__ import annotations

from msgspec.structs import replace

from domain.events import Json, StepScheduled, StepStarted
from domain.executions import CHILD
from domain.paths import UNDO, blocks_of, index_of, path_of, scope_of, visit_of
from domain.state import Attempted, Closed, Execution, Queued, Running, Scope, State, Undoable, Work


def attempted(execution: Execution) -> Attempted:
    """What only a task's execution can be, as the fold knows."""
    assert isinstance(execution, Attempted)
    return execution


def is_active(execution: Execution | None) -> bool:
    """Whether it keeps its instance running. A child that has begun does not: it is waited for."""
    if isinstance(execution, Running):
        return not execution.work.is_awaited_child
    return isinstance(execution, Queued)


def scope_in(state: State, execution: str) -> Scope:
    """The scope of this name."""
    scope = state.open[execution]
    assert isinstance(scope, Scope)
    return scope


def visits_in(state: State, scope: str) -> dict[str, int]:
    """The visits of each step directly in the scope. They go when it does: its own next visit has other paths."""
    return scope_in(state, scope).visits if scope else state.visits


def visited(state: State, execution: str) -> None:
    """A visit begins, and with the first one in it the block of an item."""
    scope, index = scope_of(execution), index_of(execution)
    visits_in(state, scope)[path_of(execution)] = visit_of(execution)
    if index is not None:
        block_begun(scope_in(state, scope), index)


def block_begun(scope: Scope, block: str) -> None:
    """Its block has; those of the items before it have, too. A branch, which no number names, was never waited for."""
    if block.isdecimal():
        scope.begun = max(scope.begun, int(block) + 1)


def opened(state: State, execution: str) -> None:
    """A new visit begins; its scope has one more open execution. Undos are no visits."""
    if execution.endswith(UNDO):
        return
    visited(state, execution)
    if scope := scope_of(execution):
        scope_in(state, scope).open[execution] = None


def work_opened(state: State, event: StepScheduled) -> Work:
    """Opens what can be attempted. If it can be undone, it remembers the item that it is done for."""
    opened(state, event.execution)
    before = state.closed.get(event.execution)  # Of an undo that came to nothing and is tried again.
    work = Work(
        step=event.step,
        action=event.action,
        queue=event.queue,
        priority=event.priority,
        input=event.input,
        compensate_with=event.compensate_with,
        undoes=event.undoes,
        reported=[] if before is None else list(before.reported),
        order=event.child,
        owner=None if event.undoes is None else state.undo[event.undoes].owner,
    )
    around = None if event.compensate_with is None else next(blocks_of(event.execution), None)
    if around is not None:
        scope, index = around
        work.item, work.index = scope_in(state, scope).blocks[int(index)], int(index)
    return work


def begun(state: State, event: StepStarted) -> None:
    """A worker holds the attempt; one that is a child is waited for from now on."""
    queued = state.open[event.execution]
    assert isinstance(queued, Queued)
    assert state.now is not None
    if queued.work.order is not None:
        queued.work.child = event.token
    if queued.work.is_awaited_child:
        state.active -= 1
    state.open[event.execution] = Running(
        work=queued.work,
        attempt=event.attempt,
        worker=event.worker,
        token=event.token,
        started_at=state.now,
        beat_at=state.now,
        timeouts=queued.timeouts,
    )


def reopened(state: State, execution: str) -> None:
    """What has just failed for good is not over: it waits for an operator."""
    assert state.failing is not None
    state.open[execution] = state.failing
    state.closed.pop(execution, None)
    state.undo.pop(execution, None)


def closed(state: State, execution: str, *, accepted: int = 0) -> Work | None:
    """Takes it off the open ones, and remembers of it only what a late result would ask for."""
    before = state.open.pop(execution)
    if scope := scope_of(execution):
        del scope_in(state, scope).open[execution]
    if is_active(before):
        state.active -= 1
    if not isinstance(before, Attempted):
        return None
    work = before.work
    if not accepted and work.joins_when_over:
        # An earlier attempt did succeed, too late to count while a later one was open: now its effect stands. Or it is
        # a child, which has to hear of it.
        completed(state, execution, work, None if work.late_success is None else work.late_success.output)
    if accepted != 1 or work.reported:
        may_still_succeed = not accepted and not work.joins_when_over and work.compensate_with is not None
        may_still_succeed = may_still_succeed and work.order is None
        state.closed[execution] = Closed(
            accepted=accepted, work=work if may_still_succeed else None, reported=list(work.reported)
        )
    else:
        state.closed.pop(execution, None)
    return work


def completed(state: State, execution: str, work: Work | None, output: Json) -> None:
    """Its effect stands: if there is an undo for it, it joins the list."""
    if work is not None and work.compensate_with is not None and not _left_nothing(work):
        state.undo.pop(execution, None)  # The order is that of completion.
        state.undo[execution] = Undoable(
            execution=execution,
            step=work.step,
            undo_step=work.compensate_with,
            version=state.version,
            input=work.input,
            output=output,
            item=work.item,
            index=work.index,
            order=work.order,
            child=work.child,
            owner=work.owner,
        )


def _left_nothing(work: Work) -> bool:
    """Of a child that a person stood in for there is nothing to undo: it never ran, or has undone what it did."""
    return work.child is None and work.action.startswith(CHILD)


def undone(state: State, execution: str) -> None:
    """Its effect stands no longer."""
    state.undo.pop(execution, None)
    if state.rollback is not None:
        state.rollback.undone.append(execution)
        if execution in state.rollback.pending:
            state.rollback.pending.remove(execution)


def cut_off(state: State, execution: str) -> None:
    """It is over without a result. If it was an undo, another one is another attempt: a worker may have this one."""
    open = state.open[execution]
    closed(state, execution)
    if isinstance(open, Attempted) and (undoes := open.work.undoes) is not None:
        state.undo[undoes] = replace(state.undo[undoes], tried=open.attempt)


def given_up(state: State, undo: str) -> None:
    """A person gave up on an undo: the effect stands, and a later rollback counts its attempts on from there."""
    undoes = attempted(state.open[undo]).work.undoes
    assert undoes is not None
    cut_off(state, undo)
    state.undo[undoes] = replace(state.undo[undoes], given_up=True)
    if state.rollback is not None and undoes in state.rollback.pending:
        state.rollback.pending.remove(undoes)
        state.rollback.failed.append(undoes)


def put_out(state: State, execution: str, output: Json, data: dict[str, Json] | None) -> None:
    """It ended well: `data` is for the steps that see it; `output` is what its block puts out if it ends here."""
    index = index_of(execution)
    if index is not None:
        scope_in(state, scope_of(execution)).outputs[index] = output
    if data:
        _data_around(state, execution).update(data)


def _data_around(state: State, execution: str) -> dict[str, Json]:
    """The data of the innermost block of a map that it runs in, or the instance's."""
    for scope, index in blocks_of(execution):
        return scope_in(state, scope).data.setdefault(index, {})
    return state.data
