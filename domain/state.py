"""What is true of an instance now: the fold of its history, and no more of it than the next decision needs.

History is not in the state: finished executions leave nothing behind, except what can still be undone (`undo`), and
the few that ended abnormally (`closed`), whose late results must be recognised. So the cost of a step does not grow
with the number of steps done. `evolve` owns the state and changes it in place.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct, field

from domain.calls import StepError
from domain.events import ChildOrder, Escalation, Json, Outcome, Parent, Status, Timeouts
from domain.moves import Origin

STATE_VERSION = 4
"""Of the shape below. A snapshot of another version is discarded."""


class LateSuccess(Struct, rename="camel", frozen=True, omit_defaults=True):
    """An attempt that had been given up succeeded while a later one was open."""

    output: Json = None


class Work(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What all attempts of one execution share."""

    step: str
    action: str
    queue: str
    priority: str
    input: Json = None
    compensate_with: str | None = None
    undoes: str | None = None
    failures: int = 0  # Attempts that counted; lost leases do not (see `losses`).
    forgiven: int = 0  # Those before an operator tried it again.
    losses: int = 0
    progress: Json = None
    reported: list[int] = field(default_factory=list)  # Attempts whose failure or late result is on record.
    late_success: LateSuccess | None = None
    item: Json = None  # Of the map's block that it runs in, for its undo.
    index: int | None = None
    order: ChildOrder | None = None  # Of a child workflow.
    child: str | None = None  # Its instance, while it runs or has left effects behind.
    owner: str | None = None  # The instance under whose key it is known, when a fork has inherited it.

    @property
    def counted(self) -> int:
        """The failures that the policy counts: an operator's retry begins anew."""
        return self.failures - self.forgiven

    @property
    def is_awaited_child(self) -> bool:
        """A child workflow that is not being undone: while it runs, its parent waits."""
        return self.order is not None and self.undoes is None

    @property
    def joins_when_over(self) -> bool:
        """Whether it has to be undone even if it is given up now."""
        stands = self.late_success is not None or self.child is not None
        return stands and self.compensate_with is not None


class Queued(Struct, tag="queued", rename="camel", omit_defaults=True, kw_only=True):
    """Attempt `attempt` may be claimed from `due_at` on."""

    work: Work
    attempt: int
    scheduled_at: datetime
    due_at: datetime
    timeouts: Timeouts


class Running(Struct, tag="running", rename="camel", omit_defaults=True, kw_only=True):
    """A worker holds the lease `token`."""

    work: Work
    attempt: int
    worker: str
    token: str
    started_at: datetime
    beat_at: datetime
    timeouts: Timeouts
    alerted: bool = False

    @property
    def closes_at(self) -> datetime | None:
        """When the attempt times out: start-to-close."""
        limit = self.timeouts.start_to_close_ms
        return None if limit is None else self.started_at + timedelta(milliseconds=limit)

    @property
    def silent_at(self) -> datetime | None:
        """When the next heartbeat is overdue."""
        limit = self.timeouts.heartbeat_ms
        return None if limit is None else self.beat_at + timedelta(milliseconds=limit)

    @property
    def slow_at(self) -> datetime | None:
        """When the step counts as slow; None once it was said."""
        limit = self.timeouts.alert_after_ms
        return None if limit is None or self.alerted else self.started_at + timedelta(milliseconds=limit)


class Stuck(Struct, tag="stuck", rename="camel", omit_defaults=True, kw_only=True):
    """Failed for good; an operator must retry, skip or resolve it."""

    work: Work
    attempt: int
    error: StepError

    @property
    def left_effects(self) -> bool:
        """Whether it was a child that could not undo all that it did."""
        return self.work.is_awaited_child and self.work.child is not None


class Waiting(Struct, tag="waiting", rename="camel", omit_defaults=True, kw_only=True):
    step: str
    signal: str | None = None
    correlation_key: str | None = None
    until: datetime | None = None


