"""Requests about many instances at once: counts, queues, alerts, waits, deadlines, statistics."""

from __future__ import annotations

from typing import Any

from tenuto.calls import as_is, get, page, part
from tenuto.exchange import Call
from tenuto.wire import AlertView, DeadlineView, Page, QueueOverview, WaitView


def count(*, definition: str | None = None, min_position: int | None = None) -> Call[dict[str, int]]:
    """How many instances are in each status, from counters: quick, however many there are."""
    return get("/v1/instances/counts", _counts, definition=definition, minPosition=min_position)


def queues(*, window: str | None = None) -> Call[QueueOverview]:
    """What waits in every queue now, and how long what was taken in the `window` (5m) had waited. `pools` are those
    that the server is set up with, each with the number of instances that it should have.
    """
    return get("/v1/queues", as_is, window=window)


def alerts(
    *,
    state: str | None = None,
    severity: str | None = None,
    instance: str | None = None,
    definition: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    min_position: int | None = None,
) -> Call[Page[AlertView]]:
    """Alerts, newest first, one page; `state` is `open` or `acknowledged`."""
    return get(
        "/v1/alerts",
        page,
        state=state,
        severity=severity,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
        minPosition=min_position,
    )


def waits(
    *,
    waiting_for: str | None = None,
    signal: str | None = None,
    instance: str | None = None,
    definition: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    min_position: int | None = None,
) -> Call[Page[WaitView]]:
    """What instances wait for, the longest first, one page."""
    return get(
        "/v1/waits",
        page,
        waitingFor=waiting_for,
        signal=signal,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
        minPosition=min_position,
    )


def deadlines(
    *,
    standing: str | None = None,
    due_within: str | None = None,
    instance: str | None = None,
    definition: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    min_position: int | None = None,
) -> Call[Page[DeadlineView]]:
    """Deadlines, those due first first, one page; `standing` is `open`, `met` or `missed`."""
    return get(
        "/v1/deadlines",
        page,
        standing=standing,
        dueWithin=due_within,
        instance=instance,
        definition=definition,
        limit=limit,
        cursor=cursor,
        minPosition=min_position,
    )


def statistics(definition: str, *, min_position: int | None = None) -> Call[dict[str, Any]]:
    """How a definition does, by version and step: counts, rates, percentiles of durations."""
    return get(f"/v1/definitions/{part(definition)}/statistics", as_is, minPosition=min_position)


def _counts(body: Any) -> dict[str, int]:
    counts: dict[str, int] = body["counts"]
    return counts
