"""What the simulator found, each reduced to its essence. The seeds are of the day on which they failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from domain import commands as c
from domain.calls import StepError
from domain.codec import decode, encode, topic_of
from domain.commands import Command
from domain.definition.program import Program
from domain.errors import UnknownExecutionError
from domain.events import (
    CompensationEnded,
    Event,
    ResultIgnored,
    StepScheduled,
    StepStarted,
)
from domain.happened import timed
from domain.history import step_executions
from domain.instance import advance
from domain.state import STATE_VERSION, Running, State
from engine.cache import fold
from engine.ports import Loaded, Recorded, Snapshot
from simulation.definitions import Tree, deployable
from simulation.virtual_time import START

BOOM = StepError(type="A", message="boom", retryable=False)
UNDO = {"id": "u1", "type": "task", "action": "worker:q/u1", "retryPolicy": {"maxAttempts": 1}}
CHILD = {"id": "s1", "type": "workflow", "definition": "child", "next": "s2"}
WAIT = {"id": "s2", "type": "wait", "signal": "go"}
LEFT = StepError(type="ChildFailedError", message="it failed", retryable=False, details={"standing": ["c#1"]})
PAUSES = [{"errors": ["*"], "do": "pause"}]
DONE = {"id": "s1", "type": "task", "action": "worker:q/s1", "compensateWith": "u1", "next": "s2"}


class Story:
    """One instance, told command by command."""

    def __init__(self, *steps: Tree, **more: Any) -> None:
        tree = {"name": "found", "signals": {"go": {}}, "steps": list(steps), **more}
        self.program: Program = deployable(tree).program("1")
        self.state = State(id="0-1")
        self.events: list[Event] = []
        self.at = START
        self.ask(c.StartInstance, namespace="default", input={}, priority="normal")

    def ask(self, kind: type[Command], **fields: Any) -> list[Event]:
        self.at += timedelta(seconds=1)
        happened = advance(
            kind(at=self.at, actor="ann", reason="because", **fields), self.state, self.program
        )
        self.events += [decode(topic_of(event), encode(event)) for event in happened]
        return happened

    def claim(self, execution: str, attempt: int = 1) -> dict[str, Any]:
        lease = {"execution": execution, "attempt": attempt, "token": f"{execution}/{attempt}"}
        self.ask(c.ClaimStep, **lease, worker="w")
        return lease

    def complete(self, execution: str, attempt: int = 1) -> None:
        self.ask(c.CompleteStep, **self.claim(execution, attempt), output={})

    def child_ends(self, execution: str, error: StepError | None = None) -> None:
        """Or is at rest, of an undo."""
        running = self.state.open[execution]
        assert isinstance(running, Running)
        held = {"execution": execution, "attempt": running.attempt, "token": running.token}
        if error is None:
            self.ask(c.CompleteStep, **held, output={})
        else:
            self.ask(c.FailStep, **held, error=error)

    @property
    def handed_out(self) -> list[tuple[str, int]]:
        return [(event.execution, event.attempt) for event in self.events if isinstance(event, StepStarted)]


def test_terminated_in_the_middle_of_a_rollback_its_compensate_step_is_over() -> None:
    """Seed 214 (I12): its step execution stayed open for ever."""
    story = Story(DONE, {"id": "s2", "type": "compensate"}, UNDO)
    story.complete("s1#1")
    story.ask(c.TerminateInstance)
    assert story.state.ended
    assert CompensationEnded(undone=[], failed=["s1#1"]) in story.events
    executions = step_executions(timed(enumerate(story.events, 1)))
    assert [one.execution for one in executions if one.completed_at is None] == []


def test_an_undo_that_was_given_up_counts_on_when_it_is_tried_again() -> None:
    """Seed 86 (I4): a later rollback handed out attempt 1 of the same undo once more."""
    partial = {"id": "s2", "type": "compensate", "steps": ["s1"], "next": "s3"}
    story = Story(DONE, partial, {"id": "s3", "type": "wait", "signal": "go"}, UNDO)
    story.complete("s1#1")
    story.ask(c.FailStep, **story.claim("s1#1/undo"), error=BOOM)
    story.ask(c.SkipStep, execution="s1#1/undo")
    story.ask(c.CancelInstance)
    undos = [event for event in story.events if isinstance(event, StepScheduled) and event.undoes]
    assert [undo.attempt for undo in undos] == [1, 2]
    story.claim("s1#1/undo", 2)
    handed_out = story.handed_out
    assert len(handed_out) == len(set(handed_out))


def test_a_snapshot_holds_what_the_log_gives_whoever_named_the_default_priority() -> None:
    """Seed 33 (I3): from the log, a child's `normal` priority was written out, and from a snapshot it was not."""
    story = Story(WAIT)
    log = [
        Recorded("0-1", version, topic_of(event), encode(event))
        for version, event in enumerate(story.events, start=1)
    ]
    snapshot = Snapshot("0-1", len(log), STATE_VERSION, msgspec.json.encode(story.state))
    told = [fold("0-1", loaded) for loaded in (Loaded(None, log), Loaded(snapshot, []))]
    assert msgspec.json.encode(told[0]) == msgspec.json.encode(told[1])


