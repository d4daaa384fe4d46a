"""Requests about webhooks: who is told of which events, how far that is, what a receiver has refused for good.

As `calls.py`: described here, sent by `client.py`. What a receiver gets, and how it knows that it is ours: the HTTP
API reference, Webhooks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenuto.calls import as_is, get, page, part, post
from tenuto.exchange import Call
from tenuto.wire import DeadLetterView, Page, RedeliveryView, WebhookView

REDELIVERY_S = 1800.0  # how long sending a hundred dead letters again may take, at 15 s for each


def webhooks() -> Call[Page[WebhookView]]:
    """What is registered, and how far each is."""
    return get("/v1/webhooks", page)


def webhook(name: str) -> Call[WebhookView]:
    """One webhook: what it is told of, where it stands in the log, and what its receiver said last."""
    return get(_path(name), as_is)


def register(
    name: str,
    url: str,
    *,
    topics: Sequence[str] = (),
    definition: str | None = None,
    labels: Mapping[str, str] | None = None,
    secret: str | None = None,
    reason: str | None = None,
) -> Call[WebhookView]:
    """Have the events from now on posted to `url`, or change what is registered under the name.

    Without `topics` it is every event. The answer has the `secret` when it is new, and no later one has: keep it. One
    that was disabled is enabled, and goes on where it was. Raises InvalidInputError.
    """
    body = {
        "url": url,
        "topics": list(topics),
        "definition": definition,
        "labels": None if labels is None else dict(labels),
        "secret": secret,
        "reason": reason,
    }
    given = {key: value for key, value in body.items() if value is not None}
    return Call(
        method="PUT",
        path=_path(name),
        read=as_is,
        body=json.dumps(given),
        headers={"Content-Type": "application/json"},
        repeatable=secret
        is not None,  # A secret made there is in one answer: a second one would not have it.
    )


def remove(name: str, *, reason: str | None = None) -> Call[dict[str, Any]]:
    """Nothing more is sent; its dead letters are forgotten. Raises NotFoundError."""
    query = [] if reason is None else [("reason", reason)]
    return Call(method="DELETE", path=_path(name), read=as_is, query=query)


def dead_letters(
    name: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[DeadLetterView]]:
    """The events that it was not told of: its receiver refused each twelve times. One page, in the order of the log."""
    return get(f"{_path(name)}/dead-letters", page, limit=limit, cursor=cursor)


def redeliver(name: str, *, position: int | None = None) -> Call[RedeliveryView]:
    """Send dead letters again: the one at `position`, or all in order, a hundred at a time, until one is refused."""
    body = {} if position is None else {"position": position}
    call: Call[RedeliveryView] = post(f"{_path(name)}/redeliver", body, as_is)
    return replace(call, held_s=REDELIVERY_S)


def _path(name: str) -> str:
    return f"/v1/webhooks/{part(name)}"
