"""What the simulator found, each reduced to its essence. The seeds are of the day on which they failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from domain import commands as c
from domain.calls import StepError
from domain.codec import decode, encode, topic_of
from domain.commands import Command
from domain.definition.program import Program
from domain.events import CompensationEnded, Event, StepScheduled, StepStarted
from domain.happened import timed
from domain.history import step_executions
from domain.instance import advance
from domain.state import State
from simulation.definitions import Tree, deployable
from simulation.virtual_time import START

BOOM = StepError(type="A", message="boom", retryable=False)
UNDO = {"id": "u1", "type": "task", "action": "worker:q/u1", "retryPolicy": {"maxAttempts": 1}}
DONE = {"id": "s1", "type": "task", "action": "worker:q/s1", "compensateWith": "u1", "next": "s2"}


class Story:
    """One instance, told command by command."""

    def __init__(self, *steps: Tree) -> None:
        tree = {"name": "found", "signals": {"go": {}}, "steps": list(steps)}
        self.program: Program = deployable(tree).program("1")
        self.state = State(id="0-1")
        self.events: list[Event] = []
        self.at = START
        self.ask(c.StartInstance, namespace="default", input={})

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

    def complete(self, execution: str) -> None:
        self.ask(c.CompleteStep, **self.claim(execution), output={})


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
    handed_out = [
        (event.execution, event.attempt) for event in story.events if isinstance(event, StepStarted)
    ]
    assert len(handed_out) == len(set(handed_out))
