"""What refusals, alerts and lists say, where it was found (by mutmut) that nobody listened."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain.again import decided_again
from domain.errors import (
    BadJsonError,
    CorruptHistoryError,
    InstanceEndedError,
    InvalidTransitionError,
    LimitExceededError,
    SchemaMismatchError,
    StaleTokenError,
    UnknownExecutionError,
    UnknownSignalError,
    UnusableValueError,
)
from domain.events import AlertRaised, Paused, StatusChanged, StepCancelled, StepStarted
from domain.expressions import compile_condition
from domain.expressions.size import bounded
from domain.jsonvalues import read_json
from domain.kept_signals import MAX_KEPT, KeptSignals, keep
from domain.kept_signals import evolve as evolve_kept
from domain.limits import MAX_VALUE_BYTES
from domain.other_events import SignalKept
from domain.webhooks import MAX_WEBHOOKS, admit
from tests.domain.given import ID, START, Run, at, define, error, tasks

DONE = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: ua}
  - {id: ua, type: task, action: http:shop/ua}
"""


def test_a_claim_on_a_paused_instance_says_that_it_is_paused() -> None:
    run = Run("steps:\n" + tasks("a")).start()
    run.ask(c.PauseInstance, actor="ann", reason="wait")
    refusal = run.refuses(StaleTokenError, c.ClaimStep, execution="a#1", attempt=1, worker="w", token="t")
    assert refusal.details["reason"] == "the instance is paused"


def test_an_unknown_signal_is_refused_with_the_name_of_the_definition() -> None:
    run = Run("steps:\n" + tasks("a")).start()
    refusal = run.refuses(UnknownSignalError, c.SendSignal, name="nobody", signal_id="1", payload=None)
    assert (refusal.details["definition"], refusal.details["name"]) == ("test", "nobody")


@pytest.mark.parametrize(
    ("ending", "action", "said"),
    [
        (c.TerminateInstance, "none", "nothing is undone"),
        (c.CancelInstance, "compensate", "it is being undone"),
    ],
)
def test_a_success_after_the_end_says_whether_it_is_undone(
    ending: type[c.Command], action: str, said: str
) -> None:
    run = Run(DONE).start()
    lease = run.claim("a")
    run.ask(ending, actor="ann", reason="because")
    events = run.ask(c.CompleteStep, output={}, **lease)
    (alert,) = [event for event in events if isinstance(event, AlertRaised)]
    assert (alert.action, said in alert.message) == (action, True)


def test_bad_json_is_refused_with_what_is_wrong_with_it() -> None:
    with pytest.raises(BadJsonError) as refused:
        read_json(b'{"a": tru}', "the body")
    assert refused.value.details["problem"] not in {"", "None"}


def test_sixteen_ways_at_once_are_not_too_many() -> None:
    assert compile_condition("count($[*,*][*,*][*,*][*,*]) == 0")({})


