"""What happens when a step fails, compiled once per step from its definition: first match wins.

1. retryable and attempts left → another attempt; 2. the step's `fallback`; 3. the first matching error handler;
4. attempts used up → `onMaxRetriesExceeded`; 5. `onFailure: compensate` with anything to undo; 6. fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from domain.calls import RetryTerms, StepError
from domain.definition.fields import OnExhausted, RetryPolicy


@dataclass(frozen=True, slots=True)
class Handler:
    """`errors` None: any."""

    errors: frozenset[str] | None
    next: str | None
    do: OnExhausted | None

    def matches(self, error: StepError) -> bool:
        return self.errors is None or error.type in self.errors


@dataclass(frozen=True, slots=True)
class FailureRules:
    policy: RetryPolicy
    non_retryable: frozenset[str]
    fallback: str | None
    handlers: tuple[Handler, ...]
    on_exhausted: OnExhausted | None
    on_failure: Literal["compensate", "fail"]

    @property
    def terms(self) -> RetryTerms:
        """The policy as workers and services are told it."""
        return RetryTerms(
            max_attempts=self.policy.max_attempts,
            initial_interval_ms=self.policy.initial_interval,
            backoff_coefficient=self.policy.backoff_coefficient,
            max_interval_ms=self.policy.max_interval,
            non_retryable_errors=tuple(self.policy.non_retryable_errors),
        )

    def may_retry(self, error: StepError) -> bool:
        """By its type; unknown errors are retryable (S131)."""
        return error.retryable and error.type not in self.non_retryable

    def handler_for(self, error: StepError) -> Handler | None:
        return next((handler for handler in self.handlers if handler.matches(error)), None)
