"""A history run again on another definition: the same way, another way, or into what never ran."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

from hypothesis import given, settings

from domain import commands as c
from domain.calls import StepError
from domain.definition.document import read_document
from domain.owed import Effect, owed
from domain.state import State
from domain.whatif import Verdict, Wording, rerun, what_if
from tests.domain.definitions import Tree, definitions
from tests.domain.given import Run, define, program_of
from tests.domain.test_laws import TRY, RandomRun, moves

DECIDES = """
steps:
  - {id: price, type: task, action: worker:w/price, next: choose}
  - id: choose
    type: decision
    next:
      - {condition: "$.price.amount > 1000", next: review}
      - {next: approve}
  - {id: review, type: task, action: worker:w/review, next: done}
  - {id: approve, type: task, action: worker:w/approve, next: done}
  - {id: done, type: succeed}
"""
SAGA = """
steps:
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship, retryPolicy: {maxAttempts: 2, initialInterval: 1s}}
  - {id: refund, type: task, action: worker:w/refund}
"""
ASKS = """
steps:
  - {id: ask, type: wait, signal: answer, for: 1h, onTimeout: late, next: thank}
  - {id: thank, type: task, action: worker:w/thank}
  - {id: late, type: task, action: worker:w/late}
"""


def wording(text: str) -> Wording:
    lines = text if "\nname:" in f"\n{text}" else f"name: test\n{text}"
    return Wording.of(read_document(lines, "test").tree, define(text))


def judged(run: Run, was: str, now: str, *, later: timedelta = timedelta()) -> Verdict:
    return what_if(run.log, wording(was), wording(now), run.now + later)


def priced(amount: int) -> Run:
    return Run(define(DECIDES)).start().serve({"price": {"amount": amount}})


def test_the_same_definition_goes_the_same_way() -> None:
    verdict = judged(priced(700), DECIDES, DECIDES)
    assert verdict == Verdict(went="same", ends="succeeded", recorded_end="succeeded")


def test_another_threshold_that_makes_no_difference_is_the_same_way() -> None:
    verdict = judged(priced(700), DECIDES, DECIDES.replace("> 1000", "> 800"))
    assert verdict.went == "same"


def test_a_decision_that_goes_the_other_way_says_by_which_condition_and_data() -> None:
    verdict = judged(priced(700), DECIDES, DECIDES.replace("> 1000", "> 500"))
    assert verdict.went == "diverged"
    assert (verdict.step, verdict.execution) == ("choose", "choose#1")
    assert verdict.recorded == "choose#1 goes on to approve"
    assert verdict.now == "choose#1 goes on to review"
    assert verdict.why == (
        "`$.price.amount > 500` holds ($.price.amount = 700);"
        " recorded: the default, `$.price.amount > 1000` did not hold"
    )
    assert [(one.execution, one.action) for one in verdict.missing] == [("review#1", "worker:w/review")]
    assert verdict.ends is None


def test_the_version_is_that_of_the_recorded_command_where_the_ways_part() -> None:
    run = priced(700)
    verdict = judged(run, DECIDES, DECIDES.replace("> 1000", "> 500"))
    assert verdict.version is not None
    assert type(run.log[verdict.version - 1]).__name__ == "StepCompleted"


def test_a_step_that_is_new_needs_a_result_that_nobody_recorded() -> None:
    inserted = DECIDES.replace("worker:w/price, next: choose", "worker:w/price, next: check").replace(
        "  - id: choose", "  - {id: check, type: task, action: worker:w/check, next: choose}\n  - id: choose"
    )
    verdict = judged(priced(700), DECIDES, inserted)
    assert verdict.went == "needsResult"
    assert verdict.step == "check"
    assert verdict.why is not None
    assert "no result of it was ever recorded" in verdict.why


def test_another_action_under_the_same_name_is_another_call() -> None:
    verdict = judged(priced(700), DECIDES, DECIDES.replace("w/approve", "w/approve2"))
    assert (verdict.went, verdict.step) == ("needsResult", "approve")


def test_a_step_that_is_left_out_is_another_way_and_is_followed_to_its_end() -> None:
    shorter = DECIDES.replace("{next: approve}", "{next: done}")
    verdict = judged(priced(700), DECIDES, shorter)
    assert (verdict.went, verdict.ends) == ("diverged", "succeeded")


def test_steps_in_another_order_are_served_from_what_was_recorded() -> None:
    was = (
        "steps:\n"
        + "".join(
            f"  - {{id: {id}, type: task, action: worker:w/{id}, next: {after}}}\n"
            for id, after in [("a", "b"), ("b", "c")]
        )
        + "  - {id: c, type: succeed}\n"
    )
    now = (
        "steps:\n"
        + "".join(
            f"  - {{id: {id}, type: task, action: worker:w/{id}, next: {after}}}\n"
            for id, after in [("b", "a"), ("a", "c")]
        )
        + "  - {id: c, type: succeed}\n"
    )
    run = Run(define(was)).start().serve()
    verdict = judged(run, was, now)
    assert (verdict.went, verdict.ends, verdict.missing) == ("diverged", "succeeded", [])
    assert verdict.recorded == "a#1 is handed out (worker:w/a)"


def test_fewer_attempts_end_otherwise_and_more_need_a_result() -> None:
    run = Run(define(SAGA)).start()
    run.complete("charge")
    run.fail("ship")
    run.complete("ship")
    verdict = judged(run, SAGA, SAGA.replace("maxAttempts: 2", "maxAttempts: 1"))
    assert (verdict.went, verdict.recorded) == (
        "diverged",
        "ship#1 is tried again, attempt 2 (worker:w/ship)",
    )
    assert verdict.now == "a rollback of charge#1 begins"
    assert [one.execution for one in verdict.missing] == ["charge#1/undo"]
    failed = Run(define(SAGA)).start().complete("charge").fail("ship").fail("ship").serve()
    verdict = judged(failed, SAGA, SAGA.replace("maxAttempts: 2", "maxAttempts: 3"))
    assert (verdict.went, verdict.now) == (
        "needsResult",
        "ship#1 is tried again, attempt 3 (worker:w/ship)",
    )


def test_a_longer_back_off_takes_the_recorded_answer_when_it_asks() -> None:
    run = Run(define(SAGA)).start()
    run.complete("charge")
    run.fail("ship")
    run.complete("ship")
    verdict = judged(
        run, SAGA, SAGA.replace("initialInterval: 1s", "initialInterval: 1m"), later=timedelta(hours=1)
    )
    assert (verdict.went, verdict.ends) == ("same", "succeeded")


def test_a_timer_of_the_new_definition_fires_when_it_is_due_in_recorded_time() -> None:
    run = Run(define(ASKS)).start()
    run.now += timedelta(minutes=30)
    run.signal("answer", {"yes": True}).serve()
    assert judged(run, ASKS, ASKS.replace("for: 1h", "for: 40m")).went == "same"
    verdict = judged(run, ASKS, ASKS.replace("for: 1h", "for: 10m"))
    assert (verdict.went, verdict.recorded, verdict.now) == (
        "diverged",
        "ask#1 has waited, ended by signal",
        "ask#1 has waited, ended by timer",
    )
    assert [one.execution for one in verdict.missing] == ["late#1"]


def test_a_timer_that_fired_late_fires_at_its_recorded_time() -> None:
    run = Run(define(ASKS)).start()
    run.now += timedelta(hours=2)
    run.signal("answer", {"yes": True}).serve()
    assert judged(run, ASKS, ASKS).went == "same"


def test_a_signal_that_never_came_is_needed() -> None:
    plain = "steps:\n  - {id: thank, type: task, action: worker:w/thank}\n"
    asking = (
        "steps:\n  - {id: ask, type: wait, signal: answer, next: thank}\n"
        "  - {id: thank, type: task, action: worker:w/thank}\n"
    )
    verdict = judged(Run(define(plain)).start().serve(), plain, asking)
    assert (verdict.went, verdict.step) == ("needsResult", "ask")
    assert [one.signal for one in verdict.missing] == ["answer"]


def test_what_the_new_definition_refuses_is_said_with_its_reason() -> None:
    schema = "inputSchema: {type: object, required: [email]}\n"
    verdict = judged(priced(700), DECIDES, schema + DECIDES)
    assert verdict.went == "diverged"
    assert verdict.why is not None
    assert verdict.why.startswith("the new definition refuses the input: ")
    run = Run(define(ASKS)).start().signal("answer").serve()
    verdict = judged(run, ASKS, ASKS.replace("signal: answer", "signal: reply"))
    assert (verdict.went, verdict.version, verdict.step) == ("needsResult", 1, "ask")


def test_a_late_answer_counts_where_it_is_in_time() -> None:
    """Recorded: it timed out after 10 s, and answered after 15. With 20 s to answer, it would have been in time."""
    was = """
