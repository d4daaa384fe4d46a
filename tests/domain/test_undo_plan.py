"""What would be undone, and that cancelling does exactly that."""

from __future__ import annotations

from hypothesis import given

from domain import commands as c
from domain.errors import TenutoError
from domain.events import Compensated, StepScheduled
from domain.executions import StepExecution
from domain.history import step_executions, timed
from domain.state import Attempted, Queued, Stuck
from domain.undo_plan import UndoPlan, undo_plan
from tests.domain.definitions import Tree, definitions
from tests.domain.given import Run, define, encoded, program_of
from tests.domain.test_laws import TRY, RandomRun, moves

TRIP = define("""
steps:
  - {id: hotel, type: task, action: worker:w/hotel, compensateWith: leaveHotel, next: mail}
  - {id: mail, type: task, action: worker:w/mail, next: look}
  - {id: look, type: task, action: worker:w/look, readOnly: true, next: flight}
  - {id: flight, type: task, action: worker:w/flight, compensateWith: leaveFlight, next: pay}
  - {id: pay, type: task, action: worker:w/pay, compensateWith: refund, timeout: 10s,
     retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}
  - {id: leaveHotel, type: task, action: worker:w/leaveHotel, input: {id: $.undo.output.id, why: $.undo.reason}}
  - {id: leaveFlight, type: task, action: worker:w/leaveFlight, input: {id: $.undo.output.id}}
  - {id: refund, type: task, action: worker:w/refund}
""")


def executions(run: Run) -> list[StepExecution]:
    return step_executions(timed(enumerate(run.log, start=1)))


def plan_of(run: Run, reason: str = "because") -> UndoPlan:
    return undo_plan(run.state, run.program, executions(run), run.now, reason)


def paid() -> Run:
    run = Run(TRIP).start()
    run.complete("hotel", {"id": 1}).complete("mail").complete("look").complete("flight", {"id": 2})
    return run


def test_the_plan_is_in_order_and_has_the_inputs_of_the_undos() -> None:
    run = paid()
    before = encoded(run.state)
    plan = plan_of(run)
    assert encoded(run.state) == before
    assert [(one.execution, one.undo_step, one.undo_input) for one in plan.steps] == [
        ("flight#1", "leaveFlight", {"id": 2}),
        ("hotel#1", "leaveHotel", {"id": 1, "why": "because"}),
    ]


def test_what_has_no_undo_stays_standing_and_what_runs_may_join() -> None:
    run = paid()
    run.claim("pay")
    plan = plan_of(run)
    assert [one.execution for one in plan.standing] == ["mail#1"]
    assert [(one.execution, one.why) for one in plan.may_join] == [("pay#1", "running")]
    run.time_out("pay")
    run.ask(c.SkipStep, execution="pay#1", actor="ann")
    assert [(one.execution, one.why) for one in plan_of(run).may_join] == [("pay#1", "unreported")]


def test_an_undo_that_cannot_be_asked_says_so_and_the_others_are_planned() -> None:
    run = Run(TRIP).start().complete("hotel", {"id": 1}).complete("mail").complete("look")
    run.complete("flight", {"number": 2})
    plan = plan_of(run)
    assert [(one.execution, one.problem is not None) for one in plan.steps] == [
        ("flight#1", True),
        ("hotel#1", False),
    ]


def test_a_pause_changes_nothing_and_the_end_leaves_nothing() -> None:
    run = paid()
    plan = plan_of(run).steps
    run.ask(c.PauseInstance, actor="ann")
    assert plan_of(run).steps == plan
    run.ask(c.ResumeInstance, actor="ann")
    run.ask(c.CancelInstance, actor="ann", reason="because")
    assert [one.execution for one in plan_of(run).steps] == ["flight#1", "hotel#1"], "those still to come"
    run.complete("flight#1/undo")
    assert [one.execution for one in plan_of(run).steps] == ["hotel#1"]
    run.serve()
    assert plan_of(run).steps == []


@TRY
@given(tree=definitions(), numbers=moves())
def test_cancelling_does_exactly_what_the_plan_says(tree: Tree, numbers: list[int]) -> None:
    run = RandomRun(program_of(tree))
    run.play(numbers[: 4 + numbers[1] % 40])  # Most are under way then.
    plan = plan_of(run)
    begun = len(run.log)
    if run.state.paused and not run.state.ended:
        run.ask(c.ResumeInstance, actor="ann")
    try:
        run.ask(c.CancelInstance, actor="ann", reason="because")
    except TenutoError:
        assert run.state.ended
    serve_undos(run)
    done = [event.undoes for event in run.log[begun:] if isinstance(event, Compensated)]
    assert done == [one.execution for one in plan.steps if one.problem is None]
    stuck = {open.work.undoes for open in run.state.open.values() if isinstance(open, Stuck)}
    assert stuck - {None} == {one.execution for one in plan.steps if one.problem is not None}
    asked = {
        event.execution: event.input
        for event in run.log
        if isinstance(event, StepScheduled) and event.undoes is not None and event.input is not None
    }
    assert all(asked.get(one.undo) == one.undo_input for one in plan.steps)


def serve_undos(run: Run) -> None:
    """Every undo succeeds, as soon as it is due."""
    while True:
        going = [
            (name, open)
            for name, open in run.state.open.items()
            if isinstance(open, Attempted) and open.work.undoes is not None and not isinstance(open, Stuck)
        ]
        if not going:
            return
        name, open = going[0]
        if isinstance(open, Queued):
            run.now = max(run.now, open.due_at)
            lease = {"execution": name, "attempt": open.attempt, "token": "t"}
            run.ask(c.ClaimStep, **lease, worker="w")
        else:
            lease = {"execution": name, "attempt": open.attempt, "token": open.token}
        run.ask(c.CompleteStep, **lease)
