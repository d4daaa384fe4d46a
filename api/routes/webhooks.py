"""Webhooks: who is told of which events, how far that is, and what had to be given up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import RedeliverBody, WebhookBody
from api.errors import InvalidParameterError
from api.routes import examples
from api.routes.feed import topics_of
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit, number_of
from api.routing import ACTOR, Routes
from api.wiring import Wiring, caller_of, namespace_of, reply, wiring_of
from domain.other_events import WebhookRegistered, WebhookRemoved
from domain.times import rfc3339
from domain.webhooks import Registration
from feeds.desk import Progress

routes = Routes("webhooks")

EXAMPLE = {
    "url": "https://crm.example/tenuto",
    "topics": ["workflow.state.changed"],
    "definition": "order",
    "labels": {"tier": "premium"},
}
VIEW = {
    "name": "crm",
    **EXAMPLE,
    "disabled": None,
    "position": 4711,
    "lagEvents": 0,
    "attempts": 0,
    "nextAttemptAt": None,
    "lastError": None,
    "lastErrorAt": None,
    "deliveredAt": examples.AT,
    "deadLetters": 0,
}
LETTER = {"position": 4711, "attempts": 12, "error": "HTTP 500", "at": examples.AT}


@routes.add(
    "PUT",
    "/v1/webhooks/{name}",
    answers={201: VIEW | {"secret": "whsec_…"}, 200: VIEW},
    body=WebhookBody,
    example=EXAMPLE,
    problems=(413, 415),
    headers=ACTOR,
)
async def register_webhook(request: Request, name: str) -> Response:
    """Register a webhook, or change it.

    Events after this one are posted to `url`, signed by Standard Webhooks. A `secret` is made when none is given; it is
    in the answer when it is new, and never again. The same again is 200 and changes nothing; one that was disabled is
    enabled, and goes on where it was.
    """
    body, _ = await bodies.read(request, WebhookBody)
    wiring, caller = wiring_of(request), caller_of(request, body.actor)
    wish = WebhookRegistered(
        actor=caller.actor,
        reason=body.reason,
        request_id=caller.request_id,
        namespace=caller.namespace,
        name=_name(name),
        url=body.url,
        secret_id="",
        topics=sorted(set(topics_of(body.topics, "body"))),
        definition=body.definition,
        labels=body.labels or None,
    )
    done = await wiring.webhooks.register(wish, body.secret)
    _, progress = await wiring.webhooks.get(caller.namespace, name)
    secret = {} if done.secret is None else {"secret": done.secret}
    view = _view(wiring, done.registration, progress) | secret
    return reply(view, 201 if done.created else 200, {"Location": f"/v1/webhooks/{name}"})


@routes.add("GET", "/v1/webhooks", answers={200: {"webhooks": [VIEW], "next": None}})
async def list_webhooks(request: Request) -> Response:
    """List webhooks, and how far each is.

    `lagEvents` counts positions of the log after `position`. While the receiver refuses, `attempts` counts, and nothing
    is sent before `nextAttemptAt`.
    """
    wiring = wiring_of(request)
    found = await wiring.webhooks.of(namespace_of(request))
    return reply({"webhooks": [_view(wiring, *one) for one in found], "next": None})


@routes.add("GET", "/v1/webhooks/{name}", answers={200: VIEW}, problems=(404,))
async def read_webhook(request: Request, name: str) -> Response:
    """Read a webhook."""
    wiring = wiring_of(request)
    return reply(_view(wiring, *await wiring.webhooks.get(namespace_of(request), name)))


@routes.add(
    "DELETE",
    "/v1/webhooks/{name}",
    answers={200: {"name": "crm", "removed": True}},
    problems=(404,),
    headers=ACTOR,
)
async def remove_webhook(
    request: Request,
    name: str,
    *,
    reason: Annotated[str | None, Query(max_length=2_000, examples=["the CRM is gone"])] = None,
) -> Response:
    """Remove a webhook.

    Nothing more is sent, and its dead letters are forgotten. Its registrations stay in the log.
    """
    caller = caller_of(request)
    event = WebhookRemoved(actor=caller.actor, reason=reason, request_id=caller.request_id)
    await wiring_of(request).webhooks.remove(caller.namespace, name, event)
    return reply({"name": name, "removed": True})


@routes.add(
    "GET",
    "/v1/webhooks/{name}/dead-letters",
    answers={200: {"deadLetters": [LETTER], "next": None}},
    problems=(404,),
)
async def list_dead_letters(
    request: Request, name: str, *, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """List the events that a webhook was not told of.

    Each was refused twelve times. The event itself stands in the log at its position.
    """
    found = await wiring_of(request).webhooks.dead_letters(
        namespace_of(request), name, number_of(cursor), limit + 1
    )
    page = [to_builtins(letter) | {"at": rfc3339(letter.at)} for letter in found[:limit]]
    return reply({"deadLetters": page, "next": str(page[-1]["position"]) if len(found) > limit else None})


@routes.add(
    "POST",
    "/v1/webhooks/{name}/redeliver",
    answers={200: {"delivered": 3, "remaining": 0, "error": None}},
    body=RedeliverBody,
    example={"position": 4711},
    problems=(404, 413, 415),
)
async def redeliver_dead_letters(request: Request, name: str) -> Response:
    """Send dead letters again.

    The one at `position`, or all in their order, a hundred at a time, until one is refused again.
    """
    body, _ = await bodies.read(request, RedeliverBody)
    done = await wiring_of(request).webhooks.redeliver(namespace_of(request), name, body.position)
    return reply(done._asdict())


def _name(name: str) -> str:
    if bodies.WEBHOOK_NAME.fullmatch(name) is None:
        expected = "a letter or digit, then at most 63 letters, digits, `.`, `_`, `-`"
        raise InvalidParameterError(place="path", name="name", value=name[:200], expected=expected)
    return name


def _view(wiring: Wiring, registration: Registration, progress: Progress | None) -> dict[str, Any]:
    webhook = registration.webhook
    if progress is None or progress.position < registration.begins_at:
        progress = Progress(registration.stream, registration.begins_at, 0, None, None, None, None, None, 0)
    times = (progress.next_attempt_at, progress.last_error_at, progress.delivered_at)
    next_attempt_at, last_error_at, delivered_at = (None if at is None else rfc3339(at) for at in times)
    return {
        "name": webhook.name,
        "url": webhook.url,
        "topics": webhook.topics,
        "definition": webhook.definition,
        "labels": webhook.labels,
        "disabled": webhook.disabled,
        "position": progress.position,
        "lagEvents": wiring.webhooks.lag(progress.position),
        "attempts": progress.attempts,
        "nextAttemptAt": next_attempt_at,
        "lastError": progress.last_error,
        "lastErrorAt": last_error_at,
        "deliveredAt": delivered_at,
        "deadLetters": progress.dead_letters,
    }