def test_every_key_of_an_object_costs_more_than_its_letters() -> None:
    many = {f"{number:06}": "x" for number in range(MAX_VALUE_BYTES // 14)}
    assert bounded(many) is many
    more = {f"{number:06}": "x" for number in range(MAX_VALUE_BYTES // 13)}
    with pytest.raises(LimitExceededError):
        bounded(more)


# Acts that are refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "becomes", "reason"),
    [
        (c.CancelInstance, "compensating", "cancel"),
        (c.UndoInstance, "compensating", "compensate"),
        (c.TerminateInstance, "failed", "terminate"),
    ],
)
def test_what_has_ended_cannot_be_ended_otherwise(act: type[c.Command], becomes: str, reason: str) -> None:
    run = Run("steps:\n" + tasks("a")).start().complete("a")
    refusal = run.refuses(InvalidTransitionError, act, actor="ann", reason="too late")
    assert str(refusal) == f"An instance that is completed cannot become {becomes}: {reason}."


def test_what_has_not_begun_has_nothing_to_undo() -> None:
    run = Run("steps:\n" + tasks("a")).start(start_at=at("1h"))
    refusal = run.refuses(InvalidTransitionError, c.UndoInstance, actor="ann", reason="no more")
    assert str(refusal) == "An instance that is pending cannot become compensating: compensate."


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (c.PauseInstance, "be paused"),
        (c.ResumeInstance, "be resumed"),
    ],
)
def test_what_has_ended_cannot_be_held_up(act: type[c.Command], said: str) -> None:
    run = Run("steps:\n" + tasks("a")).start().complete("a")
    refusal = run.refuses(InstanceEndedError, act, actor="ann", reason="wait")
    assert str(refusal) == f"Instance '{ID}' has ended as completed; it cannot {said} any more."


def test_the_data_of_what_has_ended_and_reserved_names_cannot_be_changed() -> None:
    run = Run("steps:\n" + tasks("a")).start()
    refused = run.refuses(SchemaMismatchError, c.ChangeData, data={"input": 1}, actor="ann", reason="typo")
    assert str(refused) == (
        "the change of data does not match the schema of 'test' at $.input: the name is reserved."
    )
    run.complete("a")
    ended = run.refuses(InstanceEndedError, c.ChangeData, data={"b": 1}, actor="ann", reason="typo")
    assert str(ended) == f"Instance '{ID}' has ended as completed; it cannot change its data any more."


@pytest.mark.parametrize("act", [c.RetryStep, c.SkipStep, c.ResolveStep, c.FailStuckStep])
def test_only_what_waits_for_a_person_can_be_acted_upon(act: type[c.Command]) -> None:
    run = Run("steps:\n" + tasks("a")).start()
    more: dict[str, Any] = {"output": {}} if act is c.ResolveStep else {}
    refusal = run.refuses(UnknownExecutionError, act, execution="a#1", actor="ann", reason="go", **more)
    assert refusal.details == {
        "instance_id": ID,
        "execution": "a#1",
        "reason": "it does not wait for an operator",
    }


def test_an_undo_cannot_be_failed_only_given_up() -> None:
    run = Run(
        DONE.replace("compensateWith: ua}", "compensateWith: ua, next: b}").replace(
            "http:shop/ua}", "http:shop/ua, retryPolicy: {maxAttempts: 1}}"
        )
        + "  - {id: b, type: wait, signal: go}\n"
    )
    run.start().complete("a").ask(c.CancelInstance, actor="ann", reason="enough")
    run.fail("ua")
    refusal = run.refuses(
        UnknownExecutionError, c.FailStuckStep, execution="a#1/undo", actor="ann", reason="go"
    )
    assert refusal.details["instance_id"] == ID
    assert refusal.details["execution"] == "a#1/undo"
    assert refusal.details["reason"] == "it is an undo, which can be given up"


# Values that cannot be used -----------------------------------------------------------


def test_a_priority_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    run = Run("steps:\n" + tasks("a"))
    refusal = run.refuses(UnusableValueError, c.StartInstance, namespace="n", input={}, priority="urgent")
    assert str(refusal) == "the priority came out as 'urgent'; high or normal or low is needed."


def test_a_step_whose_priority_comes_out_as_none_fails_and_says_so() -> None:
    run = Run("steps:\n" + tasks("a", priority="$.input.how")).start({"how": "urgent"})
    assert run.state.error is not None
    assert run.state.error.type == "UnusableValueError"
    assert run.state.error.message == (
        "the priority of 'a' came out as 'urgent'; high or normal or low is needed."
    )


def test_a_step_that_fails_on_purpose_says_its_message_and_code() -> None:
    run = Run(
        "steps:\n  - {id: no, type: fail, error: {type: $.input.kind, message: {$concat: [$.input.who, ' left']},"
        " code: E7}, result: {who: $.input.who}}\n"
    ).start({"kind": "GoneError", "who": "ann"})
    found = run.state.error
    assert found is not None
    assert (found.type, found.message, found.code, found.retryable) == ("GoneError", "ann left", "E7", False)
    assert run.last(StatusChanged).reason == "ann left"
    assert run.state.result == {"who": "ann"}


# Limits -------------------------------------------------------------------------------


def test_a_namespace_has_a_hundred_webhooks_and_no_more() -> None:
    admit("shop", MAX_WEBHOOKS - 1)
    with pytest.raises(LimitExceededError) as refused:
        admit("shop", MAX_WEBHOOKS)
    assert str(refused.value) == (
        "The number of webhooks of namespace 'shop' is 101, more than the limit of 100 webhooks."
    )


def test_a_hundred_signals_are_kept_under_one_key_and_no_more() -> None:
    state = KeptSignals()

    def signal(number: int) -> SignalKept:
        return SignalKept(
            namespace="n",
            correlation_id="k",
            name="go",
            signal_id=str(number),
            payload=None,
            expires_at=at("1h"),
            at=START,
        )

    for number in range(MAX_KEPT):
        kept = keep(state, signal(number))
        assert kept is not None
        evolve_kept(state, kept)
    assert keep(state, signal(0)) is None
    with pytest.raises(LimitExceededError) as refused:
        keep(state, signal(MAX_KEPT))
    assert str(refused.value) == (
        "The number of signals kept under 'k' is 101, more than the limit of 100 signals."
    )


def test_a_command_that_enters_or_writes_too_much_is_refused_with_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = "steps: [{id: m, type: map, items: $.input, steps: [{id: STEP}]}]"
    monkeypatch.setattr("domain.bounds.MAX_ENTRIES_IN_ALL", 10)
    assert Run(many.replace("STEP", "s, type: succeed")).start([0] * 9).state.outcome == "succeeded"
    run = Run(many.replace("STEP", "s, type: succeed")).start([0] * 10)
    assert run.state.error is not None
    assert run.state.error.message == (
        "the number of steps that one command enters is 11, more than the limit of 10 steps."
    )
    monkeypatch.setattr("domain.bounds.MAX_ENTRIES_IN_ALL", 1_000)
    monkeypatch.setattr("domain.bounds.MAX_COMMAND_BYTES", 100_000)
    run = Run(many.replace("STEP", "t, type: task, action: http:shop/t")).start(["x" * 9] * 400)
    assert run.state.error is not None
    assert run.state.error.message.startswith("what one command writes is ")
    assert run.state.error.message.endswith(", more than the limit of 100000 bytes.")


# How it ended -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"retryPolicy": "{maxAttempts: 1}", "onMaxRetriesExceeded": "fail"},
        {"retryPolicy": "{maxAttempts: 1}"},
    ],
)
@pytest.mark.parametrize("rule", ["", "onFailure: fail\n"])
def test_an_instance_that_fails_says_what_its_step_said(fields: dict[str, str], rule: str) -> None:
    run = Run(rule + "steps:\n" + tasks("a", **fields)).start().fail("a", error("BankError", "no money"))
    assert run.last(StatusChanged).reason == "no money"
    assert run.state.error is not None
    assert (run.state.error.type, run.state.outcome) == ("BankError", "failed")


