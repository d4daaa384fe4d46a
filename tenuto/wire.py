"""The shapes that cross the wire, as plain dicts with the wire's own camelCase keys.

Fields may be absent rather than null, so every shape is partial: read with `.get` what may be missing.
Times are RFC 3339 text in UTC; `…Ms` are integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

Status = Literal["pending", "running", "waiting", "completed", "failed", "compensating"]
Outcome = Literal[
    "succeeded", "failed", "compensated", "cancelled", "timed_out", "terminated", "compensation_failed"
]
ENDED: frozenset[str] = frozenset({"completed", "failed"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. Iterating gives this page's items; `next` is the cursor of the following page, if
    any. `position` is how far in the log the list is, where it comes from a projection.
    """

    items: list[T]
    next: str | None = None
    position: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class Finding(TypedDict, total=False):
    """One remark of the verification of a definition."""

    code: str
    severity: Literal["error", "warning", "info"]
    message: str
    line: int
    column: int
    step: str
    fix: str


class DefinitionView(TypedDict, total=False):
    """A deployed version of a definition; `findings` are the warnings it was deployed with."""

    name: str
    version: str
    hash: str
    deployedAt: str
    source: str
    document: dict[str, Any]
    findings: list[Finding]


class ErrorView(TypedDict, total=False):
    """Why a step or an instance failed."""

    type: str
    message: str
    code: str
    retryable: bool
    retryCount: int
    details: dict[str, Any]


class LastErrorView(TypedDict):
    """The last failure of any step; `code` is the error's own code, or its type when it has none."""

    step: str
    message: str
    code: str
    timestamp: str


class ExecutionView(TypedDict, total=False):
    """One entry of an instance's history: an execution of a step."""

    execution: str
    stepId: str
    stepName: str
    status: Literal["started", "completed", "failed", "compensated"]
    attempt: int
    input: Any
    output: Any
    error: ErrorView
    startedAt: str
    completedAt: str
    durationMs: int


class InstanceView(TypedDict, total=False):
    """An instance as it is now, or as it was at an earlier version. Only a start has `position`: where it stands
    in the log.
    """

    id: str
    definitionName: str
    definitionVersion: str
    correlationId: str | None
    status: Status
    outcome: Outcome | None
    waitingFor: list[str]
    businessStatus: str | None
    currentStep: str | None
    completedSteps: list[str]
    pendingSteps: list[str]
    completedCompensableSteps: list[str]
    data: dict[str, Any]
    lastError: LastErrorView | None
    error: ErrorView | None
    result: Any
    standing: list[str]
    labels: dict[str, str]
    priority: str | int
    paused: bool
    version: int
    createdAt: str
    startedAt: str | None
    completedAt: str | None
    timeoutAt: str | None
    history: list[ExecutionView]
    position: int


class EventView(TypedDict, total=False):
    """One event of an instance's log; `version` counts from 1."""

    version: int
    type: str
    at: str
    payload: dict[str, Any]


# The keyword `from` cannot be a field of a class, hence the functional form.
TransitionView = TypedDict(
    "TransitionView",
    {"instanceId": str, "version": int, "from": str, "to": str, "reason": str, "timestamp": str, "at": str},
    total=False,
)


class UndoView(TypedDict, total=False):
    """One step that a rollback would undo; `version` is that of its completion."""

    execution: str
    step: str
    undoStep: str
    version: int
    input: Any
    output: Any
    undo: str
    undoInput: Any
    problem: dict[str, Any] | None


class UndoPlan(TypedDict, total=False):
    """What a rollback would undo, first things first, when the instance is at `version`.

    `standing` are effects that nothing undoes, `mayJoin` attempts that may still succeed and are undone then.
    """

    steps: list[UndoView]
    standing: list[dict[str, str]]
    mayJoin: list[dict[str, str]]
    version: int


