"""How a call is sent with httpx, and how its answer is read: the same for both clients."""

from __future__ import annotations

from typing import Any

import httpx

from tenuto.errors import ServerUnreachableError
from tenuto.exchange import Answer, Call

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def headers(actor: str | None) -> dict[str, str]:
    return {"Accept": "application/json"} | ({} if actor is None else {"Tenuto-Actor": actor})


def request(call: Call[Any], timeout: float) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "params": list(call.query),
        "content": call.body,
        "headers": dict(call.headers),
        "timeout": httpx.Timeout(timeout, read=timeout + call.held_s),
    }


def answer(response: httpx.Response) -> Answer:
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = (
            {"title": response.reason_phrase, "detail": response.text[:500]}
            if response.is_error
            else response.text
        )
    position = response.headers.get("Tenuto-Position", "")
    if isinstance(body, dict) and position.isdecimal():
        body["position"] = int(position)  # of a start: only its header says so
    wait = response.headers.get("Retry-After", "")
    return Answer(response.status_code, body, float(wait) if wait.isdigit() else 0.0)


def unreachable(error: httpx.TransportError, url: str) -> ServerUnreachableError:
    cause = str(error) or type(error).__name__
    return ServerUnreachableError(url, cause, maybe_done=not isinstance(error, _NOT_SENT))
