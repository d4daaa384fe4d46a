"""One attempt against a real receiver, and how long the next one waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from feeds.delivery import LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S, MAX_ATTEMPTS, pause_after
from feeds.post import HttpPost, Outcome
from feeds.signing import new_secret

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def receiver(handle: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/hook"
    await runner.cleanup()


async def post(url: str, timeout_s: float = 10.0) -> Outcome:
    sender = HttpPost(timeout_s)
    try:
        return await sender.send(url, new_secret(), "evt_1", b"{}", now=NOON)
    finally:
        await sender.close()


async def answered(status: int, text: str = "", **headers: str) -> Outcome:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(
            status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    async with receiver(handle) as url:
        return await post(url)


async def test_any_2xx_takes_it() -> None:
    assert await answered(200, "thanks") == Outcome()
    assert await answered(202) == Outcome()


async def test_everything_else_does_not() -> None:
    assert await answered(500, "out of order") == Outcome("HTTP 500: out of order")
    assert (await answered(410)).gone


async def test_it_is_heard_when_the_receiver_asks_for_time() -> None:
    assert (await answered(503, Retry_After="120")).retry_after_s == 120
    assert (await answered(503, Retry_After="Sun, 01 Mar 2026 12:01:00 GMT")).retry_after_s == 60
    assert (await answered(503, Retry_After="soon")).retry_after_s == 0


async def test_a_redirect_is_not_followed() -> None:
    reached = []

    async def handle(request: web.Request) -> web.Response:
        reached.append(request.path)
        raise web.HTTPTemporaryRedirect("/hook?again")

    async with receiver(handle) as url:
        outcome = await post(url)
    assert (outcome.error or "").startswith("HTTP 307")
    assert reached == ["/hook"]


async def test_a_receiver_that_is_silent_or_not_there_is_an_outcome() -> None:
    async def handle(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with receiver(handle) as url:
        assert await post(url, 0.05) == Outcome("no answer within 0.05 s")
    assert (await post(url)).error


async def test_no_more_is_read_of_an_answer_than_a_little() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    async with receiver(handle) as url:
        outcome = await post(url)
    assert outcome.error == "HTTP 500: " + 200 * "x"


@pytest.mark.parametrize("entropy", [0.0, 0.5, 0.999])
def test_pauses_double_up_to_a_bound(entropy: float) -> None:
    pauses = [pause_after(attempt, Outcome("no"), entropy) for attempt in range(1, MAX_ATTEMPTS)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(pauses))
    assert 0.5 <= pauses[0] <= 1.0
    assert pauses[-1] <= LONGEST_PAUSE_S
    assert pause_after(1, Outcome("no", retry_after_s=60), entropy) == 60
    assert pause_after(1, Outcome("no", retry_after_s=1e9), entropy) == LONGEST_RETRY_AFTER_S
