"""Services over HTTP: one POST per attempt, and whatever comes back (or does not) made an `Answer`.

`http:<service>/<path>` posts the step's input as JSON to the service's base URL + path, with the headers
`Idempotency-Key`, `Tenuto-Instance`, `Tenuto-Step`, `Tenuto-Attempt`, and, when known, `Tenuto-Max-Attempts`,
`Tenuto-Deadline` (RFC 3339) and `traceparent`. What a response means is in `http_answers.py`; this file adds
the calls that have none:

| what happened | error type | retryable |
|---|---|---|
| the action is no `http:<service>/<path>`, or its path climbs out of the base URL | `BadActionError` | no |
| no URL is configured for the service | `UnknownServiceError` | no: retrying does not configure it |
| no complete answer in the call's time (connecting and queueing included) | `TimeoutError` | yes |
| what came is no HTTP | `BadResponseError` | yes |
| no connection, or it broke before the answer was complete | `ServiceUnreachableError` | yes |
| this connector failed (logged with its traceback, which the error does not carry) | `ConnectorError` | yes |

It refuses to know: retries and policies (the domain's), definitions, the log. It follows no redirects, keeps
no cookies, reads no proxy from the environment and asks for no compression.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime

import aiohttp
import msgspec
from yarl import URL

from connectors.http_answers import Response, failed, interpret
from domain.calls import Answer, Failed, ServiceCall
from domain.limits import MAX_PAYLOAD_BYTES
from domain.times import rfc3339

CALLS_PER_SERVICE = 100  # open connections to one service; further calls queue, within their own time
LONGEST_CALL_MS = 3_600_000  # for a call that was given no limit: a silent peer must not hold it for ever
IDLE_CONNECTION_S = 4.0  # uvicorn and Node close theirs after 5 s, and a POST into a closing one is lost

_ACTION = re.compile(r"http:(?P<service>[^\s/]+)/(?P<path>\S*)")
_BY_VARIABLE = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")  # `__` in a variable stands for a hyphen
_log = logging.getLogger(__name__)


class HttpConnector:
    """Calls services over HTTP; `services` maps a service's name to its base URL (`http://host:8080/api`).

    `clock` gives the present in UTC; it is asked only when a service names a date in `Retry-After`.
    Raises ValueError for a base URL that is no plain http(s) URL. The first call needs a running loop.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        *,
        clock: Callable[[], datetime],
        max_answer_bytes: int = MAX_PAYLOAD_BYTES,
        calls_per_service: int = CALLS_PER_SERVICE,
        longest_call_ms: int = LONGEST_CALL_MS,
    ) -> None:
        self._bases = {name: _base_url(name, text) for name, text in services.items()}
        self._clock = clock
        self._max_answer_bytes = max_answer_bytes
        self._calls_per_service = calls_per_service
        self._longest_call_ms = longest_call_ms
        self._session: aiohttp.ClientSession | None = None

    async def call(self, call: ServiceCall) -> Answer:
        """Do one attempt. Never raises, except CancelledError when the caller itself is cancelled."""
        target = self._target(call.action)
        if isinstance(target, Failed):
            return target
        service, url = target
        timeout_ms = self._longest_call_ms if call.timeout_ms is None else call.timeout_ms
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                response = await self._post(url, call)
            return interpret(service, response, self._clock)
        except TimeoutError:
            return failed("TimeoutError", f"{service} did not answer within {timeout_ms} ms", retryable=True)
        except aiohttp.ClientResponseError as nonsense:
            message = f"{service} does not speak HTTP: {nonsense.message}"
            return failed("BadResponseError", message, retryable=True)
        except (aiohttp.ClientError, OSError) as broken:
            message = f"{service}: {str(broken) or type(broken).__name__}"
            return failed("ServiceUnreachableError", message, retryable=True)
        except Exception:  # noqa: BLE001 - the port's promise: a bug here fails one attempt, and is logged
            _log.exception("calling %s for %s failed", call.action, call.execution)
            message = f"the call to {service} could not be made; the server's log has the reason"
            return failed("ConnectorError", message, retryable=True)

    async def close(self) -> None:
        """Close all connections; a call under way ends as `ServiceUnreachableError`."""
        if self._session is not None:
            await self._session.close()

    def _target(self, action: str) -> tuple[str, URL] | Failed:
        match = _ACTION.fullmatch(action)
        if match is None:
            return failed("BadActionError", f"{action!r} is no http:<service>/<path>", retryable=False)
        service = match["service"]
        base = self._bases.get(service)
        if base is None:
            return failed("UnknownServiceError", _unknown_service(service), retryable=False)
        url = URL(f"{base}{match['path']}")
        if not url.raw_path.startswith(base.raw_path):  # `..` climbed out, however it was written
            return failed("BadActionError", f"{action!r} leaves the base URL of {service}", retryable=False)
        return service, url

    async def _post(self, url: URL, call: ServiceCall) -> Response:
        async with self._open_session().post(
            url, data=msgspec.json.encode(call.input), headers=_headers(call), allow_redirects=False
        ) as response:
            return Response(
                status=response.status,
                content_type=response.content_type,
                retry_after=response.headers.get("Retry-After"),
                body=await self._read(response.content),
            )

    async def _read(self, content: aiohttp.StreamReader) -> bytes | None:
        """The whole body, or None as soon as it is more than may be read."""
        body = bytearray()
        async for chunk in content.iter_any():
            body += chunk
            if len(body) > self._max_answer_bytes:
                return None
        return bytes(body)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=self._calls_per_service, keepalive_timeout=IDLE_CONNECTION_S
                ),
                timeout=aiohttp.ClientTimeout(total=None),  # `call` holds the one deadline
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                # A small compressed answer can unfold into a huge one: none is asked for, none is unpacked.
                auto_decompress=False,
                headers={
                    "Accept": "application/json, application/problem+json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "tenuto",
                },
            )
        return self._session


def _base_url(service: str, text: str) -> URL:
    """The URL that paths are appended to; it ends with a slash."""
    url = URL(text if text.endswith("/") else f"{text}/")
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ValueError(f"the URL of service {service!r} must be http(s)://host[:port][/path]")
    return url


def _unknown_service(service: str) -> str:
    remedy = f"set {setting_of(service)}, and start the server again"
    return f"no URL is configured for the service {service!r}; {remedy}"


def setting_of(service: str) -> str:
    """Where its URL is set (docs/reference/settings.md); not every name can be told by a variable."""
    if _BY_VARIABLE.fullmatch(service) is None:
        return f'[services."{service}"] url in tenuto.toml'
    variable = f"TENUTO_SERVICE_{service.upper().replace('-', '__')}_URL"
    return f"{variable}, or [services.{service}] url in tenuto.toml"


def _headers(call: ServiceCall) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": call.idempotency_key,
        "Tenuto-Instance": call.instance_id,
        "Tenuto-Step": call.step,
        "Tenuto-Attempt": str(call.attempt),
    }
    if call.retry_policy is not None:
        headers["Tenuto-Max-Attempts"] = str(call.retry_policy.max_attempts)
    if call.deadline_at is not None:
        headers["Tenuto-Deadline"] = rfc3339(call.deadline_at)
    if call.traceparent is not None:
        headers["traceparent"] = call.traceparent
    return headers
