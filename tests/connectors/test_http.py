"""Calls over real sockets: what is sent, and what becomes of services that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.http import HttpConnector
from domain.calls import Answer, Connector, Failed, RetryTerms, ServiceCall, Succeeded

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)
PATIENT_MS = 20_000  # no test waits for it
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def call_of(
    action: str = "http:payments/charge",
    *,
    body: Any = None,
    timeout_ms: int | None = PATIENT_MS,
    deadline_at: datetime | None = None,
    traceparent: str | None = None,
    retry_policy: RetryTerms | None = None,
) -> ServiceCall:
    return ServiceCall(
        instance_id="0-abc",
        execution="charge#1",
        step="charge",
        attempt=2,
        action=action,
        input={"amount": 100} if body is None else body,
        idempotency_key="0-abc/charge#1",
        timeout_ms=timeout_ms,
        deadline_at=deadline_at,
        traceparent=traceparent,
        retry_policy=retry_policy,
    )


@asynccontextmanager
async def service(handler: Handler, *, base_path: str = "", **options: Any) -> AsyncIterator[HttpConnector]:
    """A connector to the service `payments`, which answers every POST with `handler`."""
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    async with TestServer(app) as server, connected(str(server.make_url(base_path)), **options) as connector:
        yield connector


@asynccontextmanager
async def raw_service(handler: RawHandler, **options: Any) -> AsyncIterator[HttpConnector]:
    """As `service`, but `handler` gets the socket once the request has come, and may write what it likes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")
            )
            await reader.readexactly(length)
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the connector hung up, as it should
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, connected(url, **options) as connector:
        yield connector


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[HttpConnector]:
    connector = HttpConnector({"payments": url}, clock=lambda: NOW, **options)
    try:
        yield connector
    finally:
        await connector.close()


def error_of(answer: Answer) -> tuple[str, bool]:
    assert isinstance(answer, Failed)
    return answer.error.type, answer.error.retryable


async def test_a_call_posts_the_input_with_every_header_and_returns_the_output() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def charge(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({"paymentId": "p1"})

    deadline = datetime(2026, 10, 21, 9, 28, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    terms = RetryTerms(
        max_attempts=7, initial_interval_ms=1_000, backoff_coefficient=2.0, max_interval_ms=60_000
    )
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with service(charge) as connector:
        port: Connector = connector
        answer = await port.call(
            call_of(
                body={"amount": 100, "note": "é"}, deadline_at=deadline, traceparent=trace, retry_policy=terms
            )
        )

    assert answer == Succeeded({"paymentId": "p1"})
    assert bodies == [{"amount": 100, "note": "é"}]
    (request,) = seen
    assert (request.method, request.path) == ("POST", "/charge")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == "0-abc/charge#1"
    assert request.headers["Tenuto-Instance"] == "0-abc"
    assert request.headers["Tenuto-Step"] == "charge"
    assert request.headers["Tenuto-Attempt"] == "2"
    assert request.headers["Tenuto-Max-Attempts"] == "7"
    assert request.headers["Tenuto-Deadline"] == "2026-10-21T07:28:30.000005Z"
    assert request.headers["traceparent"] == trace


async def test_headers_without_a_value_are_left_out() -> None:
    async def names(request: web.Request) -> web.Response:
        return web.json_response([name.lower() for name in request.headers])

    async with service(names) as connector:
        answer = await connector.call(call_of())
    assert isinstance(answer, Succeeded)
    assert not {"tenuto-deadline", "tenuto-max-attempts", "traceparent", "cookie"} & set(answer.output)


@pytest.mark.parametrize("base_path", ["/api/v2", "/api/v2/"])
async def test_the_path_is_appended_to_the_base_url(base_path: str) -> None:
    async def target(request: web.Request) -> web.Response:
        return web.json_response(request.path_qs)

    async with service(target, base_path=base_path) as connector:
        assert await connector.call(call_of("http:payments/a/b?c=d")) == Succeeded("/api/v2/a/b?c=d")


@pytest.mark.parametrize("path", ["../admin", "a/../../admin", "%2e%2e/admin", "..//../../admin"])
async def test_a_path_cannot_climb_out_of_the_base_url(path: str) -> None:
    async with connected("http://127.0.0.1:1/api") as connector:
        assert error_of(await connector.call(call_of(f"http:payments/{path}"))) == ("BadActionError", False)


@pytest.mark.parametrize(
    "action", ["http:payments", "http:/charge", "worker:payments/charge", "payments/charge", ""]
)
async def test_an_action_that_is_no_http_action_is_a_final_error(action: str) -> None:
    async with connected("http://127.0.0.1:1") as connector:
        assert error_of(await connector.call(call_of(action))) == ("BadActionError", False)


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("order-desk", "set TENUTO_SERVICE_ORDER__DESK_URL, or [services.order-desk] url in tenuto.toml"),
        ("order_desk", "set TENUTO_SERVICE_ORDER_DESK_URL, or [services.order_desk] url in tenuto.toml"),
        ("Desk", 'set [services."Desk"] url in tenuto.toml'),
        ("order.desk", 'set [services."order.desk"] url in tenuto.toml'),
    ],
)
async def test_an_unknown_service_is_a_final_error_that_names_its_setting(service: str, setting: str) -> None:
    async with connected("http://127.0.0.1:1") as connector:
        answer = await connector.call(call_of(f"http:{service}/open"))
    assert error_of(answer) == ("UnknownServiceError", False)
    assert isinstance(answer, Failed)
    assert setting in answer.error.message


