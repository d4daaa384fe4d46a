"""What can have happened to an instance: facts, in the past tense.

THESE NAMES AND FIELDS ARE STORED FOR EVER. The topic of a stored event is its class's name, its payload the JSON of
its fields in camelCase, absent instead of null. A changed shape is a new class registered as `Name@2` in
`domain/codec.py`; the old one stays readable. The catalogue's source is `docs/reference/events.md`.

The first event that a command yields is its *stimulus* and carries the envelope (`at`, `commandId`, …); the rest are
its consequences and carry none: they happened at the same moment, for the same reason. What begins another history for
an instance, or another version, stands in `domain/moves.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from domain.calls import StepError

Json = Any
Status = Literal["pending", "running", "waiting", "compensating", "completed", "failed"]
Outcome = Literal[
    "succeeded", "failed", "compensated", "cancelled", "timed_out", "terminated", "compensation_failed"
]
Priority = Literal["high", "normal", "low"]
TimeoutKind = Literal["startToClose", "scheduleToStart", "scheduleToClose", "heartbeat", "leaseLost"]
IgnoredBecause = Literal["late", "duplicate", "stale", "ended"]


class Event(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The envelope. Set on a command's first event only; `entropy` only where chance was used (retry jitter)."""

    at: datetime | None = None
    command_id: str | None = None
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None
    entropy: float | None = None


class Parent(Struct, rename="camel", frozen=True, omit_defaults=True):
    """The execution that started this instance as its child; `depth` counts the instances above it."""

    instance_id: str
    execution: str
    depth: int = 1