class Scope(Struct, tag="scope", rename="camel", omit_defaults=True, kw_only=True):
    """Blocks run at once inside it: named (parallel), or one for each item (map).

    A block is at one step at a time, so it is under way while it has an execution in `open` (or a step about to be
    entered, while a command is being decided). One that is not, has begun and has not failed, is done.
    """

    step: str
    blocks: list[Json]  # The names, or the items.
    open: dict[str, None] = field(default_factory=dict)  # The executions directly inside, as an ordered set.
    visits: dict[str, int] = field(default_factory=dict)  # Of the steps directly inside, by path.
    failed: dict[str, StepError] = field(default_factory=dict)  # By block: its name, or its index.
    # Of a map only, the last two by index.
    begun: int = 0  # So many of the blocks, which begin in order.
    data: dict[str, dict[str, Json]] = field(default_factory=dict)  # What its steps set, for them alone.
    outputs: dict[str, Json] = field(default_factory=dict)  # What its latest step put out.


Attempted = Queued | Running | Stuck
Execution = Queued | Running | Stuck | Waiting | Scope


def step_of(execution: Execution) -> str:
    """The id of its step."""
    return execution.work.step if isinstance(execution, Attempted) else execution.step


class Closed(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An execution that did not simply succeed at its first attempt. `accepted` is the attempt whose result counted."""

    accepted: int = 0
    work: Work | None = None  # Kept when a late success would have to be undone.
    reported: list[int] = field(default_factory=list)


class Undoable(Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """A completed execution that can be undone by the step `undo_step`. `version` orders by completion."""

    execution: str
    step: str
    undo_step: str
    version: int
    input: Json = None
    output: Json = None
    item: Json = None
    index: int | None = None
    order: ChildOrder | None = None  # Of a child workflow,
    child: str | None = None  # and the instance that it ran as.
    owner: str | None = None
    tried: int = 0  # Attempts of its undo that came to nothing: another rollback counts on from there.
    given_up: bool = False  # By a person.


class Rollback(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A compensation in progress; `pending` is in the order in which it will be undone."""

    trigger: str
    reason: str
    pending: list[str]
    error: StepError | None = None
    undone: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class BufferedSignal(Struct, rename="camel", frozen=True):
    signal_id: str
    name: str
    payload: Json


class Deadline(Struct, rename="camel", omit_defaults=True, kw_only=True):
    due_at: datetime
    escalations: list[Escalation] = field(default_factory=list)  # Those still to come.
    over: bool = False  # Met or missed.


class LastError(Struct, rename="camel", frozen=True):
    step: str
    message: str
    code: str
    timestamp: datetime


class State(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One instance. `version` is the number of events folded; 0 means that it does not exist."""

    id: str
    version: int = 0
    namespace: str = ""
    definition: str = ""
    definition_version: str = ""
    definition_hash: str = ""
    correlation_id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    priority: str = "normal"
    parent: Parent | None = None
    origin: Origin | None = None  # Of a fork.

    status: Status = "pending"
    paused: bool = False
    outcome: Outcome | None = None
    result: Json = None
    error: StepError | None = None
    standing: list[str] = field(default_factory=list)
    business_status: str | None = None

    now: datetime | None = None  # Of the last stimulus.
    created_at: datetime | None = None
    start_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    timeout_at: datetime | None = None

    data: dict[str, Json] = field(default_factory=dict)
    last_error: LastError | None = None
    failing: Stuck | None = None  # What failed for good in the command being folded.
    open: dict[str, Execution] = field(default_factory=dict)
    active: int = 0  # How many of those are attempts queued or running.
    visits: dict[str, int] = field(default_factory=dict)  # Of the steps outside scopes, by path.
    closed: dict[str, Closed] = field(default_factory=dict)
    undo: dict[str, Undoable] = field(default_factory=dict)  # In order of completion.
    savepoints: dict[str, int] = field(default_factory=dict)  # Name → version at which it was reached.
    rollback: Rollback | None = None
    signals: dict[str, str] = field(default_factory=dict)  # Every id received → digest of its payload.
    buffer: list[BufferedSignal] = field(default_factory=list)
    deadlines: dict[str, Deadline] = field(default_factory=dict)
    alerts: dict[str, str] = field(default_factory=dict)  # Unacknowledged: id → step.

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed")