@pytest.mark.parametrize(
    "url", ["payments:8080", "ftp://payments", "http://", "http://payments/?a=b", "/charge", ""]
)
def test_a_base_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="payments"):
        HttpConnector({"payments": url}, clock=lambda: NOW)


async def test_a_typed_refusal_arrives_with_its_details() -> None:
    async def declined(_: web.Request) -> web.Response:
        problem = {
            "type": "https://e.example/PaymentDeclinedError",
            "detail": "No.",
            "declineReason": "expired",
        }
        return web.json_response(problem, status=422, content_type="application/problem+json")

    async with service(declined) as connector:
        answer = await connector.call(call_of())
    assert isinstance(answer, Failed)
    assert (answer.error.type, answer.error.message) == ("PaymentDeclinedError", "No.")
    assert (answer.error.details, answer.error.retryable) == ({"declineReason": "expired"}, False)


@pytest.mark.parametrize(("header", "expected_ms"), [("7", 7_000), ("Wed, 21 Oct 2026 07:28:09 GMT", 9_000)])
async def test_retry_after_arrives_in_both_forms(header: str, expected_ms: int) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": header})

    async with service(busy) as connector:
        answer = await connector.call(call_of())
    assert isinstance(answer, Failed)
    assert answer.retry_after_ms == expected_ms


async def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with service(redirect) as connector:
        assert error_of(await connector.call(call_of())) == ("UnexpectedRedirectError", False)
    assert paths == ["/charge"]


async def test_cookies_are_not_kept() -> None:
    cookies: list[str | None] = []

    async def set_cookie(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.json_response({}, headers={"Set-Cookie": "session=1; Path=/"})

    async with service(set_cookie) as connector:
        await connector.call(call_of())
        await connector.call(call_of())
    assert cookies == [None, None]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ok(_: web.Request) -> web.Response:
        return web.json_response("direct")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with service(ok) as connector:
        assert await connector.call(call_of()) == Succeeded("direct")


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_one_byte_too_large_is_not_taken(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        text = json.dumps({"errorType": "X", "pad": "x" * (await request.json())})
        return web.Response(text=text, status=status, content_type="application/json")

    fixed = len(json.dumps({"errorType": "X", "pad": ""}))
    async with service(answer, max_answer_bytes=1000) as connector:
        fits = await connector.call(call_of(body=1000 - fixed))
        too_large = await connector.call(call_of(body=1001 - fixed))
    if status == 200:
        assert isinstance(fits, Succeeded)
        assert error_of(too_large) == ("BadResponseError", True)
    else:
        assert error_of(fits) == ("X", True)
        assert error_of(too_large) == ("ServiceUnavailableError", True)


async def test_a_compressed_answer_is_neither_asked_for_nor_unpacked() -> None:
    async def packed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})

    async with service(packed) as connector:
        assert error_of(await connector.call(call_of())) == ("BadResponseError", True)


