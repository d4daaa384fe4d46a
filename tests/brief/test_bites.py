"""The tests that the brief's rows link to can fail: ten rows were drawn at random, what each asks is broken by a small
patch of the code, and of the tests that show it one must fail then. (Without a patch they all pass: they run anyway.)

The draw is `Random(SEED).sample(ROWS, 10)`. To try another, change the seed: the first test says which patches are
missing. A patch whose target is gone is an error, not a pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from random import Random
from typing import Any
from unittest import mock

import pytest

from domain.definition.fields import DEFAULT_RETRY_POLICY
from domain.definition.program import Compiler
from domain.definition.rules import FailureRules
from domain.events import DecisionMade, StepFailed
from domain.evolve import APPLIERS
from domain.state import Attempted, State, Undoable
from domain.steps.step import Step
from domain.turn import Turn
from engine.store import MemoryStore
from tests.test_brief import LINK, TABLE

SEED = 3
NOT_DRAWN = {"S014", "S015", "S065", "S103", "S116", "S118"}
"""Those of other parts of the plan, and one that asks for a measurement."""
ROWS = [f"S{n:03}" for n in (*range(1, 188), *range(209, 218)) if f"S{n:03}" not in NOT_DRAWN]
TEN = sorted(Random(SEED).sample(ROWS, 10))
PLAYED = re.compile(r"^tests/(brief|examples)/test_\w+\.py::test_\w+$")


def nothing(*_: Any, **__: Any) -> None:
    """In the place of what should happen."""


def last_one_wins(turn: Turn, step: Step, execution: str) -> None:
    """Of the conditions that hold, and there is always one: a default is not needed."""
    assert isinstance(step.next, tuple)
    view = turn.view(execution)
    holding = [branch for branch in step.next if branch.holds is None or branch.holds(view)]
    taken = (holding or list(step.next))[-1]
    turn.emit(DecisionMade(execution=execution, step=step.id, next=taken.next))
    turn.enter_beside(execution, taken.next)


async def only_the_first(store: MemoryStore, *asked: str) -> list[str]:
    return (await LISTENERS(store, *asked))[:1]


def one_policy_for_all(compiler: Compiler, model: Any) -> FailureRules:
    return replace(RULES_OF(compiler, model), policy=DEFAULT_RETRY_POLICY)


def failed_is_done(state: State, event: StepFailed) -> None:
    """A step that failed for good is undone like one that completed."""
    STEP_FAILED(state, event)
    failing = state.failing
    if failing is not None and event.retry_at is None and failing.work.compensate_with is not None:
        state.undo[event.execution] = Undoable(
            execution=event.execution,
            step=failing.work.step,
            undo_step=failing.work.compensate_with,
            version=state.version,
        )


def undos_get_one_attempt(turn: Turn, rules: FailureRules, open: Attempted, *rest: Any) -> datetime | None:
    """Whatever the policy of the undo step says."""
    found: datetime | None = RETRY_AT(turn, rules, open, *rest)
    return found if open.work.undoes is None else None


def from_the_start(turn: Turn, anchor: str) -> None:
    """Deadlines count from the start of the instance, whatever they say."""
    if anchor == "start":
        for deadline in turn.program.deadlines.values():
            SET_DEADLINES(turn, "start" if deadline.after == "start" else deadline.after.step)


LISTENERS = MemoryStore.listeners
RULES_OF = Compiler.rules_of
STEP_FAILED = APPLIERS[StepFailed]
RETRY_AT = resolve_name("domain.failure:_retry_at")
SET_DEADLINES = resolve_name("domain.deadlines:set_deadlines")


def at(target: str, broken: object) -> Callable[[], AbstractContextManager[object]]:
    return lambda: mock.patch(target, broken)


BITES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "S019": at("domain.failure._alert_exhausted", nothing),
    "S036": at("domain.turn.Turn._choose", last_one_wins),
    "S063": at("engine.store.memory.MemoryStore.listeners", only_the_first),
    "S098": at("domain.executions.milliseconds_between", lambda *_: 0),
    "S128": at("domain.definition.program.Compiler.rules_of", one_policy_for_all),
    "S146": at("domain.failure.schedule_again", nothing),
    "S155": lambda: mock.patch.dict(APPLIERS, {StepFailed: failed_is_done}),
    "S158": at("domain.failure._retry_at", undos_get_one_attempt),
    "S161": at("domain.signals.cancel", nothing),
    "S167": at("domain.deadlines.set_deadlines", from_the_start),
}
"""Row → what breaks it."""


class Reports:
    """A pytest plugin that keeps how each test ended."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            (self.failed if report.failed else self.passed).append(report.nodeid)
        else:
            assert not report.failed, report.longreprtext


@contextmanager
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The run inside is no part of the run outside."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    yield


def shown_by(row: str) -> list[str]:
    """The tests that the row links to, of those that play it."""
    (found,) = [each for each in TABLE if each.id == row]
    links = [link["place"] for link in LINK.finditer(found.rest)]
    return [link for link in links if PLAYED.fullmatch(link)]


def test_the_ten_that_were_drawn_are_the_ten_that_are_broken() -> None:
    assert sorted(BITES) == TEN


@pytest.mark.parametrize("row", TEN)
def test_a_row_that_is_broken_is_no_longer_shown(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tests, reports = shown_by(row), Reports()
    assert tests, f"{row} links to no test that plays it"
    options = ["-q", "--capture=no", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    with nobody_listens(monkeypatch), BITES[row]():
        ended = pytest.main(
            [*options, "--rootdir", str(Path(__file__).parents[2]), *tests], plugins=[reports]
        )
    assert ended == pytest.ExitCode.TESTS_FAILED
    assert reports.failed, f"{tests} pass although {row} is broken"