def test_a_handler_that_compensates_fails_where_the_definition_says_that_nothing_is_undone() -> None:
    text = 'onFailure: fail\nerrorHandlers: [{errors: ["*"], do: fail}]\nsteps:\n' + tasks("a")
    run = Run(text).start().fail("a", error("BankError", "no money", retryable=False))
    assert (run.last(StatusChanged).reason, run.state.outcome) == ("no money", "failed")


def test_what_no_person_can_try_again_fails_though_a_handler_says_to_pause() -> None:
    text = 'onFailure: fail\nerrorHandlers: [{errors: ["*"], do: pause}]\n'
    run = Run(
        text + "steps:\n  - {id: no, type: fail, error: {type: GoneError, message: ann left}}\n"
    ).start()
    assert (run.last(StatusChanged).reason, run.state.outcome) == ("ann left", "failed")


def test_an_instance_whose_time_is_over_says_so_in_words_and_by_its_code() -> None:
    run = Run("timeout: 1h\nsteps:\n" + tasks("a")).start()
    run.time_out("@instance")
    found = run.state.error
    assert found is not None
    assert (found.type, found.message, found.code) == (
        "TimeoutError",
        "Workflow timeout exceeded",
        "workflowTimeout",
    )
    assert (run.last(StatusChanged).reason, found.retryable) == ("Workflow timeout exceeded", False)
    assert run.state.outcome == "timed_out"


def test_what_is_open_when_an_instance_is_cancelled_is_told_why() -> None:
    run = Run(DONE).start()
    run.ask(c.CancelInstance, actor="ann", reason="changed her mind")
    assert run.last(StepCancelled).reason == "changed her mind"
    silent = Run(DONE).start()
    silent.ask(c.CancelInstance)
    assert silent.last(StepCancelled).reason == "Workflow cancelled"


def test_a_child_hears_at_once_of_a_cancellation_though_its_parent_is_paused() -> None:
    both = """
steps:
  - id: all
    type: parallel
    join: any
    branches:
      one: [{id: bill, type: workflow, definition: invoice}]
      two: [{id: ask, type: wait, signal: go}]
    next: last
  - {id: last, type: wait, signal: over}
"""
    run = Run(both).start()
    run.ask(c.PauseInstance, actor="ann", reason="wait")
    run.signal("go")
    begun = run.last(StepStarted)
    assert (begun.execution, begun.worker) == ("all.bill#1/undo", "engine")


def test_a_history_that_begins_before_any_start_is_refused_by_the_name_of_its_event() -> None:
    with pytest.raises(CorruptHistoryError) as refused:
        decided_again([Paused(at=START)], ID, {"1": define("steps:\n" + tasks("a"))})
    assert refused.value.details == {"instance_id": ID, "version": 1, "problem": "Paused before any start"}
