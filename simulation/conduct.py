"""Whether an instance does what its definition says, told again from its events: retries, scopes, extents, alerts.

`Conduct` is one instance's. It hears of each event before it is folded, and of each transaction after it; what it
finds is raised under the name of the invariant that is broken, as in `invariants.py`, which knows no definitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain import events as e
from domain.definition.program import Program
from domain.moves import Migrated
from domain.paths import SLOW, UNDO, index_of, path_of, scope_of
from domain.state import Execution, Queued, Running, Scope, Stuck, Waiting, step_of
from domain.steps.compensate import Compensate
from domain.steps.map import Map
from domain.steps.scope import ScopeStep
from domain.steps.task import Task

if TYPE_CHECKING:
    from simulation.instance import Instance

MOST_LOSSES = 5
"""Leases that an execution may lose: the last one fails it (semantics, *Executions, attempts, keys*)."""
ENOUGH = "enough have ended"
"""Why a scope that is joined cancels what is left in it."""


class Conduct:
    def __init__(self, instance: Instance, versions: Mapping[str, Program]) -> None:
        self._instance = instance
        self._versions = versions
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._closes: dict[str, datetime | None] = {}  # Schedule-to-close, as the first attempt set it.
        self._slow: set[tuple[str, int]] = set()  # Alerts of slow steps, by attempt.
        self._alerts: set[str] = set()
        self._due: dict[str, str] = {}  # Alerts that this transaction owes, and for what.
        self._reached: set[str] = set()  # Deadlines whose goal was reached in this transaction.
        self._begun: dict[str, set[str]] = {}  # Blocks of a scope that have begun.
        self._failed: dict[str, set[str]] = {}
        self._enough: dict[str, set[str]] = {}  # Blocks that were cancelled because enough had ended.
        self._under_way: dict[str, int] = {}  # Blocks of a map, when it was last looked at.
        self._saved: dict[str, frozenset[str]] = {}  # What was done when a savepoint was reached.

    @property
    def _program(self) -> Program:
        """Of the version that the instance is on now."""
        return self._versions[self._instance.state.definition_version]

    def _step(self, execution: str) -> str:
        """The id that its step has now: a migration may have given it another."""
        state = self._instance.state
        if (open := state.open.get(execution)) is not None:
            return step_of(open)
        done = state.undo.get(execution)
        return self._instance.scheduled[execution].step if done is None else done.step

    def happens(self, event: e.Event) -> None:
        """It is about to be folded."""
        check = CHECKS.get(type(event))
        if check is not None:
            check(self, event)

    def settled(self) -> None:
        """One transaction is over."""
        for execution, what in self._due.items():
            self._instance.fail("I10", f"{execution} {what}, and no alert says so")
        for name in self._reached:
            if not self._instance.state.deadlines[name].over:
                self._instance.fail("I8", f"deadline {name} was reached and is not met")
        self._due.clear()
        self._reached.clear()
        self._check_what_is_open()

    def _check_what_is_open(self) -> None:
        state, program = self._instance.state, self._program
        at_work = any(_is_at_work(open) for open in state.open.values())
        if state.status == ("waiting" if at_work else "running"):
            self._instance.fail("I2", f"it is {state.status}, open are {sorted(state.open)}")
        for execution, open in state.open.items():
            if isinstance(open, Waiting) and any(one.name == open.signal for one in state.buffer):
                self._instance.fail("I9", f"{execution} waits for signal {open.signal}, which has come")
            if state.status == "compensating" and not execution.endswith(UNDO):
                self._instance.fail("I10", f"{execution} is open in the final rollback")
            if isinstance(open, Scope) and isinstance(step := program.steps[open.step], Map):
                under_way = _under_way(open)
                before = self._under_way.get(execution, 0)
                self._under_way[execution] = under_way
                if under_way > max(step.max_concurrency, before):  # It may have moved to where fewer may be.
                    self._instance.fail("I14", f"{under_way} items of {execution} run at once")

    def _migrated(self, event: Migrated) -> None:
        """What runs by the version that it leaves, in this transaction too, may be more than the next one allows."""
        for execution, open in self._instance.state.open.items():
            if isinstance(open, Scope):
                self._under_way[execution] = _under_way(open)

    # Attempts ------------------------------------------------------------------------

    def _scheduled(self, event: e.StepScheduled) -> None:
        execution = event.execution
        before = self._instance.state.open.get(execution)
        close_at = None if event.timeouts is None else event.timeouts.schedule_to_close_at
        if before is None:
            self._failures[execution] = self._losses[execution] = 0
            self._block_begins(execution, event.step)
        if before is None or isinstance(before, Stuck):
            self._closes[execution] = close_at
        elif self._closes[execution] != close_at:
            self._instance.fail(
                "I8", f"{execution} was to close at {self._closes[execution]}, not {close_at}"
            )

    def _step_failed(self, event: e.StepFailed) -> None:
        if event.at is None:
            return  # It could not even be asked.
        execution = event.execution
        lost = event.timeout == "leaseLost"
        count = self._losses if lost else self._failures
        count[execution] += 1
        step = self._program.steps[self._step(execution)]
        assert isinstance(step, Task)
        policy = step.rules.policy
        used_up = count[execution] >= (MOST_LOSSES if lost else policy.max_attempts)
        final = event.error.type in policy.non_retryable_errors or not event.error.retryable
        over = used_up or (not lost and (final or event.timeout == "scheduleToClose"))
        said = f"{execution} failed for the {count[execution]}. time ({event.error.type})"
        if event.retry_at is None:
            if not over and self._closes[execution] is None:
                self._instance.fail("I7", f"{said} and is given up")
            self._owe_alert(step, event, exhausted=lost or not final)
            return
        if over:
            self._instance.fail("I4", f"{said} and is tried again")
        n = count[execution]
        least = min(policy.initial_interval * policy.backoff_coefficient ** (n - 1), policy.max_interval)
        pause = timedelta(milliseconds=0 if lost else int(least * (1 - policy.jitter)))
        if event.retry_at < event.at + pause:
            self._instance.fail("I8", f"{said} and is tried again at {event.retry_at}, before its time")

    def _owe_alert(self, step: Task, event: e.StepFailed, *, exhausted: bool) -> None:
        """Attempts used up, or an undo that did not succeed, are never silent (S150)."""
        if event.execution.endswith(UNDO):
            self._due[event.execution] = "was not undone"
        elif exhausted and step.rules.fallback is None:
            handler = step.rules.handler_for(event.error)
            if handler is None or (handler.next is None and handler.do is None):
                self._due[event.execution] = "used up its attempts"

    def _retried(self, event: e.StepRetried) -> None:
        self._failures[event.execution] = self._losses[event.execution] = 0

    def _alert(self, event: e.AlertRaised) -> None:
        self._alerts.add(event.alert_id)
        self._due.pop(event.alert_id.removesuffix("/failed"), None)
        if event.alert_id.endswith(SLOW):
            open = self._instance.state.open.get(event.alert_id.removesuffix(SLOW))
            attempt = (event.alert_id, open.attempt if isinstance(open, Queued | Running) else 0)
            if attempt in self._slow:
                self._instance.fail("I8", f"{attempt} was said to be slow twice")
            self._slow.add(attempt)

    def _status(self, event: e.StatusChanged) -> None:
        if event.standing and "@instance/standing" not in self._alerts:
            self._instance.fail("I10", f"it failed with {event.standing} standing, and no alert says so")

    # Deadlines and savepoints ----------------------------------------------------------

    def _completed(self, event: e.StepCompleted) -> None:
        if event.data is None:
            return  # What it put out could not be used: it failed after all.
        step = self._step(event.execution)
        for name, deadline in self._program.deadlines.items():
            running = self._instance.state.deadlines.get(name)
            if deadline.reach.step == step and running is not None and not running.over:
                self._reached.add(name)

    def _saved_at(self, event: e.SavepointReached) -> None:
        self._saved[event.name] = frozenset(self._done())

    def _rollback(self, event: e.CompensationStarted) -> None:
        """A partial one undoes what it names, and no more."""
        step = (
            self._program.steps[path_of(event.trigger).rpartition(".")[2]] if "#" in event.trigger else None
        )
        if not isinstance(step, Compensate) or step.next is None:
            return
        wanted = set(self._done())
        if step.to is not None:
            wanted -= self._saved.get(step.to, frozenset())
        if step.steps is not None:
            wanted = {one for one in wanted if self._step(one) in step.steps}
        if set(event.executions) != wanted:
            self._instance.fail("I10", f"{step.id} undoes {event.executions}, not {sorted(wanted)}")

    def _done(self) -> list[str]:
        """What has an effect that stands, and is over."""
        instance = self._instance
        return [
            one
            for one in instance.succeeded
            if one not in instance.state.open and instance.undone.get(one, "given up") == "given up"
        ]

    # Scopes ----------------------------------------------------------------------------

    def _opened(self, event: e.WaitStarted | e.ScopeOpened | e.DecisionMade) -> None:
        self._block_begins(event.execution, event.step)

    def _block_begins(self, execution: str, step: str) -> None:
        if scope := scope_of(execution):
            self._begun.setdefault(scope, set()).add(self._block_of(execution, step))

    def _block_of(self, execution: str, step: str) -> str:
        return index_of(execution) or self._program.steps[step].block

    def _block_failed(self, event: e.BlockFailed) -> None:
        self._failed.setdefault(event.execution, set()).add(event.block)

    def _cancelled(self, event: e.StepCancelled) -> None:
        scope = scope_of(event.execution)
        if scope and (event.reason or "").endswith(ENOUGH):
            block = self._block_of(event.execution, self._step(event.execution))
            self._enough.setdefault(scope, set()).add(block)

    def _closed(self, event: e.ScopeClosed) -> None:
        """Joined because enough have ended: they have."""
        execution = event.execution
        open, cancelled = self._instance.state.open.get(execution), self._enough.pop(execution, set())
        begun, failed = self._begun.pop(execution, set()), self._failed.pop(execution, set())
        if not isinstance(open, Scope):
            return
        step = self._program.steps[open.step]
        assert isinstance(step, ScopeStep)
        all = len(open.blocks)
        needed = {"all": all, "any": min(1, all)}.get(str(step.join), step.join)
        if cancelled and len(begun - failed - cancelled) < int(needed):
            self._instance.fail("I10", f"{execution} was joined, and {sorted(cancelled)} had not ended")


def _under_way(scope: Scope) -> int:
    """How many items of a map are at a step."""
    return len({index_of(inside) for inside in scope.open})


def _is_at_work(open: Execution) -> bool:
    """A child that runs is waited for; one that is called back, or about to begin, is work."""
    awaited = isinstance(open, Running) and open.work.order is not None and open.work.undoes is None
    return isinstance(open, Queued | Running) and not awaited


CHECKS: dict[type[e.Event], Callable[[Conduct, Any], None]] = {
    e.StepScheduled: Conduct._scheduled,
    e.StepFailed: Conduct._step_failed,
    e.StepRetried: Conduct._retried,
    e.AlertRaised: Conduct._alert,
    e.StatusChanged: Conduct._status,
    e.StepCompleted: Conduct._completed,
    e.SavepointReached: Conduct._saved_at,
    e.CompensationStarted: Conduct._rollback,
    e.WaitStarted: Conduct._opened,
    e.ScopeOpened: Conduct._opened,
    e.DecisionMade: Conduct._opened,
    e.BlockFailed: Conduct._block_failed,
    e.StepCancelled: Conduct._cancelled,
    e.ScopeClosed: Conduct._closed,
    Migrated: Conduct._migrated,
}
