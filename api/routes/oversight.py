"""For those who watch over the instances: queues, alerts, waits, deadlines, statistics of definitions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.errors import InvalidParameterError
from api.routes import examples
from api.routes.lists import MinPosition, Moment, Text, fresh, zoned
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit
from api.routing import Routes
from api.settings import Pool
from api.wiring import Wiring, namespace_of, reply, wiring_of
from domain.durations import parse_duration
from domain.times import MILLISECOND
from projections.oversight import (
    AlertFilters,
    Awaited,
    DeadlineFilters,
    Queue,
    Severity,
    Standing,
    WaitFilters,
)
from projections.pages import Page

routes = Routes("oversight")

WINDOW_MS = 5 * 60_000
"""Of latencies, when none is asked for; an hour is kept."""
MAX_WINDOW_MS = 60 * 60_000

Of = Annotated[str | None, Query(max_length=256, examples=[examples.ID])]


@routes.add(
    "GET", "/v1/queues", answers={200: {"queues": [examples.QUEUE], "pools": [examples.POOL], "next": None}}
)
async def list_queues(
    request: Request,
    *,
    window: Annotated[
        str | None, Query(description="Latencies of so long, an hour at most; 5m.", examples=["5m"])
    ] = None,
    min_position: MinPosition = None,
) -> Response:
    """See what waits in the queues, and how many workers a pool should have.

    A scaler can poll it. `depth`, `oldestAt` and `running` are true now; latencies are those from when a task could be
    taken until it was. `pollers` are polls held by this server.
    """
    wiring = wiring_of(request)
    span = WINDOW_MS if window is None else parse_duration(window)
    if not 0 < span <= MAX_WINDOW_MS:
        raise InvalidParameterError(
            place="query", name="window", value=window, expected="more than 0, at most 1h"
        )
    await fresh(request, "queues", min_position)
    queues = await queues_of(wiring, span)
    return reply({"queues": queues, "pools": _pools(wiring, queues), "next": None})


async def queues_of(wiring: Wiring, window_ms: int = WINDOW_MS) -> list[dict[str, Any]]:
    """Every queue that holds, or held, or is asked for anything."""
    now = wiring.clock.now()
    found = await wiring.oversight.list_queues(now, now - window_ms * MILLISECOND)
    pollers = wiring.engine.pollers()
    names = {queue.queue for queue in found}
    idle = [
        Queue(
            queue=name,
            depth=0,
            oldest_at=None,
            running=0,
            sessions=0,
            taken=0,
            latency_p50_ms=None,
            latency_p99_ms=None,
        )
        for name in sorted(pollers.keys() - names)
        if not name.endswith(":")  # Takes every queue of a kind.
    ]
    return [
        msgspec.to_builtins(queue) | {"pollers": _held(pollers, queue.queue)} for queue in [*found, *idle]
    ]


def _held(pollers: Mapping[str, int], queue: str) -> int:
    """Polls that would take from it: those of its own, and of its kind (`http:`)."""
    kind = queue.partition(":")[0] + ":"
    return pollers.get(queue, 0) + (pollers.get(kind, 0) if kind != queue else 0)


def _pools(wiring: Wiring, queues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {queue["queue"]: queue for queue in queues}
    return [_pool(name, pool, by_name.get(pool.queue, {})) for name, pool in sorted(wiring.pools.items())]


def _pool(name: str, pool: Pool, queue: dict[str, Any]) -> dict[str, Any]:
    """Its settings, and how many instances they ask for now (S198, S201)."""
    if pool.scale_metric == "queue_depth":
        value = queue.get("depth", 0)
        wanted = math.ceil(value / pool.scale_threshold)
    else:
        value = queue.get("latencyP99Ms") or 0
        busy = max(1, queue.get("sessions", 0) + queue.get("pollers", 0))
        wanted = math.ceil(busy * value / pool.scale_threshold)
    return {
        "name": name,
        "queue": pool.queue,
        "minInstances": pool.min_instances,
        "maxInstances": pool.max_instances,
        "scaleMetric": pool.scale_metric,
        "scaleThreshold": pool.scale_threshold,
        "value": value,
        "desiredInstances": min(pool.max_instances, max(pool.min_instances, wanted)),
    }


@routes.add("GET", "/v1/alerts", answers={200: {"alerts": [examples.ALERT], "next": None, "position": 4711}})
async def list_alerts(
    request: Request,
    *,
    state: Annotated[Literal["open", "acknowledged"] | None, Query(examples=["open"])] = None,
    severity: Severity | None = None,
    instance: Of = None,
    definition: Text = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """List alerts.

    Newest first. `id` is what `POST /v1/alerts/{id}/acknowledge` takes.
    """
    filters = AlertFilters(
        namespace=namespace_of(request),
        acknowledged=None if state is None else state == "acknowledged",
        severity=severity,
        instance=instance,
        definition=definition,
    )
    await fresh(request, "alerts", min_position)
    page = await wiring_of(request).oversight.list_alerts(filters, limit=limit, cursor=cursor)
    return _paged("alerts", page, min_position)


@routes.add("GET", "/v1/waits", answers={200: {"waits": [examples.WAIT], "next": None, "position": 4711}})
async def list_waits(
    request: Request,
    *,
    waiting_for: Annotated[Awaited | None, Query(alias="waitingFor", examples=["signal"])] = None,
    signal: Text = None,
    instance: Of = None,
    definition: Text = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """List what instances wait for.

    A signal, a time or a person (`manual_resolution`): those that have waited longest first. What waits for a child is
    in the list of instances (`waitingFor=child`).
    """
    filters = WaitFilters(
        namespace=namespace_of(request),
        waiting_for=waiting_for,
        signal=signal,
        instance=instance,
        definition=definition,
    )
    await fresh(request, "step_executions", min_position)
    await fresh(request, "instances", min_position)
    page = await wiring_of(request).oversight.list_waits(filters, limit=limit, cursor=cursor)
    return _paged("waits", page, min_position)


@routes.add(
    "GET", "/v1/deadlines", answers={200: {"deadlines": [examples.DEADLINE], "next": None, "position": 4711}}
)
async def list_deadlines(
    request: Request,
    *,
    standing: Annotated[Standing | None, Query(examples=["open"])] = None,
    due_before: Annotated[Moment, Query(alias="dueBefore")] = None,
    due_within: Annotated[
        str | None,
        Query(alias="dueWithin", description="From now on; those past are due, too.", examples=["1h"]),
    ] = None,
    instance: Of = None,
    definition: Text = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """List deadlines.

    Those due first come first. `void` is one whose instance ended before.
    """
    zoned("dueBefore", due_before)
    wiring = wiring_of(request)
    filters = DeadlineFilters(
        namespace=namespace_of(request),
        standing=standing,
        due_before=_soonest(due_before, due_within, wiring.clock.now()),
        instance=instance,
        definition=definition,
    )
    await fresh(request, "deadlines", min_position)
    await fresh(request, "instances", min_position)
    page = await wiring.oversight.list_deadlines(filters, limit=limit, cursor=cursor)
    return _paged("deadlines", page, min_position)


def _soonest(moment: datetime | None, within: str | None, now: datetime) -> datetime | None:
    if within is None:
        return moment
    limit = now + timedelta(milliseconds=parse_duration(within))
    return limit if moment is None else min(limit, moment)


@routes.add(
    "GET",
    "/v1/definitions/{name}/statistics",
    answers={200: {"name": "order", "versions": [examples.STATISTICS]}},
    problems=(404,),
)
async def definition_statistics(request: Request, name: str, *, min_position: MinPosition = None) -> Response:
    """See how a definition does: by version and step, how many, how they went, how long they took.

    Percentiles are true to nine hundredths. Rates are shares of the visits of a step.
    """
    wiring, namespace = wiring_of(request), namespace_of(request)
    await fresh(request, "definition_statistics", min_position)
    versions = await wiring.oversight.definition_statistics(namespace, name)
    if not versions:
        await wiring.engine.definition(namespace, name)  # Raises when there is none.
    return reply({"name": name, "versions": versions})


def _paged(plural: str, page: Page[Any], asked: int | None) -> Response:
    """Its projection may have passed the position over in memory: nothing of it was for this list."""
    return reply({plural: page.items, "next": page.next, "position": max(page.position, asked or 0)})