class ChildOrder(Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """What is asked of a child workflow: to run as said here, or, by an undo, to go back for `reason`.

    `do`: `run`; `cancel` undoes what it has done, whether it still runs or has ended; `terminate` ends it if it
    still runs, and undoes nothing.
    """

    definition: str
    do: Literal["run", "cancel", "terminate"] = "run"
    version: str | None = None
    correlation_id: str | None = None
    labels: dict[str, str] | None = None
    timeout_at: datetime | None = None
    depth: int = 1
    reason: str | None = None


class Timeouts(Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """The limits of one attempt, evaluated when it was scheduled: absolute times, or milliseconds from its start."""

    schedule_to_start_at: datetime | None = None
    schedule_to_close_at: datetime | None = None
    start_to_close_ms: int | None = None
    heartbeat_ms: int | None = None
    alert_after_ms: int | None = None


class Escalation(Struct, rename="camel", frozen=True):
    """At `at`, `percent` of a deadline's time has gone."""

    percent: int
    at: datetime


# The instance ----------------------------------------------------------------


class InstanceStarted(Event):
    namespace: str
    definition: str
    version: str
    definition_hash: str
    input: Json
    correlation_id: str | None = None
    labels: dict[str, str] | None = None
    priority: str | None = None
    timeout_at: datetime | None = None
    start_at: datetime | None = None
    parent: Parent | None = None
    idempotency_key: str | None = None


class StatusChanged(Event):
    """The last one carries how it ended; `standing` names the executions whose effects were not undone."""

    from_status: Status = field(name="from")
    to: Status
    outcome: Outcome | None = None
    result: Json = None
    error: StepError | None = None
    standing: list[str] | None = None


class BusinessStatusChanged(Event):
    to: str


# Steps -----------------------------------------------------------------------


class StepScheduled(Event):
    """One attempt may be handed out from `due_at` (at once when absent). `input` stands on the first attempt only.

    `compensate_with` is the step that undoes this one; `undoes` the execution that this one undoes. With `child` the
    action is a workflow of its own, and no worker's.
    """

    execution: str
    step: str
    name: str
    attempt: int
    action: str
    queue: str
    input: Json = None
    priority: Priority = "normal"
    due_at: datetime | None = None
    timeouts: Timeouts | None = None
    compensate_with: str | None = None
    undoes: str | None = None
    child: ChildOrder | None = None


class StepStarted(Event):
    """`token` is the lease; of a child workflow, which no worker holds, it is the child's instance id."""

    execution: str
    attempt: int
    worker: str
    token: str


class StepProgressed(Event):
    execution: str
    attempt: int
    progress: Json


class StepCompleted(Event):
    """`data` is the patch that the output mapping makes of `output`, merged into the instance's data."""

    execution: str
    attempt: int
    output: Json = None
    data: dict[str, Json] | None = None


class StepFailed(Event):
    """With `retry_at` another attempt follows; without, the execution is over."""

    execution: str
    attempt: int
    error: StepError
    timeout: TimeoutKind | None = None
    retry_at: datetime | None = None


class StepCancelled(Event):
    execution: str


class ResultIgnored(Event):
    """A result that came too late to count. A late success of a step with an undo still has to be undone."""

    execution: str
    attempt: int
    why: IgnoredBecause
    output: Json = None
    error: StepError | None = None


class DecisionMade(Event):
    """`transition` is the index of the condition that held; absent when the default was taken."""

    execution: str
    step: str
    next: str
    transition: int | None = None


# Waits and signals -----------------------------------------------------------


class WaitStarted(Event):
    execution: str
    step: str
    signal: str | None = None
    correlation_key: str | None = None
    until: datetime | None = None


class WaitEnded(Event):
    execution: str
    by: Literal["signal", "timer"]
    signal_id: str | None = None
    data: dict[str, Json] | None = None


class SignalReceived(Event):
    signal_id: str
    name: str
    payload: Json = None


class SignalHandled(Event):
    signal_id: str
    do: Literal["set", "cancel"]
    data: dict[str, Json] | None = None


# Scopes and savepoints -------------------------------------------------------


class ScopeOpened(Event):
    """Its blocks run at once: `blocks` are the names of branches (parallel), or the items themselves (map)."""

    execution: str
    step: str
    blocks: list[Json]


class BlockEnded(Event):
    """A `succeed` step ended the block of one item; `output` is its result. Other blocks end with their last step."""

    execution: str
    block: str
    output: Json = None


class BlockFailed(Event):
    """One block, by name or index, has failed for good, and the scope waits for others."""

    execution: str
    block: str
    error: StepError


class ScopeClosed(Event):
    execution: str
    data: dict[str, Json] | None = None


class SavepointReached(Event):
    name: str
    execution: str


# Compensation ----------------------------------------------------------------


class CompensationStarted(Event):
    """`executions` are undone in this order. `trigger` is `failure`, `cancel`, `timeout`, `operator`, `parent` (of an
    instance that has ended), or the execution of a compensate step; `error` is the failure that is compensated."""

    trigger: str
    executions: list[str]
    error: StepError | None = None


class CompensationEnded(Event):
    undone: list[str]
    failed: list[str]


class Compensated(Event):
    execution: str
    attempt: int
    undoes: str
    output: Json = None


class CompensationFailed(Event):
    execution: str
    undoes: str
    error: StepError


# Deadlines and alerts --------------------------------------------------------


class DeadlineSet(Event):
    name: str
    due_at: datetime
    escalations: list[Escalation] = []


class DeadlineEscalated(Event):
    name: str
    percent: int


class DeadlineMet(Event):
    name: str


class DeadlineMissed(Event):
    name: str


class AlertRaised(Event):
    """With the instance and its definition these are the brief's seven fields (S150)."""

    alert_id: str
    severity: Literal["low", "medium", "high"]
    step: str
    action: str
    message: str
    error: StepError | None = None
    retry_count: int | None = None


class AlertAcknowledged(Event):
    alert_id: str


# Acts of a person: actor and reason are mandatory -----------------------------


class CancelRequested(Event):
    pass


class TerminateRequested(Event):
    pass


class Paused(Event):
    pass


class Resumed(Event):
    pass


class StepRetried(Event):
    execution: str


class StepSkipped(Event):
    execution: str


class StepGivenUp(Event):
    """A step that waited for an operator has failed for good."""

    execution: str


class StepResolved(Event):
    execution: str
    output: Json = None
    data: dict[str, Json] | None = None


class DataChanged(Event):
    data: dict[str, Json]


class CompensationGivenUp(Event):
    execution: str


# The stream of one definition name -------------------------------------------


class DefinitionDeployed(Event):
    namespace: str
    name: str
    version: str
    hash: str
    source: str
    document: dict[str, Json]
    findings: list[dict[str, Json]] = []
