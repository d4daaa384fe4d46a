"""Server-sent events: what a subscription finds, written as fast as the consumer takes it, until either side ends it.

A beat comes when nothing else does. It carries the position, so that a consumer that wants little does not begin far
behind when it comes again. A consumer that takes nothing for a minute is cut off: it loses nothing, and comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager

import psycopg
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.wiring import Wiring
from feeds.feed import Subscription
from feeds.messages import Message
from feeds.waiting import first_of

BEAT_S = 15.0
STALLED_S = 60.0
"""How long a consumer may leave what was sent to it untouched."""
RETRY_MS = 1_000
"""After which an EventSource connects again."""

_log = logging.getLogger("tenuto.feed")


class EventStream(Response):
    """Takes over a subscription that has been entered, and leaves it at the end."""

    media_type = "text/event-stream"

    def __init__(
        self,
        wiring: Wiring,
        subscription: Subscription,
        held: AbstractAsyncContextManager[object],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._wiring = wiring
        self._subscription = subscription
        self._held = held
        self._stalled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        drained = asyncio.ensure_future(self._wiring.draining.wait())
        telling = asyncio.ensure_future(self._tell(send))
        try:
            await asyncio.wait({gone, drained, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, drained, telling):
                task.cancel()
            await asyncio.gather(gone, drained, telling, return_exceptions=True)
            await self._held.__aexit__(None, None, None)
        if not telling.cancelled():
            telling.result()
        if not self._stalled and (gone.cancelled() or not gone.done()):
            await self._within(send({"type": "http.response.body", "body": b"", "more_body": False}))

    async def _tell(self, send: Send) -> None:
        """Until it is cancelled, the consumer takes no more, or the log cannot be read."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        chunk = f"retry: {RETRY_MS}\n{_beat(self._subscription.position)}".encode()
        taken = await self._within(send(start))
        while taken and await self._within(
            send({"type": "http.response.body", "body": chunk, "more_body": True})
        ):
            try:
                chunk = await self._next()
            except (psycopg.Error, OSError) as error:
                _log.warning("a consumer of the feed is sent away, the log cannot be read: %s", error)
                return

    async def _next(self) -> bytes:
        """What there is to be told next; a beat when nothing comes in time."""
        subscription = self._subscription
        nap = asyncio.ensure_future(self._wiring.clock.sleep(BEAT_S))
        try:
            while not nap.done():
                coming = asyncio.ensure_future(subscription.next())
                try:
                    await first_of(coming, nap)
                finally:
                    if not coming.done():
                        coming.cancel()
                if coming.done() and not coming.cancelled() and (found := coming.result().messages):
                    return _written(subscription, found)
            return _beat(subscription.position).encode()
        finally:
            nap.cancel()

    async def _within(self, sending: Awaitable[None]) -> bool:
        """Whether the consumer took it in time."""
        sent = asyncio.ensure_future(sending)
        try:
            await first_of(sent, self._wiring.clock.sleep(STALLED_S))
            self._stalled = not sent.done() or sent.exception() is not None
            return not self._stalled
        finally:
            sent.cancel()


def _written(subscription: Subscription, messages: Iterable[Message]) -> bytes:
    told = subscription.filter.told
    return b"".join(b"id: %d\ndata: %b\n\n" % (one.position, told(one)) for one in messages)


def _beat(position: int) -> str:
    """A comment keeps the connection open; an event without data is none, but its id is remembered."""
    return f": beat\nid: {position}\n\n"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
