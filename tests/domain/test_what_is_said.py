"""What refusals, alerts and lists say, where it was found (by mutmut) that nobody listened."""

from __future__ import annotations

import pytest

from domain import commands as c
from domain.errors import BadJsonError, LimitExceededError, StaleTokenError, UnknownSignalError
from domain.events import AlertRaised
from domain.expressions import compile_condition
from domain.expressions.size import bounded
from domain.jsonvalues import read_json
from domain.limits import MAX_VALUE_BYTES
from tests.domain.given import Run, tasks

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