async def test_an_endless_answer_is_cut_off_at_the_limit() -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while True:
            writer.write(b"1," * 4096)
            await writer.drain()
            sent += 8192

    async with raw_service(endless) as connector:
        assert error_of(await connector.call(call_of())) == ("BadResponseError", True)
    assert sent < 32 * 1024 * 1024


async def test_an_answer_that_drips_ends_with_the_time_of_the_call() -> None:
    dripped = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[")
        while True:
            writer.write(b" ")
            await writer.drain()
            dripped.set()
            await asyncio.sleep(0.01)  # the fault itself: a byte now and then

    async with raw_service(drip) as connector:
        assert error_of(await connector.call(call_of(timeout_ms=200))) == ("TimeoutError", True)
    assert dripped.is_set()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the connector hangs up


async def test_a_service_that_never_answers_is_a_timeout() -> None:
    async with raw_service(silent) as connector:
        answer = await connector.call(call_of(timeout_ms=100))
    assert error_of(answer) == ("TimeoutError", True)
    assert isinstance(answer, Failed)
    assert answer.error.message == "payments did not answer within 100 ms"


@pytest.mark.parametrize("timeout_ms", [0, -5])
async def test_a_call_without_time_left_is_a_timeout(timeout_ms: int) -> None:
    async with raw_service(silent) as connector:
        assert error_of(await connector.call(call_of(timeout_ms=timeout_ms))) == ("TimeoutError", True)


async def test_a_call_that_was_given_no_limit_ends_all_the_same() -> None:
    async with raw_service(silent, longest_call_ms=100) as connector:
        assert error_of(await connector.call(call_of(timeout_ms=None))) == ("TimeoutError", True)


async def test_waiting_for_a_connection_is_part_of_the_time_of_the_call() -> None:
    under_way = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.set()
        await silent(reader, writer)

    async with raw_service(hang, calls_per_service=1) as connector:
        first = asyncio.create_task(connector.call(call_of()))
        await under_way.wait()
        assert error_of(await connector.call(call_of(timeout_ms=100))) == ("TimeoutError", True)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_no_more_calls_than_the_cap_reach_a_service_at_once() -> None:
    running, most = 0, 0

    async def count(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)  # long enough for the others to arrive, if they were let through
        running -= 1
        return web.json_response({})

    async with service(count, calls_per_service=3) as connector:
        answers = await asyncio.gather(*(connector.call(call_of()) for _ in range(12)))
    assert answers == [Succeeded({})] * 12
    assert most == 3


async def test_a_service_that_is_not_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with connected(f"http://127.0.0.1:{port}") as connector:
        assert error_of(await connector.call(call_of())) == ("ServiceUnreachableError", True)


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    no_linger = struct.pack("ii", 1, 0)  # closing now sends RST
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def cut_short(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 422 Unprocessable\r\nContent-Length: 100\r\n\r\n{"errorType": "X"')
    await writer.drain()


@pytest.mark.parametrize("fault", [reset, hang_up, cut_short])
async def test_a_broken_connection_is_retryable_since_the_effect_is_unknown(fault: RawHandler) -> None:
    async with raw_service(fault) as connector:
        assert error_of(await connector.call(call_of())) == ("ServiceUnreachableError", True)


async def test_a_service_that_does_not_speak_http_is_a_bad_response() -> None:
    async def ssh(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()

    async with raw_service(ssh) as connector:
        assert error_of(await connector.call(call_of())) == ("BadResponseError", True)


async def test_a_bug_here_fails_the_attempt_is_logged_and_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected("http://127.0.0.1:1") as connector:
        answer = await connector.call(call_of(body={"token": object()}))
    assert error_of(answer) == ("ConnectorError", True)
    assert "object" not in str(answer)
    assert caplog.records[0].exc_info is not None


async def test_cancelling_the_caller_ends_the_call_and_its_connection() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        left.set()

    async with raw_service(hang) as connector:
        task = asyncio.create_task(connector.call(call_of()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 5)


async def test_closing_ends_calls_under_way() -> None:
    arrived = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await silent(reader, writer)

    async with raw_service(hang) as connector:
        task = asyncio.create_task(connector.call(call_of()))
        await arrived.wait()
        await connector.close()
        assert error_of(await task) == ("ServiceUnreachableError", True)


async def test_a_connector_that_never_called_can_be_closed() -> None:
    await HttpConnector({}, clock=lambda: NOW).close()