steps:
  - {id: work, type: task, action: worker:w/work, timeout: 10s, retryPolicy: {maxAttempts: 1}}
"""
    run = Run(define(was)).start()
    run.claim("work")
    lease = run.lease("work")
    run.time_out("work")
    run.now += timedelta(seconds=5)
    run.ask(c.CompleteStep, **lease, output={})
    assert judged(run, was, was).went == "same"
    verdict = judged(run, was, was.replace("timeout: 10s", "timeout: 20s"))
    assert (verdict.went, verdict.ends, verdict.recorded_end) == ("diverged", "succeeded", "failed")


def test_other_inputs_and_another_result_are_said_of_the_same_way() -> None:
    now = DECIDES.replace("w/approve, next", 'w/approve, input: {a: "$.price.amount"}, next').replace(
        "type: succeed", 'type: succeed, result: "$.price.amount"'
    )
    verdict = judged(priced(700), DECIDES, now)
    assert (verdict.went, verdict.changed_inputs, verdict.changed_result) == ("same", ["approve#1"], True)


def test_an_instance_that_goes_on_is_the_same_as_far_as_it_has_come() -> None:
    run = Run(define(SAGA)).start().complete("charge")
    assert judged(run, SAGA, SAGA) == Verdict(went="same")


def test_a_definition_that_would_loop_until_today_is_cut() -> None:
    was = "steps:\n  - {id: work, type: task, action: worker:w/work}\n"
    loops = (
        "steps:\n  - {id: nap, type: wait, for: 1s, next: again}\n"
        '  - {id: again, type: decision, next: [{condition: "$.input.stop == true", next: work}, {next: nap}]}\n'
        "  - {id: work, type: task, action: worker:w/work}\n"
    )
    verdict = judged(Run(define(was)).start().serve(), was, loops, later=timedelta(days=1))
    assert (verdict.went, verdict.cut) == ("diverged", True)


BILLS = """
steps:
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: bill}
  - {id: bill, type: workflow, definition: invoice, next: ship}
  - {id: ship, type: task, action: worker:w/ship}
  - {id: refund, type: task, action: worker:w/refund}
