"""The five laws, on random definitions and random runs: late, duplicate and forged reports, timers, acts and all.

1. Replay       folding the log gives the live state, byte for byte, also from a snapshot
2. Stimulus     deciding the stimuli again gives the whole log again
3. Owed         what is owed follows from the state, and changes only where events touch it
4. Idempotence  a command repeated yields no events; a refused one changes nothing
5. Isolation    instances do not affect each other

`laws.py` says what is checked; here stands what is tried. A run is a list of numbers: each chooses one of the moves
that are possible at that moment, so that a failing example shrinks to few of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import commands as c
from domain.calls import StepError
from domain.commands import Command
from domain.definition.program import Program
from domain.errors import ForkRefusedError, TenutoError
from domain.events import StepScheduled
from domain.forking import copied, point_at
from domain.instance import advance
from domain.moves import Origin
from domain.paths import UNDO
from domain.state import Attempted, Queued, Running, Stuck
from simulation.variants import variant
from tests.domain.definitions import Tree, definitions
from tests.domain.given import ID, Run, program_of
from tests.domain.laws import check_log, encoded

TRY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def moves(draw: Any) -> list[int]:
    """Even chances, which Hypothesis alone would not give. The first command that breaks a law ends the run."""
    dice = Random(draw(st.integers(0, 2**32)))
    return [dice.randrange(2**16) for _ in range(100)]


Move = tuple[type[Command], dict[str, Any]]


class RandomRun(Run):
    """Plays numbers as moves. Every command that is granted is asked a second time: nothing may come of it."""

    def __init__(
        self, program: Program, other: Program | None = None, renamed: dict[str, str] | None = None
    ) -> None:
        super().__init__(program)
        self.leases: list[dict[str, Any]] = []
        self.versions = {one.version: one for one in (program, other) if one is not None}
        self.renamed = {"2": renamed or {}, "1": {after: before for before, after in (renamed or {}).items()}}

    def fork(self, version: int) -> RandomRun | None:
        """Another run that goes on from a point of this one; None where nothing can."""
        version = point_at(self.log, version)
        try:
            state = copied(self.log, version, ID, "0-fork")
        except ForkRefusedError:
            return None
        other = copy.copy(self)
        other.state, other.log, other.leases = state, self.log[:version], []
        other.program = self.versions[state.definition_version]
        other.grant(c.ForkInstance, origin=Origin(ID, version), actor="ann", reason="again")
        return other

    def play(self, numbers: list[int]) -> None:
        self.grant(c.StartInstance, namespace="default", input={}, correlation_id="k", **self.delay(numbers))
        self.play_on(numbers)

    def play_on(self, numbers: list[int]) -> None:
        for number in numbers:
            moves = self.moves(number)
            self.try_to(*moves[number // 16 % len(moves)])

    def delay(self, numbers: list[int]) -> dict[str, Any]:
        late = bool(numbers) and numbers[0] % 10 == 0
        return {"start_at": self.now + timedelta(seconds=5)} if late else {}

    def try_to(self, kind: type[Command], fields: dict[str, Any]) -> None:
        before = encoded(self.state)
        try:
            self.grant(kind, **fields)
        except TenutoError:
            assert encoded(self.state) == before, "a refusal changes nothing"

    def grant(self, kind: type[Command], **fields: Any) -> None:
        events = self.ask(kind, **fields)
        before = encoded(self.state)
        stuck_again = kind is c.RetryStep and isinstance(self.state.open.get(fields["execution"]), Stuck)
        if not stuck_again:
            try:
                again = advance(kind(at=self.now, command_id="again", **fields), self.state, self.program)
            except TenutoError:
                again = []
            assert again == [], f"{kind.__name__} repeated, after {events}"
        assert encoded(self.state) == before

    def moves(self, number: int) -> list[Move]:
        """What might be asked now. Mostly what leads on, sometimes what does not, now and then what ends it all."""
        self.now += timedelta(milliseconds=number % 50)
        kinds = (
            [self.work] * 9
            + [self.migrations]
            + [self.timers] * 2
            + [self.late, self.late, self.signals, self.acts]
        )
        found = list(kinds[number % 16](number // 16))
        return found or list(self.work(number)) or list(self.signals(number))

    def work(self, number: int) -> Iterator[Move]:
        for execution, open in self.state.open.items():
            if isinstance(open, Queued) and open.work.order:
                self.now = max(self.now, open.due_at) if number % 3 else self.now
                yield c.FireTimer, {"key": execution}
                yield (
                    c.ClaimStep,
                    {"execution": execution, "attempt": open.attempt, "token": "t", "worker": "w"},
                )
            elif isinstance(open, Queued):
                self.now = max(self.now, open.due_at) if number % 3 else self.now
                lease = {
                    "execution": execution,
                    "attempt": open.attempt,
                    "token": f"{execution}/{open.attempt}",
                }
                self.leases.append(lease)
                yield c.ClaimStep, {**lease, "worker": "w"}
            elif isinstance(open, Running):
                lease = {"execution": execution, "attempt": open.attempt, "token": open.token}
                for _ in range(3):
                    yield c.CompleteStep, {**lease, "output": {"flag": number % 3}}
                yield c.FailStep, {**lease, "error": failure(number), "retry_after_ms": (number % 7) * 1_000}
                if number % 2:
                    yield c.LoseLease, lease
                    yield c.Beat, {**lease, "progress": number % 2}

    def timers(self, number: int) -> Iterator[Move]:
        for key, effect in self.owed.items():
            if effect.timer_at is not None and effect.timer_at > self.now and number % 4 == 0:
                yield c.FireTimer, {"key": key}  # Too early.
            elif effect.timer_at is not None:
                wait = max(effect.timer_at - self.now, timedelta())
                alive = None if number % 3 else self.now + wait
                if number % 2:
                    self.now += wait
                yield c.FireTimer, {"key": key, "alive_at": alive}

    def late(self, number: int) -> Iterator[Move]:
        """Reports that come again, too late, or were never theirs to give."""
        for lease in self.leases[-8:]:
            forged = {**lease, "token": "forged"} if number % 5 == 0 else lease
            if number % 2:
                yield c.CompleteStep, {**forged, "output": {"flag": 2}}
            else:
                yield c.FailStep, {**forged, "error": failure(number)}
        yield c.ClaimStep, {"execution": "nowhere", "attempt": 1, "token": "t", "worker": "w"}
        yield c.CompleteStep, {"execution": "s1#9", "attempt": 1, "token": "t"}

    def signals(self, number: int) -> Iterator[Move]:
        names = ["go"] * 6 + ["note"] * 2 + ["unknown"] + ["stop"] * (number % 8 == 0)
        for name in names:
            payload = {"why": "enough"} if number % 2 else number % 3
            yield c.SendSignal, {"signal_id": f"{name}{number % 6}", "name": name, "payload": payload}

    def migrations(self, number: int) -> Iterator[Move]:
        for version, program in self.versions.items():
            if program is not self.program:
                steps = self.renamed[version] if number % 4 else {}
                yield c.MigrateInstance, {"target": program, "steps": steps, "actor": "ann"}

    def acts(self, number: int) -> Iterator[Move]:
        for execution, open in self.state.open.items():
            if isinstance(open, Stuck) or number % 6 == 0:
                yield c.RetryStep, {"execution": execution, "actor": "ann"}
                yield c.SkipStep, {"execution": execution, "actor": "ann"}
                yield c.FailStuckStep, {"execution": execution, "actor": "ann"}
                yield c.ResolveStep, {"execution": execution, "output": {"flag": 1}, "actor": "ann"}
        yield c.ResumeInstance, {"actor": "ann"}
        yield from [(c.ChangeData, {"data": {"flag": number % 2, "missing": 1}})]
        yield from [(c.AcknowledgeAlert, {"alert_id": alert}) for alert in [*self.state.alerts, "none"][:2]]
        yield c.PauseInstance, {"actor": "ann"}
        if number % 5 == 0:
            for kind in (c.CancelInstance, c.UndoInstance, c.TerminateInstance):
                yield kind, {"actor": "ann", "reason": "because"}
        if self.state.ended or number % 5 == 0:
            yield c.UndoInstance, {"reason": "because", "by_parent": True}


def failure(number: int) -> StepError:
    left = (
        {"standing": ["charge#1"]} if number % 5 == 0 else None
    )  # As a child says that left effects behind.
    retryable = number % 3 > 0 and left is None
    return StepError(type="AB"[number % 2], message="boom", retryable=retryable, details=left)


def hold(tree: Tree, numbers: list[int]) -> RandomRun:
    changed, renamed = variant(tree, Random(sum(numbers)))
    run = RandomRun(program_of(tree), program_of(changed, "2"), renamed)
    run.play(numbers)
    check_log(run.log, run.state, run.versions)
    return run


@TRY
@given(tree=definitions(), numbers=moves())
def test_whatever_is_asked_the_laws_hold(tree: Tree, numbers: list[int]) -> None:
    hold(tree, numbers)


@settings(TRY, max_examples=100)
@given(tree=definitions(first="map"), numbers=moves())
def test_whatever_is_asked_of_a_map_the_laws_hold(tree: Tree, numbers: list[int]) -> None:
    hold(tree, numbers)


@settings(TRY, max_examples=100)
@given(tree=definitions(first="workflow"), numbers=moves())
def test_whatever_is_asked_of_a_parent_the_laws_hold(tree: Tree, numbers: list[int]) -> None:
    hold(tree, numbers)


@settings(TRY, max_examples=100)
@given(tree=definitions(), numbers=moves(), point=st.integers(1, 80))
def test_whatever_is_asked_of_a_fork_the_laws_hold_and_keys_are_its_originals(
    tree: Tree, numbers: list[int], point: int
) -> None:
    """What was begun before the point is known to services under the key that it had; all later work is its own."""
    run = hold(tree, numbers)
    fork = run.fork(point)
    if fork is None:
        return
    begun = {event.execution for event in fork.log if isinstance(event, StepScheduled)}
    fork.play_on(numbers[::-1])
    check_log(fork.log, fork.state, fork.versions)
    for execution, open in fork.state.open.items():
        if isinstance(open, Attempted):
            inherited = execution.removesuffix(UNDO) in begun
            assert open.work.owner == (ID if inherited else None)
