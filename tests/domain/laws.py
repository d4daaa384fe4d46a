"""What must hold after every command, whatever was asked of whatever definition. Broken, it fails the test at hand.

`check` is for one command; `check_log` for a whole history. The laws are those at the head of
`domain/instance.py`; `test_laws.py` tries them on random definitions and runs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from domain.again import decided_again
from domain.codec import decode, encode, topic_of
from domain.commands import Command, MigrateInstance
from domain.definition.program import Program
from domain.events import (
    Compensated,
    CompensationFailed,
    CompensationStarted,
    Event,
    ResultIgnored,
    StatusChanged,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepGivenUp,
    StepResolved,
    StepScheduled,
    StepSkipped,
    StepStarted,
    WaitStarted,
)
from domain.instance import advance, decide, evolve, owed
from domain.moves import Migrated
from domain.owed import touched
from domain.paths import UNDO, index_of, scope_of, undo_of
from domain.state import Execution, Queued, Running, Scope, State, Stuck, Waiting
from domain.status import TERMINAL, TRANSITIONS
from domain.steps.map import Map
from domain.steps.scope import needed
from domain.stimulus import command_of


def encoded(state: State) -> bytes:
    return msgspec.json.encode(state)


def check(before: State, command: Command, events: list[Event], after: State, program: Program) -> None:
    """The laws, for one command that was granted, by the program before it. `before` is changed."""
    untouched = encoded(before)
    assert decide(command, before, program) == events, "decide and advance agree"
    assert encoded(before) == untouched, "decide does not touch the state"
    _check_envelopes(events)
    _check_owed(before, events, after)
    _check_transitions(before, events)
    _check_progress(after)
    target = command.target if isinstance(command, MigrateInstance) else None
    _check_scopes(before, after, target or program)
    _check_stimulus(before, events, program, target)
    assert after.version == before.version + len(events)
    for event in events:
        evolve(before, decode(topic_of(event), encode(event)))
    assert encoded(before) == encoded(after), "folding what is stored gives the live state"


def _check_envelopes(events: list[Event]) -> None:
    for number, event in enumerate(events):
        assert (event.at is None) == (number > 0), (
            "the first event is the stimulus, the rest are consequences"
        )


def _check_owed(before: State, events: list[Event], after: State) -> None:
    keys: set[str] = set()
    for event in events:
        one = touched(event)
        if one is None:
            return
        keys |= one
    first, last = owed(before), owed(after)
    changed = {key for key in first.keys() | last.keys() if first.get(key) != last.get(key)}
    assert changed <= keys, "what is owed changes only under the keys that the events touch"
    assert owed(after, keys) == {key: effect for key, effect in last.items() if key in keys}


def _check_transitions(before: State, events: list[Event]) -> None:
    status = before.status
    for event in events:
        if isinstance(event, StatusChanged):
            assert event.from_status == status
            assert event.to in TRANSITIONS[status]
            assert event.reason, "a change of status has its reason (S099)"
            assert (event.outcome is not None) == (event.to in TERMINAL)
            status = event.to


def _check_progress(state: State) -> None:
    """An instance that has not ended waits for something: the world, a person, or to be resumed."""
    if state.ended or state.version == 0 or state.paused:
        return
    stuck = any(isinstance(one, Stuck) for one in state.open.values())
    assert owed(state) or stuck, "it would wait for ever"
    if state.status in ("running", "waiting"):
        assert any(not isinstance(one, Scope) for one in state.open.values()), "nothing will move it"
    if state.rollback is not None:
        undos = [state.open.get(undo_of(one)) for one in state.rollback.pending]
        under_way = any(isinstance(undo, Queued | Running) for undo in undos)
        assert under_way or all(isinstance(undo, Stuck) for undo in undos), "it goes on until only people can"
    if state.status == "waiting":
        assert all(isinstance(one, Waiting | Stuck | Scope) or is_awaited(one) for one in state.open.values())


def is_awaited(execution: Execution) -> bool:
    """A child that runs: its parent waits."""
    return isinstance(execution, Running) and execution.work.is_awaited_child


def _check_scopes(before: State, state: State, program: Program) -> None:
    """A block is at one step at a time; of a map as many are under way as may be, or, since it moved to a version
    where fewer may be, no more than before. What is counted is counted right."""
    assert state.active == sum(
        isinstance(one, Queued | Running) and not is_awaited(one) for one in state.open.values()
    )
    for name, scope in state.open.items():
        if not isinstance(scope, Scope):
            continue
        assert set(scope.open) == {one for one in state.open if scope_of(one) == name}
        step = program.steps[scope.step]
        if isinstance(step, Map):
            under_way = {index_of(one) for one in scope.open}
            earlier = before.open.get(name)
            so_far = len(earlier.open) if isinstance(earlier, Scope) else 0
            assert len(under_way) == len(scope.open) <= max(step.max_concurrency, so_far)
            assert under_way <= {str(index) for index in range(scope.begun)}
            can_join = len(scope.blocks) - len(scope.failed) >= needed(step.join, len(scope.blocks))
            if scope.begun < len(scope.blocks) and can_join:
                assert len(under_way) >= step.max_concurrency, "there is room for another item"


def _check_stimulus(before: State, events: list[Event], program: Program, target: Program | None) -> None:
    if events:
        again = command_of(events[0], before)
        if isinstance(again, MigrateInstance):
            again = msgspec.structs.replace(again, target=target)
        state = copy.deepcopy(before)
        assert _stored(advance(again, state, program)) == _stored(events), "the stimulus yields it all again"


def _stored(events: list[Event]) -> list[tuple[str, bytes]]:
    return [(topic_of(event), encode(event)) for event in events]


def check_log(log: list[Event], state: State, programs: Mapping[str, Program] | None = None) -> None:
    """The laws, for a whole history and the state that it led to; by `programs`, it is decided once more."""
    if programs is not None:
        assert _stored(decided_again(log, state.id, programs)) == _stored(log), (
            "the stimuli yield it all again"
        )
    for cut in {0, len(log) // 3, len(log) // 2, len(log)}:
        assert encoded(_folded_with_a_snapshot(log, state.id, cut)) == encoded(state), "replay"
    ends = [event for event in log if isinstance(event, StatusChanged) and event.to in TERMINAL]
    assert len(ends) == state.ended, "it ends once"
    _check_undos(log)


def _folded_with_a_snapshot(log: list[Event], id: str, cut: int) -> State:
    state = State(id=id)
    for event in log[:cut]:
        evolve(state, event)
    state = msgspec.json.decode(encoded(state), type=State)
    for event in log[cut:]:
        evolve(state, event)
    return state


class Undone:
    """S154, S155, told again without the kernel: what completed and can be undone, and in which order it is."""

    def __init__(self) -> None:
        self.scheduled: dict[str, StepScheduled] = {}
        self.open: set[str] = set()
        self.late: set[str] = set()  # Of those, the ones of which an earlier attempt has succeeded.
        self.children: set[str] = set()  # And the children that have begun, or left effects behind.
        self.succeeded: set[str] = set()
        self.done: list[str] = []
        self.expected: list[str] = []

    def read(self, event: Event) -> None:
        match event:
            case StepScheduled():
                self._scheduled(event)
            case StepCompleted() | StepResolved():
                self.open.discard(event.execution)
                self._succeeded(event.execution)
            case ResultIgnored(error=None) if not event.execution.endswith(UNDO):
                if event.execution not in self.open | self.succeeded:
                    self._succeeded(event.execution)
                    self.expected.insert(0, event.execution)
                elif event.execution in self.open:
                    self.late.add(event.execution)
            case StepStarted() if self._is_child(event.execution):
                self.children.add(event.execution)
            case StepFailed():
                self._failed(event)
            case StepCancelled() | StepSkipped() | StepGivenUp():
                self._over(event.execution)
            case WaitStarted(signal=None, until=None) | CompensationFailed():
                self.open.add(event.execution)
            case CompensationStarted():
                self._rollback(event)
            case Compensated():
                self.open.discard(event.execution)
                self.done.remove(event.undoes)
            case _:
                pass

    def _is_child(self, execution: str) -> bool:
        scheduled = self.scheduled[execution]
        return scheduled.child is not None and scheduled.compensate_with is not None

    def _failed(self, event: StepFailed) -> None:
        if not (event.error.details or {}).get("standing"):
            self.children.discard(event.execution)
        if event.retry_at is None:
            self._over(event.execution)

    def _over(self, execution: str) -> None:
        self.open.discard(execution)
        if execution in self.late | self.children:
            self._succeeded(execution)

    def migrated(self, event: Migrated) -> None:
        for execution, undo in event.undos.items():
            self.scheduled[execution] = replace(self.scheduled[execution], compensate_with=undo)

    def _scheduled(self, event: StepScheduled) -> None:
        first = event.execution not in self.open
        self.scheduled.setdefault(event.execution, event)
        self.open.add(event.execution)
        if event.undoes is not None and first:
            assert event.undoes in self.done, "only what completed is undone, and only once"
            if event.child is None:  # Children that run hear of it all at once.
                assert self.expected.index(event.undoes) == 0, "in reverse order of completion"
            if event.undoes in self.expected:
                self.expected.remove(event.undoes)

    def _succeeded(self, execution: str) -> None:
        scheduled = self.scheduled.get(execution)
        if scheduled is None:
            return
        if scheduled.undoes is not None:
            self.done.remove(scheduled.undoes)
        elif scheduled.compensate_with is not None:
            self.late.discard(execution)
            self.children.discard(execution)
            assert execution not in self.done
            self.done.append(execution)
            self.succeeded.add(execution)
        else:
            self.succeeded.add(execution)

    def _rollback(self, event: CompensationStarted) -> None:
        expected = list(reversed(self.done))
        late = [one for one in event.executions if one in (self.late | self.children) & self.open]
        if "#" in event.trigger or event.trigger == "parent":
            assert event.executions == late + [one for one in expected if one in event.executions]
        else:
            assert event.executions == late + expected, "everything that completed, in reverse order"
        under_way = [one for one in event.executions if undo_of(one) in self.open]
        self.expected = [one for one in event.executions if one not in under_way]


def _check_undos(log: list[Event]) -> None:
    told = Undone()
    for event in log:
        if isinstance(event, Migrated):
            told.migrated(event)
        told.read(event)
