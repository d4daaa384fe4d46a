"""What may be asked of an instance: wishes, which `decide` grants with events or refuses with a type.

Time, ids and chance arrive inside the command. The engine fills the envelope: `at` is database time and never less
than the stream's last event, `command_id` is unique, `entropy` is a number in [0, 1) for retry jitter.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct, UnsetType

from domain.calls import StepError
from domain.events import Json, Parent
from domain.moves import Origin

if TYPE_CHECKING:
    from domain.definition.program import Program


class Command(Struct, frozen=True, kw_only=True):
    """The envelope of every command."""

    at: datetime
    command_id: str = ""
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None
    entropy: float = 0.0


class StartInstance(Command, frozen=True):
    namespace: str
    input: Json
    correlation_id: str | None = None
    labels: dict[str, str] | None = None
    priority: str | None = None
    start_at: datetime | None = None
    parent: Parent | None = None
    timeout_at: datetime | None = None  # Of the parent's step: it never outlasts that.
    idempotency_key: str | None = None


# What workers and dispatchers report. The natural key is the token. -----------


class ClaimStep(Command, frozen=True):
    """A worker takes the attempt that is due; `token` is its lease."""

    execution: str
    attempt: int
    worker: str
    token: str


class Beat(Command, frozen=True):
    """A heartbeat with details. Bare beats move a time in the engine and never come here."""

    execution: str
    attempt: int
    token: str
    progress: Json


class CompleteStep(Command, frozen=True):
    execution: str
    attempt: int
    token: str
    output: Json = None


class FailStep(Command, frozen=True):
    execution: str
    attempt: int
    token: str
    error: StepError
    retry_after_ms: int | None = None


class LoseLease(Command, frozen=True):
    """The session that held the lease has not been heard of."""

    execution: str
    attempt: int
    token: str


class FireTimer(Command, frozen=True):
    """Something of `key` (an execution, `@instance` or `@deadline/<name>`) may be due at `at`.

    `alive_at` is the last bare heartbeat the engine knows of; the domain only knows beats with details.
    """

    key: str
    alive_at: datetime | None = None


# What clients and operators ask ------------------------------------------------


class SendSignal(Command, frozen=True):
    signal_id: str
    name: str
    payload: Json = None


class CancelInstance(Command, frozen=True):
    pass


class UndoInstance(Command, frozen=True):
    """Compensate everything that was done, then end. Only by its parent can that be asked of one that has ended."""

    by_parent: bool = False


class TerminateInstance(Command, frozen=True):
    """End at once, undo nothing."""


class PauseInstance(Command, frozen=True):
    pass


class ResumeInstance(Command, frozen=True):
    pass


class RetryStep(Command, frozen=True):
    """Try a step (or an undo) that waits for an operator again, with a fresh budget of attempts."""

    execution: str


class SkipStep(Command, frozen=True):
    """Go on as if the step had nothing to do; for an undo: give it up."""

    execution: str


class FailStuckStep(Command, frozen=True):
    """Let a step that waits for an operator fail for good."""

    execution: str


class ResolveStep(Command, frozen=True):
    """Go on with `output` as the step's result."""

    execution: str
    output: Json = None


class ChangeData(Command, frozen=True):
    data: dict[str, Any]


class MigrateInstance(Command, frozen=True):
    """Follow `target`, another version of the same definition. `steps` maps ids of steps to those that they have there.

    An id that is not mapped stays as it is. `from_version`: the version that the mapping was made for, None for any.
    """

    target: Program | None  # None: as its event tells it. Whoever decides it again looks it up.
    steps: dict[str, str] = {}
    from_version: str | None = None


class ForkInstance(Command, frozen=True):
    """Go on, as an instance of its own, from copies of the events of `origin`."""

    origin: Origin
    input: Json | UnsetType = UNSET
    data: dict[str, Any] | None = None


class AcknowledgeAlert(Command, frozen=True):
    alert_id: str
