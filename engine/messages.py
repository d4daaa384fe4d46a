"""What goes in and out of the engine: plain records, in the shapes of the wire (docs/reference/http.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from domain.calls import RetryTerms, StepError
from domain.definition.findings import Finding
from domain.events import Event, Outcome, Status

Json = Any


class Envelope(Struct, frozen=True):
    """What the engine gives to every command: time, an id, and chance."""

    at: datetime
    command_id: str
    entropy: float


class StartRequest(Struct, frozen=True, kw_only=True):
    """A client's wish to start an instance. `version` None: the newest. `body_hash` goes with `idempotency_key`."""

    namespace: str
    definition: str
    input: Json
    version: str | None = None
    correlation_id: str | None = None
    labels: dict[str, str] | None = None
    priority: str | None = None
    start_at: datetime | None = None
    idempotency_key: str | None = None
    body_hash: str = ""
    actor: str | None = None
    request_id: str | None = None


class ForkRequest(Struct, frozen=True, kw_only=True):
    """A client's wish to go on from a point of an old instance: at or before `version`, or right after `execution` was
    scheduled; with neither, where it went wrong. UNSET `input` and no `data`: nothing is different."""

    instance_id: str
    version: int | None = None
    execution: str | None = None
    input: Json | UnsetType = UNSET
    data: dict[str, Json] | None = None
    idempotency_key: str | None = None
    body_hash: str = ""
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What a command led to, after its commit. `position` is None when it yielded no events."""

    instance_id: str
    version: int
    position: int | None
    created: bool
    events: list[Event]
    status: Status
    outcome: Outcome | None = None


class Deployed(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    version: str
    hash: str
    created: bool
    findings: list[Finding]
    position: int | None = None


class DefinitionInfo(Struct, frozen=True, kw_only=True, rename="camel"):
    """One deployed version. `source` is the text as it was sent, `document` its content."""

    namespace: str
    name: str
    version: str
    hash: str
    deployed_at: datetime
    deployed_by: str | None
    source: str
    document: dict[str, Json]
    findings: list[Json]


class TaskResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """A finished task: `output`, or `error` when it failed."""

    token: str
    output: Json = None
    error: StepError | None = None
    retry_after_ms: int | None = None


class BeatReport(Struct, frozen=True, kw_only=True, rename="camel"):
    token: str
    progress: Json = None


class ResultStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    status: Literal["accepted", "duplicate", "ignored", "refused", "ok", "cancelled", "lost"]
    reason: str | None = None


class Poll(Struct, frozen=True, kw_only=True):
    """A worker asks for work, and may bring results of work that it has done.

    `prefix` is for the engine's own dispatcher: it takes every queue whose name begins with it.
    """

    worker: str
    session: str
    queues: tuple[str, ...] = ()
    prefix: str | None = None
    max_tasks: int = 1
    wait_seconds: float = 0.0
    results: list[TaskResult] = field(default_factory=list)


class Task(Struct, frozen=True, kw_only=True, rename="camel"):
    """One attempt, handed to a worker. Absolute times are RFC 3339 UTC.

    `retry_policy` comes from the definition when it is handed out: no event repeats it.
    """

    token: str
    instance_id: str
    execution: str
    step: str
    action: str
    activity: str
    attempt: int
    input: Json
    idempotency_key: str
    lease_expires_at: str
    deadline_at: str | None
    heartbeat_ms: int | None
    progress: Json
    priority: str
    traceparent: str | None = None
    timeout_ms: int | None = None
    retry_policy: RetryTerms | None = None


class PollAnswer(Struct, frozen=True):
    tasks: list[Task]
    results: list[ResultStatus]
