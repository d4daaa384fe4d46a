"""What must hold after every command, whatever was asked of whatever definition. Broken, it fails the test at hand.

`check` is for one command; `check_log` for a whole history. The laws are those at the head of
`domain/instance.py`; `test_laws.py` tries them on random definitions and runs.
"""

from __future__ import annotations

import copy

import msgspec

from domain.codec import decode, encode, topic_of
from domain.commands import Command
from domain.definition.program import Program
from domain.events import (
    Compensated,
    CompensationGivenUp,
    CompensationStarted,
    Event,
    ResultIgnored,
    StatusChanged,
    StepCompleted,
    StepResolved,
    StepScheduled,
)
from domain.instance import advance, decide, evolve, owed
from domain.owed import touched
from domain.state import Scope, State, Stuck, Waiting
from domain.status import TERMINAL, TRANSITIONS
from domain.stimulus import command_of


def encoded(state: State) -> bytes:
    return msgspec.json.encode(state)


def check(before: State, command: Command, events: list[Event], after: State, program: Program) -> None:
    """The laws, for one command that was granted. `before` is changed."""
    untouched = encoded(before)
    assert decide(command, before, program) == events, "decide and advance agree"
    assert encoded(before) == untouched, "decide does not touch the state"
    _check_envelopes(events)
    _check_owed(before, events, after)
    _check_transitions(before, events)
    _check_progress(after)
    _check_stimulus(before, events, program)
    assert after.version == before.version + len(events)
    for event in events:
        evolve(before, decode(topic_of(event), encode(event)))
    assert encoded(before) == encoded(after), "folding what is stored gives the live state"


def _check_envelopes(events: list[Event]) -> None:
    for number, event in enumerate(events):
        assert (event.at is None) == (number > 0), "the first event is the stimulus, the rest are consequences"


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
    if state.status == "waiting":
        assert all(isinstance(one, Waiting | Stuck | Scope) for one in state.open.values())


def _check_stimulus(before: State, events: list[Event], program: Program) -> None:
    if events:
        again = command_of(events[0], before)
        state = copy.deepcopy(before)
        assert _stored(advance(again, state, program)) == _stored(events), "the stimulus yields it all again"


def _stored(events: list[Event]) -> list[tuple[str, bytes]]:
    return [(topic_of(event), encode(event)) for event in events]


def check_log(log: list[Event], state: State) -> None:
    """The laws, for a whole history and the state that it led to."""
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


def _check_undos(log: list[Event]) -> None:
    """S154, S155: what a rollback of everything undoes is what had completed, latest first, each of it once."""
    works: dict[str, StepScheduled] = {}
    done: list[str] = []
    for event in log:
        match event:
            case StepScheduled():
                works.setdefault(event.execution, event)
            case StepCompleted() | StepResolved() | ResultIgnored(error=None):
                scheduled = works.get(event.execution)
                if scheduled is not None and scheduled.undoes is not None:
                    if isinstance(event, StepResolved):
                        done.remove(scheduled.undoes)
                elif scheduled is not None and scheduled.compensate_with and event.execution not in done:
                    done.append(event.execution)
            case Compensated():
                done.remove(event.undoes)
            case CompensationStarted() if "#" not in event.trigger:
                expected = [one for one in reversed(done) if one in event.executions]
                assert event.executions == expected, "in reverse order of completion"
            case CompensationGivenUp():
                pass
            case _:
                pass
