"""A claimed attempt, as the worker that claimed it sees it."""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.state import Running, State
from engine.messages import Task


def task_of(state: State, execution: str, running: Running, now: datetime, lease: timedelta) -> Task:
    work, limits = running.work, running.timeouts
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
        idempotency_key=f"{state.id}/{execution}",
        lease_expires_at=now + lease,
        deadline_at=min(ends, default=None),
        heartbeat_ms=limits.heartbeat_ms,
        progress=work.progress,
        priority=work.priority,
        timeout_ms=limits.start_to_close_ms,
    )