"""


def billed() -> Run:
    run = Run(define(BILLS)).start().complete("charge").later("1h")
    return run.complete("bill", {"number": 7}).later("1m").complete("ship")


def test_a_child_ends_as_recorded() -> None:
    assert judged(billed(), BILLS, BILLS).went == "same"
    failed = (
        Run(define(BILLS)).start().complete("charge").later("1h").fail_for_good("bill").complete("refund")
    )
    assert judged(failed, BILLS, BILLS).went == "same"


def test_a_child_that_begins_later_takes_as_long_as_the_recorded_one() -> None:
    turned = """
steps:
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship, next: bill}
  - {id: bill, type: workflow, definition: invoice}
  - {id: refund, type: task, action: worker:w/refund}
"""
    verdict = judged(billed(), BILLS, turned, later=timedelta(hours=2))
    assert (verdict.went, verdict.ends, verdict.missing) == ("diverged", "succeeded", [])


def test_another_child_has_an_end_that_nobody_recorded() -> None:
    verdict = judged(billed(), BILLS, BILLS.replace("definition: invoice", "definition: receipt"))
    assert (verdict.went, verdict.step) == ("needsResult", "bill")
    assert [missing.action for missing in verdict.missing] == ["workflow:receipt"]


def test_an_error_may_be_handled_otherwise() -> None:
    run = Run(define(SAGA)).start().complete("charge")
    run.fail("ship", StepError(type="CardError", message="no", retryable=False)).serve()
    handled = SAGA.replace("worker:w/ship,", "worker:w/ship, fallback: post,").replace(
        "  - {id: refund", "  - {id: post, type: task, action: worker:w/post}\n  - {id: refund"
    )
    verdict = judged(run, SAGA, handled)
    assert (verdict.went, verdict.step) == ("needsResult", "post")
    assert verdict.why == (
        "post#1 is handed out (worker:w/post) after ship#1 failed with CardError,"
        " and no result of it was ever recorded"
    )


def test_a_map_of_many_items_costs_no_more_for_each_of_them() -> None:
    """Counted, not timed: what is looked at grows with the events, not with the items besides."""
    many = """
