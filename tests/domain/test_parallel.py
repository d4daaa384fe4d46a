"""parallel: branches at once, joined by all, any or a number; what a failing branch does to the others (S029)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.events import AlertRaised, BlockFailed, ScopeClosed, ScopeOpened, StepCancelled
from tests.domain.given import Run, define


def parallel(options: str = "", branches: tuple[str, ...] = ("a", "b", "c"), top: str = "") -> str:
    blocks = ", ".join(f"b{id}: [{{id: {id}, type: task, action: http:shop/{id}}}]" for id in branches)
    return f"""
{top}
steps:
  - {{id: p, type: parallel, branches: {{{blocks}}}{options}, next: after}}
  - {{id: after, type: task, action: http:shop/after, input: {{a: {{$coalesce: [$.a, none]}}}}}}
  - {{id: plan, type: task, action: http:shop/plan}}
"""


def test_all_branches_run_at_once_and_are_joined() -> None:
    run = Run(parallel()).start()
    assert run.all(ScopeOpened) == [ScopeOpened(execution="p#1", step="p", blocks=["ba", "bb", "bc"])]
    assert list(run.owed) == ["p.a#1", "p.b#1", "p.c#1"]
    run.complete("b").complete("a", {"n": 1})
    assert run.handed_out == ["c"]
    run.complete("c")
    assert run.all(ScopeClosed) == [ScopeClosed(execution="p#1")]
    assert (run.handed_out, run.input) == (["after"], {"a": {"n": 1}})


def test_any_takes_the_first_and_cancels_the_rest() -> None:
    run = Run(parallel(", join: any")).start().complete("b")
    assert [event.execution for event in run.all(StepCancelled)] == ["p.a#1", "p.c#1"]
    assert run.handed_out == ["after"]


def test_a_number_takes_that_many() -> None:
    run = Run(parallel(", join: 2")).start().complete("c")
    assert run.handed_out == ["a", "b"]
    run.complete("a")
    assert run.handed_out == ["after"]


def test_a_failing_branch_cancels_its_siblings_and_fails_the_scope() -> None:
    run = Run(parallel()).start().complete("a").fail_for_good("b", message="no luck")
    assert [event.execution for event in run.all(StepCancelled)] == ["p.c#1"]
    assert (run.status, run.state.error and run.state.error.message) == ("failed", "no luck")


def test_with_wait_the_siblings_come_to_their_end_first() -> None:
    run = Run(parallel(", onBranchFailure: wait")).start().fail_for_good("b", message="no luck")
    assert [event.block for event in run.all(BlockFailed)] == ["bb"]
    assert run.handed_out == ["a", "c"]
    run.complete("a").complete("c")
    assert run.all(StepCancelled) == []
    assert (run.status, run.state.error and run.state.error.message) == ("failed", "no luck")


@pytest.mark.parametrize("on_failure", ["cancel", "wait"])
def test_a_failure_that_the_join_can_do_without_is_survived(on_failure: str) -> None:
    run = Run(parallel(f", join: 2, onBranchFailure: {on_failure}")).start().fail_for_good("b").complete("a")
    assert run.handed_out == ["c"]
    run.complete("c")
    assert run.handed_out == ["after"]


@pytest.mark.parametrize(
    ("join", "actions"), [("2", ["none", "fail"]), ("all", ["fail"]), ("any", ["none"] * 2 + ["fail"])]
)
def test_the_alert_of_a_branch_says_what_the_engine_does_about_it(join: str, actions: list[str]) -> None:
    run = Run(
        parallel(f", join: {join}", top="retryPolicies: {once: {maxAttempts: 1}}").replace(
            "}]", ", serviceType: once}]"
        )
    )
    run.start()
    for step in ("a", "b", "c")[: len(actions)]:
        run.fail(step)
    assert [alert.action for alert in run.all(AlertRaised)] == actions
    assert run.status == "failed"


@pytest.mark.parametrize("on_failure", ["cancel", "wait"])
def test_any_fails_when_all_have_failed(on_failure: str) -> None:
    run = Run(parallel(f", join: any, onBranchFailure: {on_failure}")).start()
    run.fail_for_good("b", message="first").fail_for_good("a").fail_for_good("c", message="last")
    assert run.status == "failed"


def test_what_a_cancelled_sibling_had_completed_is_undone() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches:
      x:
        - {id: a, type: task, action: http:shop/a, compensateWith: u, next: b}
        - {id: b, type: task, action: http:shop/b}
      y: [{id: c, type: task, action: http:shop/c}]
  - {id: u, type: task, action: http:shop/u}
"""
    run = Run(program).start().complete("a").fail_for_good("c")
    assert (run.status, run.handed_out) == ("compensating", ["u"])


def test_a_retry_in_a_branch_leaves_the_others_alone() -> None:
    run = Run(parallel()).start().fail("b").complete("a").complete("c").complete("b")
    assert run.handed_out == ["after"]


def test_a_branch_of_decisions_alone_is_done_at_once() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches:
      x: [{id: d, type: decision, next: [{next: e}]}, {id: e, type: succeed}]
      y: [{id: a, type: task, action: http:shop/a}]
    next: after
  - {id: after, type: task, action: http:shop/after}
