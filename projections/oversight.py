"""What those who watch over the instances ask: queues, alerts, waits, deadlines, statistics of definitions.

Lists come from projections, as old as the position they name. What waits in a queue is read from what is owed, which
the engine writes with its events, so it is never stale. Lists of instances: `projections/queries.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from projections.alerts import Alerts
from projections.deadlines import Deadlines
from projections.definition_statistics import DefinitionStatistics
from projections.histogram import percentile_ms
from projections.pages import (
    Page,
    Reader,
    Time,
    by_position,
    clean,
    digest,
    named,
    opened,
    sealed,
    written,
)
from projections.queues import Queues
from projections.statements import load
from projections.step_executions import StepExecutions

Standing = Literal["open", "met", "missed"]
Severity = Literal["low", "medium", "high"]
Awaited = Literal["signal", "timer", "manual_resolution"]
"""What a wait is for. A child is no wait but work: instances that wait for one are found in the list of instances."""


class AlertFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold."""

    namespace: str = "default"
    acknowledged: bool | None = None
    severity: Severity | None = None
    instance: str | None = None
    definition: str | None = None


class WaitFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold."""

    namespace: str = "default"
    waiting_for: Awaited | None = None
    signal: str | None = None
    instance: str | None = None
    definition: str | None = None


class DeadlineFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold."""

    namespace: str = "default"
    standing: Standing | None = None
    due_before: datetime | None = None
    instance: str | None = None
    definition: str | None = None


class Alert(Struct, frozen=True, kw_only=True, rename="camel"):
    """The brief's seven fields (S150): severity, workflow, instance, step, error, retry count, action. And the rest."""

    id: str
    severity: str
    workflow: str
    instance_id: str
    step: str
    error: Any
    retry_count: int | None
    action: str
    message: str
    raised_at: str
    acknowledged_at: str | None
    acknowledged_by: str | None
    acknowledged_because: str | None
    position: int