steps:
  - id: all
    type: map
    items: $.input.items
    steps: [{id: work, type: task, action: worker:w/work, timeout: 30s}]
"""

    def looked(items: int) -> float:
        run = Run(define(many)).start({"items": list(range(items))})
        for number in range(items):
            run.complete(f"all[{number}].work#1")
        with patch.object(rerun, "owed", side_effect=counted) as asked:
            assert judged(run, many, many.replace("30s", "40s")).went == "same"
        assert asked.called
        return sum(sizes) / len(run.log)

    sizes: list[int] = []

    def counted(state: State, keys: set[str]) -> dict[str, Effect]:
        sizes.append(len(keys))
        return owed(state, keys)

    few = looked(5)
    sizes.clear()
    assert looked(40) < 2 * few


def test_a_history_that_has_migrated_is_read_by_the_version_of_each_moment() -> None:
    """Its decision was made by the second version, and the third would have made another one."""
    second = DECIDES.replace("> 1000", "> 500")
    run = Run(define(DECIDES)).start()
    run.ask(c.MigrateInstance, target=define(second, "2"), steps={}, actor="ann", reason="more eyes")
    run.serve({"price": {"amount": 700}})
    moved_to = {"2": wording(second)}
    same = what_if(run.log, wording(DECIDES), wording(second), run.now, moved_to=moved_to)
    assert same.went == "same"
    third = wording(DECIDES.replace("> 1000", "> 900"))
    verdict = what_if(run.log, wording(DECIDES), third, run.now, moved_to=moved_to)
    assert (verdict.went, verdict.execution) == ("diverged", "choose#1")
    assert verdict.why is not None
    assert verdict.why.endswith("recorded: `$.price.amount > 500` held")


def test_a_failure_after_a_migration_is_fed_with_the_policy_that_it_had() -> None:
    """Its step is in the second version only; its back-off was the policy's, and the service had asked for none."""
    second = SAGA.replace("ship", "send").replace("initialInterval: 1s", "initialInterval: 7s")
    run = Run(define(SAGA)).start().complete("charge")
    run.ask(c.MigrateInstance, target=define(second, "2"), steps={"ship": "send"}, actor="ann", reason="post")
    run.fail("send").serve()
    moved_to = {"2": wording(second)}
    verdict = what_if(run.log, wording(SAGA), wording(SAGA), run.now, moved_to=moved_to)
    assert verdict.went in ("diverged", "needsResult")


@settings(TRY, max_examples=300)
@given(tree=definitions(), numbers=moves())
def test_whatever_happened_the_same_definition_goes_the_same_way(tree: Tree, numbers: list[int]) -> None:
    program = program_of(tree)
    run = RandomRun(program)
    run.play(numbers)
    same = Wording.of(tree, program)
    verdict = what_if(run.log, same, same, run.now)
    assert (verdict.went, verdict.changed_inputs, verdict.changed_result) == ("same", [], False), verdict


@settings(TRY, max_examples=100)
@given(one=definitions(), other=definitions(), numbers=moves())
def test_whatever_the_other_definition_is_there_is_a_verdict(
    one: Tree, other: Tree, numbers: list[int]
) -> None:
    run = RandomRun(program_of(one))
    run.play(numbers)
    was, now = Wording.of(one, program_of(one)), Wording.of(other, program_of(other))
    verdict = what_if(run.log, was, now, run.now + timedelta(hours=1))
    assert verdict.went in ("same", "diverged", "needsResult")
    assert (verdict.why is None) == (verdict.went == "same")
