"""What a request meets: the parts of one server, who calls, and how answers are written.

Everything here is handed in (`api/serving.py` composes it), so that tests compose it differently.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from api.errors import InvalidParameterError, NotReadyError
from api.heavy import Heavy
from api.settings import Pool
from domain.durations import parse_duration
from engine.engine import Engine
from engine.ports import Clock, Store
from feeds.feed import Feed
from feeds.webhooks import Webhooks
from notary.errors import NoNotaryError
from notary.notary import Notary
from projections.audit_queries import AuditQueries
from projections.oversight import Oversight
from projections.queries import Queries
from projections.remote import RemoteRunner
from projections.runner import Runner

DEFAULT_NAMESPACE = "default"
ANONYMOUS = "anonymous"
"""Who acts while there is no login and nobody says."""
MAX_HELD_MS = 60_000
"""An answer is held no longer than this, whatever was asked."""

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORD = re.compile(r"[\x20-\x7e\x80-\uffff]{1,200}")

Result = TypeVar("Result")
Other = TypeVar("Other")


class Shard(NamedTuple):
    """Where the log and its projections are, for work that connects by itself: URL, and two schemas."""

    dsn: str
    schema: str
    views: str


class News:
    """Something has come of what an answer is held for. Lighter than `asyncio.wait`, which every poll would pay."""

    __slots__ = ("come",)

    def __init__(self) -> None:
        self.come: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, _: object = None) -> None:
        if not self.come.done():
            self.come.set_result(None)


class Draining(asyncio.Event):
    """Set when the server is about to stop: news for all whose answers are held."""

    def __init__(self) -> None:
        super().__init__()
        self._held: set[News] = set()

    @contextlib.contextmanager
    def news(self) -> Iterator[News]:
        news = News()
        self._held.add(news)
        if self.is_set():
            news()
        try:
            yield news
        finally:
            self._held.discard(news)

    def set(self) -> None:
        super().set()
        for news in self._held:
            news()


class Wiring(Struct, frozen=True, kw_only=True):
    """One server's parts. `services` are the names with a URL. `draining` is set when the server is about to stop."""

    engine: Engine
    store: Store
    clock: Clock
    runner: Runner | RemoteRunner
    queries: Queries
    audit: AuditQueries
    shard: Shard
    heavy: Heavy
    feed: Feed
    webhooks: Webhooks
    oversight: Oversight
    notary: Notary | None = None
    pools: Mapping[str, Pool] = {}
    services: frozenset[str] = frozenset()
    draining: Draining = field(default_factory=Draining)


class Caller(NamedTuple):
    """Who asks, and on whose shelf they look."""

    namespace: str
    actor: str
    request_id: str | None


def wiring_of(request: Request) -> Wiring:
    wiring: Wiring = request.app.state.wiring
    return wiring


def notary_of(request: Request) -> Notary:
    """Raises NoNotaryError."""
    notary = wiring_of(request).notary
    if notary is None:
        raise NoNotaryError
    return notary


def caller_of(request: Request, actor: str | None = None) -> Caller:
    """From the headers `Tenuto-Namespace`, `Tenuto-Actor` and `Tenuto-Request-Id`; the body's `actor` goes first."""
    return Caller(
        namespace_of(request),
        actor or _header(request, "Tenuto-Actor") or ANONYMOUS,
        _header(request, "Tenuto-Request-Id"),
    )


def namespace_of(request: Request) -> str:
    named = request.headers.get("tenuto-namespace", DEFAULT_NAMESPACE)
    if _NAMESPACE.fullmatch(named) is None:
        expected = "a letter or digit, then at most 63 letters, digits, `.`, `_`, `-`"
        raise InvalidParameterError(place="header", name="Tenuto-Namespace", value=named, expected=expected)
    return named


def _header(request: Request, name: str) -> str | None:
    text = request.headers.get(name)
    if text is not None and _WORD.fullmatch(text) is None:
        expected = "1 to 200 printable characters"
        raise InvalidParameterError(place="header", name=name, value=text[:200], expected=expected)
    return text


def seconds_of(wait: str | None) -> float:
    """A duration to hold an answer for (`30s`), cut to a minute; 0 for none. Raises DurationError."""
    return 0.0 if wait is None else min(parse_duration(wait), MAX_HELD_MS) / 1000


async def while_connected(
    request: Request,
    work: Awaitable[Result],
    otherwise: Other,
    *,
    unheard: Callable[[Any], None] = lambda _: None,
) -> Result | Other:
    """Awaits `work` as long as the caller is there and the server goes on; then it is cancelled.

    `unheard` is told of a result that came in the very moment in which the caller went.
    The body must have been read: what comes after it is the news that the connection has dropped.
    """
    wanted = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        with wiring_of(request).draining.news() as news:
            for task in (wanted, gone):
                task.add_done_callback(news)
            await news.come
        if not wanted.done():
            return otherwise
        if gone.done():
            unheard(wanted.result())
        return wanted.result()
    finally:
        gone.cancel()
        wanted.cancel()
        await asyncio.gather(wanted, gone, return_exceptions=True)


async def in_chunks(
    request: Request, work: Callable[[list[str]], list[Result]], items: Sequence[str], size: int
) -> list[Result]:
    """Heavy work on many items, `size` of them at a time, in other processes; `work` is a `partial` of some function.

    Given up when the caller goes, or the server: raises NotReadyError.
    """
    wiring = wiring_of(request)
    parts = [
        wiring.heavy.run(work, list(items[begin : begin + size])) for begin in range(0, len(items), size)
    ]
    done: list[list[Result]] | None = await while_connected(request, asyncio.gather(*parts), None)
    if done is None:
        raise NotReadyError(problem="it was given up before it was done")
    return [one for part in done for one in part]


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def etag(version: int) -> str:
    """An instance's version, as `ETag` and `If-Match` carry it."""
    return f'"{version}"'
