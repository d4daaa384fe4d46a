"""For those who run it: is it alive, is it ready, how far are the projections."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response

from api.errors import NotReadyError
from api.routes import examples
from api.routes.oversight import queues_of
from api.routing import Routes
from api.wiring import reply, wiring_of
from domain.errors import TenutoError

routes = Routes("operations")

_log = logging.getLogger("tenuto.server")

READY_WITHIN_S = 2.0
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@routes.add("GET", "/healthz", answers={200: {"status": "alive"}}, headers=())
async def is_alive(request: Request) -> Response:
    """Is the process alive?

    Asks nobody else: a server without its database is alive, and not ready.
    """
    return reply({"status": "alive"})


@routes.add("GET", "/readyz", answers={200: {"status": "ready"}}, headers=())
async def is_ready(request: Request) -> Response:
    """Can the server do its work?

    503 while the database does not answer, or the server is shutting down. A projection that is behind or has stopped
    (`/v1/projections`) makes lists stale, not the server unready.
    """
    wiring = wiring_of(request)
    if wiring.draining.is_set():
        raise NotReadyError(problem="it is shutting down")
    try:
        await asyncio.wait_for(wiring.store.now(), READY_WITHIN_S)
    except TimeoutError:
        raise NotReadyError(problem=f"the database did not answer within {READY_WITHIN_S} s") from None
    except TenutoError as error:
        raise NotReadyError(problem=str(error)) from error
    return reply({"status": "ready"})


@routes.add(
    "GET", "/v1/projections", answers={200: {"projections": [examples.PROGRESS], "next": None}}, headers=()
)
async def list_projections(request: Request) -> Response:
    """See how far the projections are.

    `lagEvents` counts positions of the log not applied yet, `lagMs` since when there have been any.
    """
    return reply({"projections": wiring_of(request).runner.status(), "next": None})


@routes.add(
    "POST",
    "/v1/projections/{name}/rebuild",
    answers={200: examples.COMPARISON},
    problems=(404, 409),
    headers=(),
)
async def rebuild_projection(request: Request, name: str, *, swap: bool = True) -> Response:
    """Rebuild a projection from the log.

    The live one serves meanwhile; both are compared at one position, and the new one takes its place. With `swap=false`
    it is a check. Answers when it is done.
    """
    comparison = await wiring_of(request).runner.rebuild(name, swap=swap)
    return reply({"equal": comparison.equal} | msgspec.to_builtins(comparison))


@routes.add(
    "GET", "/metrics", answers={200: 'tenuto_projection_lag_events{projection="instances"} 0\n'}, headers=()
)
async def metrics(request: Request) -> Response:
    """Metrics, for Prometheus.

    Projections with position and lag, queues with depth and latency, instances by status, consumers of the feed,
    webhooks, the notary. Without its database the server says what it knows by itself.
    """
    from api import metrics as exposition  # Nobody else needs it, and starting has to be quick.

    wiring = wiring_of(request)
    queues: list[dict[str, Any]] | None = None
    counts: dict[str, int] | None = None
    try:
        queues = await queues_of(wiring)
        counts = await wiring.queries.count_by_status(None)
    except (psycopg.Error, PoolTimeout) as error:
        _log.warning("metrics without the database: %s", error)
    text = exposition.text_of(wiring, queues=queues, counts=counts)
    return Response(text, media_type=METRICS_MEDIA_TYPE)