class WhyView(TypedDict, total=False):
    """Why an instance is not moving; `causes` have `code`, `message`, `since`, `execution`, `details`, `moves`."""

    instanceId: str
    status: str | None
    paused: bool
    version: int
    summary: str | None
    causes: list[dict[str, Any]]
    at: str


class AlertView(TypedDict, total=False):
    """What somebody should look at: the seven fields of the alert, and who has looked. `id` is `<instance>/<alert>`."""

    id: str
    severity: str
    workflow: str
    instanceId: str
    step: str
    error: ErrorView | None
    retryCount: int | None
    action: str
    message: str
    raisedAt: str
    acknowledgedAt: str | None
    acknowledgedBy: str | None
    acknowledgedBecause: str | None


class WaitView(TypedDict, total=False):
    """What an instance waits for; `correlationKey` is what a signal finds it by."""

    instanceId: str
    execution: str
    definition: str
    step: str
    waitingFor: str
    signal: str | None
    correlationKey: str | None
    until: str | None
    since: str


class DeadlineView(TypedDict, total=False):
    """What an instance has to reach by when; `void` when it has ended before."""

    instanceId: str
    name: str
    definition: str
    standing: str
    setAt: str
    dueAt: str
    escalated: int
    endedAt: str | None


class QueueView(TypedDict, total=False):
    """A queue now: `depth` may be taken, `running` are held; and how long what was taken had waited."""

    queue: str
    depth: int
    oldestAt: str | None
    running: int
    sessions: int
    pollers: int
    taken: int
    latencyP50Ms: int | None
    latencyP99Ms: int | None


class PoolView(TypedDict, total=False):
    """A pool of workers, as the server is set up, and how many instances it should have now."""

    name: str
    queue: str
    minInstances: int
    maxInstances: int
    scaleMetric: str
    scaleThreshold: float
    value: float
    desiredInstances: int


class QueueOverview(TypedDict):
    queues: list[QueueView]
    pools: list[PoolView]


class SignalView(TypedDict, total=False):
    """What became of a signal; by key, `instances` are those that took it."""

    signalId: str
    status: str
    instances: list[str]


class RetryPolicy(TypedDict):
    """By what policy the engine tries a step again: whether an error that you report leads to another attempt."""

    maxAttempts: int
    initialIntervalMs: int
    backoffCoefficient: float
    maxIntervalMs: int
    nonRetryableErrors: list[str]


class FeedEvent(TypedDict, total=False):
    """An event in its CloudEvents 1.0 envelope. `id` is its position in the log, `subject` the instance; `type` ends
    with the event's name, and `data` is what it says.
    """

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    streamversion: int
    definition: str
    data: dict[str, Any]


class WebhookView(TypedDict, total=False):
    """Who is told of which events, and how far that is. `secret` is in the answer that made it, and in no other."""

    name: str
    url: str
    topics: list[str]
    definition: str | None
    labels: dict[str, str]
    disabled: str | None
    position: int
    lagEvents: int
    attempts: int
    nextAttemptAt: str | None
    lastError: str | None
    lastErrorAt: str | None
    deliveredAt: str | None
    deadLetters: int
    secret: str


class DeadLetterView(TypedDict):
    """An event that a webhook was not told of: where it stands in the log, and what came of the last attempt."""

    position: int
    attempts: int
    error: str
    at: str


class RedeliveryView(TypedDict):
    """What became of dead letters that were sent again: `error` is the refusal at which it stopped."""

    delivered: int
    remaining: int
    error: str | None


class Task(TypedDict, total=False):
    """One attempt of a step, handed to a worker."""

    token: str
    instanceId: str
    execution: str
    step: str
    activity: str
    attempt: int
    input: Any
    idempotencyKey: str
    leaseExpiresAt: str
    deadlineAt: str | None
    heartbeatMs: int | None
    progress: Any
    priority: str | int
    traceparent: str | None
    timeoutMs: int | None
    retryPolicy: RetryPolicy