def test_what_a_person_answered_for_a_child_that_had_failed_is_not_undone_as_a_child() -> None:
    """Seed 278 (I14): the rollback looked for a child that had left nothing behind, and fell over it."""
    story = Story(CHILD, WAIT, errorHandlers=PAUSES)
    story.child_ends("s1#1", BOOM)
    story.ask(c.ResolveStep, execution="s1#1", output={})
    story.ask(c.CancelInstance)
    assert (story.state.status, story.state.outcome) == ("completed", "cancelled")


def test_a_step_that_could_not_even_be_asked_at_first_is_undone_like_any_other() -> None:
    """While the check of a child's undo was written (I10): what it was undone by stood in the first attempt alone."""
    asks = DONE | {"input": "$.known"}
    story = Story(asks, WAIT, UNDO, errorHandlers=PAUSES)
    story.ask(c.ChangeData, data={"known": 1})
    story.ask(c.RetryStep, execution="s1#1")
    story.complete("s1#1", 2)
    story.ask(c.CancelInstance)
    assert story.state.status == "compensating"
    story.complete("s1#1/undo")
    assert story.state.outcome == "cancelled"


def test_a_child_that_left_effects_behind_is_not_forgotten_over_another_one() -> None:
    """Seed 301 (I10): a person retried the step; the rollback called the second child back, and never the first."""
    story = Story(CHILD, WAIT, errorHandlers=PAUSES)
    story.child_ends("s1#1", LEFT)
    with pytest.raises(UnknownExecutionError, match="its child has left effects standing"):
        story.ask(c.RetryStep, execution="s1#1")
    story.ask(c.SkipStep, execution="s1#1")
    story.ask(c.CancelInstance)
    first, undo = [event.token for event in story.events if isinstance(event, StepStarted)]
    assert undo == first


def test_a_child_that_is_given_up_hears_of_it_though_its_parent_is_paused() -> None:
    """Seed 25 (I7): it was to hear of it later; a parent that was terminated before that left it running."""
    story = Story(CHILD, WAIT)
    story.ask(c.PauseInstance)
    story.ask(c.CancelInstance)
    assert story.handed_out == [("s1#1", 1), ("s1#1/undo", 1)]
    story.ask(c.TerminateInstance)
    assert isinstance(story.state.open["s1#1/undo"], Running)


def called_back_after_its_undo_was_cut_off() -> Story:
    """A child that was terminated while it undid something; its parent wants it undone all the same."""
    story = Story(DONE, {"id": "s2", "type": "compensate"}, UNDO | {"retryPolicy": {"maxAttempts": 2}})
    story.complete("s1#1")
    story.ask(c.FailStep, **story.claim("s1#1/undo"), error=StepError(type="B", message="not now"))
    story.at += timedelta(seconds=10)
    story.claim("s1#1/undo", 2)
    story.ask(c.TerminateInstance)
    story.ask(c.UndoInstance, by_parent=True)
    return story


def test_an_undo_that_was_cut_off_counts_on_when_the_parent_asks_for_it() -> None:
    """Seed 2310 (I4): the attempt that a worker still had was handed out once more."""
    story = called_back_after_its_undo_was_cut_off()
    story.complete("s1#1/undo", 3)
    assert story.handed_out == [("s1#1", 1), ("s1#1/undo", 1), ("s1#1/undo", 2), ("s1#1/undo", 3)]


def test_a_failure_that_is_on_record_is_not_recorded_again_when_the_undo_is_tried_again() -> None:
    """Seed 34 (I5): its report came twice, and the second time nobody knew of the first."""
    story = called_back_after_its_undo_was_cut_off()
    again = {"execution": "s1#1/undo", "attempt": 1, "token": "s1#1/undo/1"}
    assert story.ask(c.FailStep, **again, error=StepError(type="B", message="not now")) == []
    assert [event for event in story.events if isinstance(event, ResultIgnored)] == []
