"""An attempt on its way to a worker and back: how it is claimed, what the worker sees, how the lease is given up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from domain.calls import RetryTerms
from domain.commands import ClaimStep, LoseLease
from domain.state import Running
from domain.times import rfc3339
from engine.cache import Entry
from engine.messages import Envelope, Task
from engine.tokens import Lease


def claims(lease: Lease, token: str, worker: str) -> Callable[[Envelope], ClaimStep]:
    return lambda env: ClaimStep(
        at=env.at,
        command_id=env.command_id,
        execution=lease.execution,
        attempt=lease.attempt,
        worker=worker,
        token=token,
    )


def loses_lease(lease: Lease, token: str) -> Callable[[Envelope], LoseLease]:
    return lambda env: LoseLease(
        at=env.at,
        command_id=env.command_id,
        execution=lease.execution,
        attempt=lease.attempt,
        token=token,
    )


def task_of(entry: Entry, execution: str, running: Running, now: datetime, lease: timedelta) -> Task:
    assert entry.program is not None, "nothing is claimed without its definition"
    state, work, limits = entry.state, running.work, running.timeouts
    ends = [at for at in (running.closes_at, limits.schedule_to_close_at) if at is not None]
    return Task(
        token=running.token,
        instance_id=state.id,
        execution=execution,
        step=work.step,
        action=work.action,
        activity=work.action.partition("/")[2],
        attempt=running.attempt,
        input=work.input,
        idempotency_key=f"{work.owner or state.id}/{execution}",
        lease_expires_at=rfc3339(now + lease),
        deadline_at=rfc3339(min(ends)) if ends else None,
        heartbeat_ms=limits.heartbeat_ms,
        progress=work.progress,
        priority=work.priority,
        timeout_ms=limits.start_to_close_ms,
        retry_policy=_up_to_the_last(entry.program.steps[work.step].rules.terms, running),
    )


def _up_to_the_last(policy: RetryTerms, running: Running) -> RetryTerms:
    """`max_attempts` as the number of the last one there may be: lost leases, and what an operator tried again after,
    did not count."""
    last = running.attempt + policy.max_attempts - running.work.counted - 1
    return policy if last == policy.max_attempts else replace(policy, max_attempts=last)
