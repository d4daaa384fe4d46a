"""The live feed from Python: events as they happen, across lost connections and servers that stop.

A `Following` knows what to ask, reads server-sent events line by line, and says how long to wait after what went wrong;
`follow` and `follow_async` do the I/O with httpx.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import httpx

from tenuto.errors import ServerUnreachableError, UnavailableError, api_error
from tenuto.exchange import LONGEST_PAUSE_S
from tenuto.wire import FeedEvent

PATH = "/v1/events"
SILENT_S = 45.0
"""The server says something every 15 s: a connection that is silent for longer has died."""
TRIES = 30
"""In vain, one after the other, before the caller hears of it: about two minutes."""


class Choice(TypedDict, total=False):
    """What to hear of: any of the topics, all of the labels. `after` is the `id` of the last event that was seen; 0 is
    the beginning, and without it the feed begins now. `tries` are those in vain before the caller hears of it.
    """

    topics: Sequence[str] | str
    definition: str | None
    instance: str | None
    labels: Mapping[str, str] | None
    after: int | str | None
    tries: int


class Following:
    """`position` is the id of the last event that was seen, or where the server said that it began."""

    def __init__(
        self,
        *,
        topics: Sequence[str] | str = (),
        definition: str | None = None,
        instance: str | None = None,
        labels: Mapping[str, str] | None = None,
        after: int | str | None = None,
        tries: int = TRIES,
    ) -> None:
        topics = [topics] if isinstance(topics, str) else topics
        self.query = [("topic", topic) for topic in topics]
        self.query += [("labels", f"{key}={value}") for key, value in (labels or {}).items()]
        named = {"definition": definition, "instance": instance}
        self.query += [(name, value) for name, value in named.items() if value is not None]
        self.position = None if after is None else str(after)
        self._tries = tries
        self._failures = 0
        self._id: str | None = None
        self._data: list[str] = []

    def request(self, timeout: float) -> dict[str, Any]:
        self._data, self._id = [], None
        seen = {} if self.position is None else {"Last-Event-ID": self.position}
        return {
            "method": "GET",
            "url": PATH,
            "params": self.query,
            "headers": {"Accept": "text/event-stream", **seen},
            "timeout": httpx.Timeout(timeout, read=SILENT_S),
        }

    def take(self, line: str) -> FeedEvent | None:
        """One line; the event, when it ends one."""
        self._failures = 0
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        elif not line:
            data, self._data = "\n".join(self._data), []
            self.position, self._id = self._id or self.position, None
            if data:
                event: FeedEvent = json.loads(data)
                return event
        return None

    def refused(self, status: int, body: bytes, retry_after: str | None) -> float:
        """Seconds to wait; raises TenutoApiError when asking again will not help."""
        try:
            problem = json.loads(body)
        except ValueError:
            problem = {"detail": body.decode(errors="replace")[:500]}
        error = api_error(status, problem)
        if not isinstance(error, UnavailableError):
            raise error
        asked = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
        return max(asked, self._again(error))

    def broke(self, url: str, cause: httpx.TransportError | None) -> float:
        """Seconds to wait before the next try; raises ServerUnreachableError when there were too many."""
        said = "the feed ended" if cause is None else str(cause) or type(cause).__name__
        return self._again(ServerUnreachableError(url, said))

    def _again(self, error: Exception) -> float:
        self._failures += 1
        if self._failures > self._tries:
            raise error
        return float(min(0.1 * 2 ** (self._failures - 1), LONGEST_PAUSE_S))


def follow(
    http: httpx.Client, following: Following, *, timeout: float, pause: Callable[[float], None]
) -> Iterator[FeedEvent]:
    """Every event, until the caller has enough."""
    while True:
        cause = None
        try:
            with http.stream(**following.request(timeout)) as answer:
                if answer.is_error:
                    wait = following.refused(
                        answer.status_code, answer.read(), answer.headers.get("Retry-After")
                    )
                    pause(wait)
                    continue
                for line in answer.iter_lines():
                    event = following.take(line)
                    if event is not None:
                        yield event
        except httpx.TransportError as error:
            cause = error
        pause(following.broke(str(http.base_url), cause))


async def follow_async(
    http: httpx.AsyncClient,
    following: Following,
    *,
    timeout: float,  # noqa: ASYNC109 - of each connection, by httpx
    pause: Callable[[float], Awaitable[None]],
) -> AsyncIterator[FeedEvent]:
    """Every event, until the caller has enough."""
    while True:
        cause = None
        try:
            async with http.stream(**following.request(timeout)) as answer:
                if answer.is_error:
                    wait = following.refused(
                        answer.status_code, await answer.aread(), answer.headers.get("Retry-After")
                    )
                    await pause(wait)
                    continue
                async for line in answer.aiter_lines():
                    event = following.take(line)
                    if event is not None:
                        yield event
        except httpx.TransportError as error:
            cause = error
        await pause(following.broke(str(http.base_url), cause))
