"""Retries: the brief's four policies, the formula, and what ends them (S131, S134–S147)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import commands as c
from domain.calls import StepError
from domain.definition.fields import RetryPolicy
from domain.events import StepFailed, StepScheduled
from domain.limits import MAX_DURATION_MS
from tests.domain.given import Run, error

POLICIES: dict[str, dict[str, Any]] = {
    "payment": {
        "text": "{maxAttempts: 3, initialInterval: 1s, backoffCoefficient: 2, maxInterval: 10s, nonRetryableErrors: "
        "[PaymentDeclinedError, FraudDetectedError, InsufficientFundsError, CardExpiredError]}",
        "waits": [1_000, 2_000],
        "fatal": ["PaymentDeclinedError", "FraudDetectedError", "InsufficientFundsError", "CardExpiredError"],
    },
    "inventory": {
        "text": "{maxAttempts: 5, initialInterval: 100ms, backoffCoefficient: 1.5, maxInterval: 2s, "
        "nonRetryableErrors: [ItemDiscontinuedError, RegionNotServicedError]}",
        "waits": [100, 150, 225, 338],
        "fatal": ["ItemDiscontinuedError", "RegionNotServicedError"],
    },
    "shipping": {
        "text": "{maxAttempts: 3, initialInterval: 5s, backoffCoefficient: 2, maxInterval: 30s, "
        "nonRetryableErrors: [AddressUndeliverableError]}",
        "waits": [5_000, 10_000],
        "fatal": ["AddressUndeliverableError"],
    },
    "notification": {
        "text": "{maxAttempts: 10, initialInterval: 10s, backoffCoefficient: 2, maxInterval: 5m}",
        "waits": [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000, 300_000],
        "fatal": [],
    },
}
"""S139–S142, word for word, and what they come to."""


def with_policy(policy: str, more: str = "") -> str:
    return (
        f"retryPolicies: {{it: {policy}}}\n"
        f"steps: [{{id: a, type: task, action: http:shop/a, serviceType: it{more}}}]"
    )


def waits_of(run: Run) -> list[int]:
    """Milliseconds from each failure to the attempt after it."""
    waits = []
    while not run.state.ended:
        run.fail("a")
        failed = run.last(StepFailed)
        if failed.retry_at is not None:
            waits.append((failed.retry_at - run.now) // timedelta(milliseconds=1))
            assert run.last(StepScheduled).due_at == failed.retry_at
    return waits


@pytest.mark.parametrize("service", POLICIES)
def test_the_four_policies_of_the_brief(service: str) -> None:
    policy = POLICIES[service]
    assert waits_of(Run(with_policy(policy["text"])).start()) == policy["waits"]


@pytest.mark.parametrize(
    ("service", "type"), [(name, type) for name, policy in POLICIES.items() for type in policy["fatal"]]
)
def test_their_non_retryable_errors_fail_at_once(service: str, type: str) -> None:
    """S138: by name, whatever the service says of it."""
    run = Run(with_policy(POLICIES[service]["text"])).start().fail("a", error(type, retryable=True))
    assert run.status == "failed"
    assert len(run.all(StepScheduled)) == 1


def test_without_a_policy_there_are_three_attempts_from_one_second_on() -> None:
    assert waits_of(Run("steps: [{id: a, type: task, action: http:shop/a}]").start()) == [1_000, 2_000]


def test_a_steps_own_policy_replaces_that_of_its_service_type() -> None:
    """S042."""
    own = ", retryPolicy: {maxAttempts: 2, initialInterval: 7s}"
    assert waits_of(Run(with_policy(POLICIES["inventory"]["text"], own)).start()) == [7_000]


def test_unknown_errors_are_retryable_and_a_service_may_say_otherwise() -> None:
    """S131."""
    run = Run(with_policy("{maxAttempts: 5}")).start().fail("a", error("NeverHeardOfError"))
    assert run.handed_out == ["a"]
    run.fail("a", error("NeverHeardOfError", retryable=False))
    assert run.status == "failed"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    initial=st.integers(0, 86_400_000),
    coefficient=st.floats(1, 100),
    maximum=st.integers(0, 86_400_000),
    retry_count=st.integers(0, 999_999),
)
def test_the_interval_follows_the_formula(
    initial: int, coefficient: float, maximum: int, retry_count: int
) -> None:
    """S143: min(initialInterval × coefficient^retryCount, maxInterval), for every number of retries."""
    policy = RetryPolicy(
        initial_interval=f"{initial}ms",  # type: ignore[arg-type]
        backoff_coefficient=coefficient,
        max_interval=f"{maximum}ms",  # type: ignore[arg-type]
    )
    found = policy.interval_ms(retry_count + 1)
    try:
        expected = min(initial * coefficient**retry_count, maximum)
    except OverflowError:
        expected = maximum
    assert found == round(expected)
    assert 0 <= found <= maximum


def test_retry_after_is_a_minimum_and_may_exceed_the_maximum() -> None:
    run = Run(with_policy("{initialInterval: 10s, maxInterval: 20s, maxAttempts: 9}")).start()
    waits = []
    for asked in ("1s", "1m", "0s"):
        run.fail("a", retry_after=asked)
        waits.append((run.owed["a#1"].due_at - run.now).total_seconds())  # type: ignore[union-attr]
    assert waits == [10, 60, 20]


def test_an_absurd_retry_after_is_cut_to_the_longest_time_there_is() -> None:
    run = Run(with_policy("{}")).start()
    lease = run.claim("a")
    run.ask(c.FailStep, error=error(), retry_after_ms=10**30, **lease)
    assert run.last(StepFailed).retry_at == run.now + timedelta(milliseconds=MAX_DURATION_MS)


@pytest.mark.parametrize(("entropy", "wait_ms"), [(0.0, 900), (0.5, 1_000), (0.75, 1_050)])
def test_jitter_comes_from_the_commands_entropy_which_is_kept(entropy: float, wait_ms: int) -> None:
    run = Run(with_policy("{jitter: 0.1}")).start()
    lease = run.claim("a")
    run.ask(c.FailStep, error=error(), entropy=entropy, **lease)
    failed = run.last(StepFailed)
    assert failed.entropy == entropy
    assert failed.retry_at == run.now + timedelta(milliseconds=wait_ms)


def test_without_jitter_no_chance_is_on_record() -> None:
    run = Run(with_policy("{}")).start()
    lease = run.claim("a")
    run.ask(c.FailStep, error=error(), entropy=0.3, **lease)
    assert run.last(StepFailed).entropy is None


def test_the_failure_and_the_next_attempt_are_decided_together() -> None:
    """S146: one command, one transaction."""
    run = Run(with_policy("{}")).start()
    lease = run.claim("a")
    failed, scheduled = run.ask(c.FailStep, error=error(), **lease)
    assert isinstance(failed, StepFailed)
    assert isinstance(scheduled, StepScheduled)
    assert (failed.attempt, scheduled.attempt, scheduled.due_at) == (1, 2, failed.retry_at)
    assert run.status == "running", "a retry in back-off is still running"


def test_a_typed_failure_keeps_its_details() -> None:
    """S130."""
    declined = StepError(
        type="PaymentDeclinedError",
        message="no",
        retryable=False,
        code="51",
        details={"declineReason": "no funds"},
    )
    run = Run(with_policy(POLICIES["payment"]["text"])).start().fail("a", declined)
    assert run.last(StepFailed).error == declined
    assert run.state.error == declined


def test_what_a_failure_that_counts_is() -> None:
    """Timeouts count, lost leases do not, and an operator's retry has a fresh budget."""
    more = ", timeout: 30s, onMaxRetriesExceeded: pause"
    run = Run(with_policy("{maxAttempts: 2}", more)).start()
    run.lose("a")
    run.claim("a")
    run.time_out("a")
    assert run.handed_out == ["a"]
    run.fail("a")
    assert run.status == "waiting"
    run.ask(c.RetryStep, execution="a#1", actor="ann", reason="mended")
    run.fail("a")
    assert run.handed_out == ["a"], "the second of two fresh attempts"
    run.fail("a")
    assert run.status == "waiting"
    assert [event.attempt for event in run.all(StepScheduled)] == [1, 2, 3, 4, 5]
