"""The whole view of an instance, key by key, through its life."""

from __future__ import annotations

from typing import Any

from domain import commands as c
from domain.happened import timed
from domain.history import instance_view
from tests.domain.given import ID, Run, at, error

PAYS = """
timeout: 1h
businessStatus: {running: at work}
steps:
  - {id: book, type: task, action: worker:w/book, compensateWith: unbook, next: pay}
  - {id: pay, type: task, action: worker:w/pay, retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause,
     next: ask}
  - {id: ask, type: wait, signal: go, for: 10m}
  - {id: unbook, type: task, action: worker:w/unbook}
"""
BEFORE: dict[str, Any] = {
    "id": ID,
    "namespace": "default",
    "definitionName": "test",
    "definitionVersion": "1",
    "correlationId": "k1",
    "status": "pending",
    "outcome": None,
    "waitingFor": [],
    "businessStatus": None,
    "paused": False,
    "currentStep": None,
    "completedSteps": [],
    "pendingSteps": [],
    "completedCompensableSteps": [],
    "nearTimeouts": [],
    "data": {"input": {"a": 1}},
    "lastError": None,
    "error": None,
    "result": None,
    "standing": [],
    "labels": {"x": "y"},
    "priority": "high",
    "version": 1,
    "parent": None,
    "forkedFrom": None,
    "createdAt": "2026-01-01T12:00:00.000000Z",
    "startAt": "2026-01-01T12:01:00.000000Z",
    "startedAt": None,
    "completedAt": None,
    "timeoutAt": "2026-01-01T13:01:00.000000Z",
}
LAST_ERROR = {
    "step": "pay",
    "message": "no money",
    "code": "BankError",
    "timestamp": "2026-01-01T12:01:05.000000Z",
}
STUCK = BEFORE | {
    "status": "waiting",
    "waitingFor": ["manual_resolution"],
    "businessStatus": "at work",
    "currentStep": "pay",
    "completedSteps": ["book"],
    "completedCompensableSteps": ["book"],
    "data": {"input": {"a": 1}, "book": {"b": 1}, "lastError": LAST_ERROR},
    "lastError": LAST_ERROR,
    "version": 12,
    "startedAt": "2026-01-01T12:01:00.000000Z",
}
ASKING = STUCK | {
    "waitingFor": ["signal"],
    "currentStep": "ask",
    "completedSteps": ["book", "pay"],
    "nearTimeouts": [
        {"execution": "ask#1", "stepId": "ask", "timeout": "wait", "at": "2026-01-01T12:11:06.000000Z"}
    ],
    "version": 14,
}
ENDED = ASKING | {
    "status": "failed",
    "outcome": "terminated",
    "waitingFor": [],
    "currentStep": None,
    "nearTimeouts": [],
    "standing": ["book#1"],
    "version": 18,
    "completedAt": "2026-01-01T12:01:07.000000Z",
}


def view(run: Run, **fields: Any) -> dict[str, Any]:
    return instance_view(run.state, timed(enumerate(run.log, start=1)), **fields)


def test_the_view_of_an_instance_through_its_life() -> None:
    run = Run(PAYS).start(
        {"a": 1}, correlation_id="k1", labels={"x": "y"}, priority="high", start_at=at("1m")
    )
    assert view(run) == BEFORE
    run.time_out("@instance")
    assert (view(run)["pendingSteps"], view(run)["currentStep"]) == (["book"], "book")
    run.complete("book", {"b": 1}).later("5s").fail("pay", error("BankError", "no money"))
    assert view(run) == STUCK
    run.later("1s").ask(c.SkipStep, execution="pay#1", actor="ann", reason="paid in cash")
    assert view(run) == ASKING
    run.later("1s").ask(c.TerminateInstance, actor="ann", reason="wrong tenant")
    assert view(run) == ENDED
    steps = [(one["execution"], one["status"]) for one in view(run, include_history=True)["history"]]
    assert steps == [("book#1", "completed"), ("pay#1", "skipped"), ("ask#1", "cancelled")]