"""
    run = Run(program).start()
    assert run.handed_out == ["a"]
    assert run.complete("a").handed_out == ["after"]


def test_branches_that_are_all_done_at_once_close_the_scope_at_once() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches: {x: [{id: d, type: succeed}], y: [{id: e, type: succeed}]}
    next: after
  - {id: after, type: task, action: http:shop/after}
"""
    run = Run(program).start()
    assert (run.handed_out, run.names.count("ScopeClosed")) == (["after"], 1)


def test_a_fail_step_fails_its_branch() -> None:
    program = """
steps:
  - id: p
    type: parallel
    join: any
    branches: {x: [{id: f, type: fail, error: {type: AError}}], y: [{id: a, type: task, action: http:shop/a}]}
"""
    run = Run(program).start()
    assert [event.error.type for event in run.all(BlockFailed)] == ["AError"]
    assert run.complete("a").state.outcome == "succeeded"


NESTED = """
steps:
  - id: p
    type: parallel
    branches:
      x:
        - id: q
          type: parallel
          join: {join}
          branches: {{i: [{{id: a, type: task, action: http:shop/a}}], j: [{{id: b, type: task, action: http:shop/b}}]}}
          next: c
        - {{id: c, type: task, action: http:shop/c}}
      y: [{{id: d, type: task, action: http:shop/d}}]
    next: after
  - {{id: after, type: task, action: http:shop/after}}
"""


def test_scopes_nest() -> None:
    run = Run(NESTED.format(join="all")).start()
    assert list(run.owed) == ["p.d#1", "p.q.a#1", "p.q.b#1"]
    run.complete("d").complete("a").complete("b")
    assert list(run.owed) == ["p.c#1"]
    assert run.complete("c").handed_out == ["after"]


def test_an_inner_any_cancels_only_inside() -> None:
    run = Run(NESTED.format(join="any")).start().complete("b")
    assert [event.execution for event in run.all(StepCancelled)] == ["p.q.a#1"]
    assert sorted(run.handed_out) == ["c", "d"]


def test_an_inner_failure_climbs_out() -> None:
    run = Run(NESTED.format(join="all")).start().fail_for_good("a")
    assert run.status == "failed"
    assert [event.execution for event in run.all(ScopeClosed)] == ["p.q#1", "p#1"]
    assert run.state.open == {}


def test_a_handler_jumps_out_of_the_scopes_and_gives_them_up() -> None:
    top = "errorHandlers: [{errors: [ClosedError], next: plan}]"
    run = Run(parallel(top=top)).start().fail_for_good("b", "ClosedError")
    assert [event.execution for event in run.all(StepCancelled)] == ["p.a#1", "p.c#1"]
    assert [event.execution for event in run.all(ScopeClosed)] == ["p#1"]
    assert run.handed_out == ["plan"]
    assert run.complete("plan").state.outcome == "succeeded"


def test_a_fallback_stays_in_its_branch() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches:
      x: [{id: a, type: task, action: http:shop/a, fallback: b}, {id: b, type: task, action: http:shop/b}]
      y: [{id: c, type: task, action: http:shop/c}]
"""
    run = Run(program).start().fail_for_good("a")
    assert list(run.owed) == ["p.c#1", "p.b#1"]
    assert run.complete("b").complete("c").status == "completed"


def test_a_second_visit_of_a_scope_is_written_in_its_steps() -> None:
    program = """
steps:
  - {id: p, type: parallel, branches: {x: [{id: a, type: task, action: http:shop/a, output: {n: $.n}}]}, next: d}
  - {id: d, type: decision, next: [{condition: $.n == 1, next: p}, {next: done}]}
  - {id: done, type: succeed}
"""
    run = Run(program).start().complete("a", {"n": 1})
    assert list(run.owed) == ["p#2.a#1"]
    assert run.complete("a", {"n": 2}).status == "completed"


def test_a_paused_branch_keeps_the_scope_open() -> None:
    run = Run(parallel().replace("http:shop/b}", "http:shop/b, onMaxRetriesExceeded: pause}")).start()
    run.fail("b").fail("b").fail("b").complete("a").complete("c")
    assert (run.status, run.handed_out) == ("waiting", [])


def test_no_branch_may_undo_and_go_on() -> None:
    """What it would undo belongs to its siblings too."""
    program = """
steps:
  - id: p
    type: parallel
    branches: {x: [{id: k, type: compensate, next: a}, {id: a, type: task, action: http:shop/a}]}
"""
    with pytest.raises(ValidationError, match="undoes and goes on"):
        define(program)


def test_a_final_compensation_in_a_branch_undoes_everything() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, next: p}
  - id: p
    type: parallel
    branches:
      x: [{id: b, type: task, action: http:shop/b, next: k}, {id: k, type: compensate, outcome: cancelled}]
      y: [{id: c, type: task, action: http:shop/c}]
  - {id: u, type: task, action: http:shop/u}
"""
    run = Run(program).start().complete("a").complete("b")
    assert (run.status, list(run.state.open)) == ("compensating", ["a#1/undo"])
    assert run.complete("u").state.outcome == "cancelled"
