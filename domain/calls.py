"""A service command and its answer: what the process manager hands to a connector, and what comes back.

Connectors (`connectors/`) and the engine meet here, so that neither imports the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct


class StepError(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Why a step failed. `type` is what policies match on; unknown types are retryable."""

    type: str
    message: str
    retryable: bool = True
    code: str | None = None
    details: dict[str, Any] | None = None


class RetryTerms(Struct, frozen=True, rename="camel", kw_only=True):
    """By what policy a step is tried again, told with every attempt (S054); it is the engine that retries."""

    max_attempts: int
    initial_interval_ms: int
    backoff_coefficient: float
    max_interval_ms: int
    non_retryable_errors: tuple[str, ...] = ()


class ServiceCall(Struct, frozen=True, kw_only=True):
    """One attempt of one step, addressed to `action` (for example `http:payments/charge`).

    `idempotency_key` is the same for every attempt of an execution. `deadline_at` is the moment at which the
    attempt times out; `timeout_ms` is the whole time it was given, None when it has no limit. `retry_policy` is the
    engine's to follow: it says whether another attempt may come.
    """

    instance_id: str
    execution: str
    step: str
    attempt: int
    action: str
    input: Any
    idempotency_key: str
    timeout_ms: int | None = None
    deadline_at: datetime | None = None
    traceparent: str | None = None
    retry_policy: RetryTerms | None = None


class Succeeded(Struct, frozen=True):
    """The service did it; `output` is its JSON answer."""

    output: Any


class Failed(Struct, frozen=True):
    """The service did not, or may not have; `retry_after_ms` is the least time it asked us to wait."""

    error: StepError
    retry_after_ms: int | None = None


Answer = Succeeded | Failed


class Connector(Protocol):
    """How one kind of service is called. `call` never raises: whatever goes wrong is a `Failed`."""

    async def call(self, call: ServiceCall) -> Answer: ...

    async def close(self) -> None: ...