class Wait(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an instance waits for. `correlation_key` is what a signal finds it by."""

    instance_id: str
    execution: str
    definition: str
    step: str
    waiting_for: str
    signal: str | None
    correlation_key: str | None
    until: str | None
    since: str


class Deadline(Struct, frozen=True, kw_only=True, rename="camel"):
    """`escalated` is the last percentage at which it spoke up; `void`: its instance has ended before."""

    instance_id: str
    name: str
    definition: str
    standing: str
    set_at: str
    due_at: str
    escalated: int
    ended_at: str | None


class Queue(Struct, frozen=True, kw_only=True, rename="camel"):
    """`depth` may be taken now; `taken` were, in the window, after waiting for so long. `sessions` hold the running."""

    queue: str
    depth: int
    oldest_at: str | None
    running: int
    sessions: int
    taken: int
    latency_p50_ms: int | None
    latency_p99_ms: int | None


class Durations(Struct, frozen=True, kw_only=True, rename="camel"):
    """Percentiles, true to nine hundredths; None of nothing."""

    p50_ms: int | None
    p90_ms: int | None
    p99_ms: int | None


class StepStatistics(Struct, frozen=True, kw_only=True, rename="camel"):
    """`failed` for good, `retried` for another try. Rates are shares of `scheduled`, the visits of the step."""

    step: str
    scheduled: int
    completed: int
    failed: int
    retried: int
    compensated: int
    undo_failed: int
    failure_rate: float
    retry_rate: float
    compensation_rate: float
    duration: Durations


class VersionStatistics(Struct, frozen=True, kw_only=True, rename="camel"):
    version: str
    started: int
    by_status: dict[str, int]
    by_outcome: dict[str, int]
    duration: Durations
    steps: list[StepStatistics]


class Oversight:
    """The read side of one shard. `owed` is the engine's table (schema, name)."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str, owed: tuple[str, str]) -> None:
        self._reader = Reader(pool, views)
        log = sql.Identifier(views, "positions")
        self._sql = load("oversight", views=views, log=log, owed=sql.Identifier(*owed))

    async def list_alerts(
        self, filters: AlertFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Alert]:
        """Newest first. Raises BadCursorError."""
        question = digest("alerts", filters)
        after = opened(cursor, question, by_position) if cursor else None
        parameters = {**named(filters), "after": after}
        position, rows, more = await self._reader.page(Alerts.name, self._sql["alerts"], parameters, limit)
        last = sealed(question, rows[-1]["position"]) if more else None
        return Page([_alert(row) for row in rows], last, position)

    async def list_waits(
        self, filters: WaitFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Wait]:
        """Those that have waited longest first. Raises BadCursorError."""
        question = digest("waits", filters)
        at, instance, execution = opened(cursor, question, _by_time) if cursor else (None, None, None)
        after = {"after_at": at, "after_instance": instance, "after_execution": execution}
        statement = self._sql["waits"]
        position, rows, more = await self._reader.page(
            StepExecutions.name, statement, {**named(filters), **after}, limit
        )
        key = (rows[-1]["since"], rows[-1]["instance_id"], rows[-1]["execution"]) if more else None
        return Page(
            [Wait(**written(row)) for row in rows], None if key is None else sealed(question, key), position
        )

    async def list_deadlines(
        self, filters: DeadlineFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[Deadline]:
        """Those due first first. Raises BadCursorError."""
        question = digest("deadlines", filters)
        at, instance, name = opened(cursor, question, _by_time) if cursor else (None, None, None)
        after = {"after_at": at, "after_instance": instance, "after_name": name}
        statement = self._sql["deadlines"]
        position, rows, more = await self._reader.page(
            Deadlines.name, statement, {**named(filters), **after}, limit
        )
        key = (rows[-1]["due_at"], rows[-1]["instance_id"], rows[-1]["name"]) if more else None
        return Page(
            [Deadline(**written(row)) for row in rows],
            None if key is None else sealed(question, key),
            position,
        )

    async def list_queues(self, now: datetime, since: datetime) -> list[Queue]:
        """All queues that hold or held anything; latencies are of what was taken since then."""
        parameters = {"now": now, "since": since.replace(second=0, microsecond=0)}
        _, rows = await self._reader.rows(Queues.name, self._sql["queues"], parameters)
        return [_queue(row) for row in rows]

    async def definition_statistics(self, namespace: str, definition: str) -> list[VersionStatistics]:
        """By version, in the order of their names; an unknown definition has none."""
        parameters = {"namespace": clean(namespace), "definition": clean(definition)}
        _, rows = await self._reader.rows(DefinitionStatistics.name, self._sql["statistics"], parameters)
        versions: dict[str, Counters] = {}
        for row in rows:
            counters = versions.setdefault(row["version"], {})
            counters.setdefault(row["step"], {})[row["measure"], row["bucket"]] = row["count"]
        return [_version(version, counters) for version, counters in versions.items()]


Counters = dict[str, dict[tuple[str, int], int]]
"""By step, then by (measure, bucket)."""

_by_time = msgspec.json.Decoder(tuple[str, tuple[Time, str, str]]).decode


def _alert(row: dict[str, Any]) -> Alert:
    row = written(row)
    instance, alert = row["instance_id"], row.pop("alert")
    return Alert(id=f"{instance}/{alert}", **row)


def _queue(row: dict[str, Any]) -> Queue:
    buckets = dict(zip(row.pop("buckets") or [], row.pop("counts") or [], strict=True))
    return Queue(
        **written(row),
        taken=sum(buckets.values()),
        latency_p50_ms=percentile_ms(buckets, 0.5),
        latency_p99_ms=percentile_ms(buckets, 0.99),
    )


def _version(version: str, counters: Counters) -> VersionStatistics:
    own = counters.get("", {})
    return VersionStatistics(
        version=version,
        started=own.get(("started", 0), 0),
        by_status=_named("status:", own),
        by_outcome=_named("outcome:", own),
        duration=_durations(own),
        steps=[_step(step, counted) for step, counted in counters.items() if step],
    )


def _named(prefix: str, counted: dict[tuple[str, int], int]) -> dict[str, int]:
    return {
        measure.removeprefix(prefix): count
        for (measure, _), count in counted.items()
        if measure.startswith(prefix) and count
    }


def _step(step: str, counted: dict[tuple[str, int], int]) -> StepStatistics:
    names = ("scheduled", "completed", "failed", "retried", "compensated", "undo_failed")
    counts = {name: counted.get((name, 0), 0) for name in names}
    visits = max(1, counts["scheduled"])
    return StepStatistics(
        step=step,
        **counts,
        failure_rate=round(counts["failed"] / visits, 4),
        retry_rate=round(counts["retried"] / visits, 4),
        compensation_rate=round(counts["compensated"] / visits, 4),
        duration=_durations(counted),
    )


def _durations(counted: dict[tuple[str, int], int]) -> Durations:
    buckets = {bucket: count for (measure, bucket), count in counted.items() if measure == "duration"}
    return Durations(
        p50_ms=percentile_ms(buckets, 0.5),
        p90_ms=percentile_ms(buckets, 0.9),
        p99_ms=percentile_ms(buckets, 0.99),
    )
