"""For those who run it: is it alive, is it ready, how far are the projections."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.errors import NotReadyError
from api.routes import examples
from api.routing import Routes
from api.wiring import Wiring, reply, wiring_of
from domain.errors import TenutoError
from notary.notary import Standing

routes = Routes("operations")

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
    """Metrics, for Prometheus."""
    return Response("\n".join(_metrics(wiring_of(request))) + "\n", media_type=METRICS_MEDIA_TYPE)


def _metrics(wiring: Wiring) -> list[str]:
    status = wiring.runner.status()
    lines = _gauge("tenuto_projection_position", "Position of the log that the projection has applied.")
    lines += [f'tenuto_projection_position{{projection="{one.name}"}} {one.position}' for one in status]
    lines += _gauge(
        "tenuto_projection_lag_events", "Positions of the log that the projection has yet to apply."
    )
    lines += [f'tenuto_projection_lag_events{{projection="{one.name}"}} {one.lag_events}' for one in status]
    lines += _gauge("tenuto_projection_lag_seconds", "Since when the projection has been behind.")
    lines += [
        f'tenuto_projection_lag_seconds{{projection="{one.name}"}} {one.lag_ms / 1000}' for one in status
    ]
    lines += _gauge("tenuto_feed_consumers", "Consumers of the live feed at this server.")
    lines.append(f"tenuto_feed_consumers {wiring.feed.consumers}")
    lines += _webhooks(wiring)
    lines += _gauge(
        "tenuto_incidents", "Commands that a fault inside Tenuto kept from being decided, at most 100."
    )
    lines.append(f"tenuto_incidents {len(wiring.engine.incidents)}")
    if wiring.notary is not None:
        lines += _of_the_notary(wiring.notary.standing())
    return lines


def _of_the_notary(standing: Standing) -> list[str]:
    return [
        *_gauge("tenuto_notary_events", "Events in the tree over the log."),
        f"tenuto_notary_events {standing.size}",
        *_gauge("tenuto_notary_exported_events", "Events that the last exported checkpoint covers."),
        f"tenuto_notary_exported_events {standing.exported or 0}",
        *_gauge(
            "tenuto_notary_stopped", "1 while something keeps the notary from signing: /v1/audit says what."
        ),
        f"tenuto_notary_stopped {int(standing.problem is not None)}",
    ]


def _webhooks(wiring: Wiring) -> list[str]:
    """Of those that this server delivers."""
    named = [
        (
            f'{{namespace="{one.registration.webhook.namespace}",webhook="{one.registration.webhook.name}"}}',
            one,
        )
        for one in wiring.webhooks.deliveries
    ]
    lines = _gauge("tenuto_webhook_lag_events", "Positions of the log that the webhook is yet to pass.")
    lines += [
        f"tenuto_webhook_lag_events{labels} {wiring.webhooks.lag(one.position)}" for labels, one in named
    ]
    lines += _gauge("tenuto_webhook_attempts", "Attempts in vain to tell the webhook of its next event.")
    return lines + [f"tenuto_webhook_attempts{labels} {one.attempts}" for labels, one in named]


def _gauge(name: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
