"""What an HTTP response means to a step: pure, so that the whole table can be tried without a socket.

| response | answer |
|---|---|
| 2xx with JSON (whatever its Content-Type says) | the output; an empty body (204) is the output `null` |
| 2xx that is no acceptable JSON, or too large | `BadResponseError`, retryable |
| 3xx | `UnexpectedRedirectError`, not retryable: a redirect could point anywhere, so none is followed |
| 408, 425, 429, 5xx | the error the body names, else `ServiceUnavailableError`; retryable |
| other 4xx | the error the body names, else `RequestRefusedError`; not retryable |

A body names its error with `errorType` (any JSON object), else with the last segment (after `/`, `#`, `:`) of
the `type` of an `application/problem+json` (RFC 9457). `detail`, else `title`, else `message` is the message;
`code` replaces the HTTP status as the error's code; a boolean `retryable` overrules the table, since only the
service knows; its other members are the error's details, in order, up to `MAX_DETAILS_BYTES`.
`Retry-After` (RFC 9110 §10.2.3: seconds or a date) is heard on every retryable answer, up to
`LONGEST_RETRY_AFTER_MS`.

It refuses to know: sockets and time-outs (`http.py`), and which errors a definition retries (the domain).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from domain.calls import Answer, Failed, StepError, Succeeded
from domain.errors import BadJsonError, LimitExceededError
from domain.jsonvalues import read_json

MAX_MESSAGE_CHARS = 1_000
MAX_CODE_CHARS = 100
MAX_DETAILS_BYTES = 8 * 1024
LONGEST_RETRY_AFTER_MS = 24 * 3_600_000  # a service may ask for patience, not park an instance for years

_RETRYABLE_4XX = frozenset({408, 425, 429})
_ERROR_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_NOT_DETAILS = frozenset({"type", "errorType", "status", "title", "detail", "message", "code", "retryable"})


class Response(Struct, frozen=True, kw_only=True):
    """As much of an HTTP response as decides the answer; `body` is None when it was too large to read."""

    status: int
    content_type: str = "application/json"
    retry_after: str | None = None
    body: bytes | None = b""


def interpret(service: str, response: Response, clock: Callable[[], datetime]) -> Answer:
    """What `response` of `service` stands for, by the table above; `clock` gives the present in UTC."""
    if 200 <= response.status < 300:
        return _success(service, response)
    if 300 <= response.status < 400:
        message = f"{service} answered {response.status}, a redirect; its URL must name the service itself"
        return failed("UnexpectedRedirectError", message, retryable=False, code=str(response.status))
    return _failure(service, response, clock)


def failed(error_type: str, message: str, *, retryable: bool, code: str | None = None) -> Failed:
    """A failure in the connector's own words."""
    return Failed(
        StepError(type=error_type, message=message[:MAX_MESSAGE_CHARS], retryable=retryable, code=code)
    )


def _success(service: str, response: Response) -> Answer:
    if response.body == b"":
        return Succeeded(None)
    if response.body is None:
        problem = "the body is larger than a step's output may be"
    else:
        try:
            return Succeeded(read_json(response.body, "the body", max_bytes=None))
        except (BadJsonError, LimitExceededError) as bad:
            problem = str(bad)
    message = f"{service} answered {response.status}, but {problem}"
    return failed("BadResponseError", message, retryable=True, code=str(response.status))


def _failure(service: str, response: Response, clock: Callable[[], datetime]) -> Failed:
    body = _error_body(response)
    retryable_status = response.status >= 500 or response.status in _RETRYABLE_4XX
    said_retryable = body.get("retryable")
    retryable = said_retryable if isinstance(said_retryable, bool) else retryable_status
    error = StepError(
        type=_error_type(response, body)
        or ("ServiceUnavailableError" if retryable_status else "RequestRefusedError"),
        message=_message(body) or f"{service} answered {response.status}",
        retryable=retryable,
        code=_code(body) or str(response.status),
        details=_details(body) or None,
    )
    return Failed(error, _retry_after_ms(response.retry_after, clock) if retryable else None)


def _error_body(response: Response) -> dict[str, Any]:
    try:
        body = read_json(response.body, "the body", max_bytes=None) if response.body else None
    except (BadJsonError, LimitExceededError):  # a proxy's HTML page, say: the status has said enough
        return {}
    return body if isinstance(body, dict) else {}


def _error_type(response: Response, body: dict[str, Any]) -> str | None:
    candidates = [body.get("errorType")]
    if response.content_type == "application/problem+json" and isinstance(body.get("type"), str):
        candidates.append(re.split(r"[/#:]", body["type"].rstrip("/#:"))[-1])
    for name in candidates:
        # `about:blank` is RFC 9457's way of saying "no type but the status".
        if isinstance(name, str) and name != "blank" and _ERROR_TYPE.fullmatch(name):
            return name
    return None


def _message(body: dict[str, Any]) -> str | None:
    for member in ("detail", "title", "message"):
        text = body.get(member)
        if isinstance(text, str) and text:
            return text[:MAX_MESSAGE_CHARS]
    return None


def _code(body: dict[str, Any]) -> str | None:
    code = body.get("code")
    if isinstance(code, bool) or not isinstance(code, str | int):
        return None
    return str(code)[:MAX_CODE_CHARS]


def _details(body: dict[str, Any]) -> dict[str, Any]:
    """The members with no meaning of their own, the first that fit in the budget."""
    details: dict[str, Any] = {}
    left = MAX_DETAILS_BYTES
    for member, value in body.items():
        if member in _NOT_DETAILS:
            continue
        left -= len(msgspec.json.encode({member: value}))
        if left < 0:
            break
        details[member] = value
    return details


def _retry_after_ms(text: str | None, clock: Callable[[], datetime]) -> int | None:
    """Milliseconds from now, never negative; None without a header, or with one that says no time."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        # More digits than the limit has need no arithmetic (and int() refuses thousands of them).
        return LONGEST_RETRY_AFTER_MS if len(text) > 9 else min(int(text) * 1000, LONGEST_RETRY_AFTER_MS)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    # RFC 9110 dates are GMT, also in the obsolete form that does not say so.
    wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - clock()
    return min(max(wait // timedelta(milliseconds=1), 0), LONGEST_RETRY_AFTER_MS)
