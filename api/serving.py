"""One server: its parts wired together, and HTTP in front of them, until a signal says stop.

Everything heavy is imported here, so that `api/server.py` can have it imported while the database starts. Next:
`api/app.py` (what it serves), `engine/engine.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from psycopg_pool import AsyncConnectionPool

from api.app import create_app
from api.heavy import Heavy
from api.services import unknown_services
from api.settings import Pool
from api.wiring import DEFAULT_NAMESPACE, Shard, Wiring
from connectors.http import HttpConnector
from domain.definition.parse import read_definition
from engine.clock import SystemClock
from engine.engine import Engine
from engine.options import EngineOptions
from engine.ports import StoreUnavailableError
from engine.store import PostgresStore
from engine.webhooks import Webhooks as Registrations
from feeds.desk import Desk
from feeds.feed import Feed
from feeds.log import Log
from feeds.post import HttpPost
from feeds.tail import Tail
from feeds.webhooks import Webhooks
from notary.notary import Notary, Place
from projections.audit_queries import AuditQueries
from projections.oversight import Oversight
from projections.queries import Queries
from projections.remote import RemoteRunner
from projections.runner import Runner

VIEWS = "tenuto_projections"
"""The schema of the projections' tables."""
PUBLISHED = "tenuto_v1"
"""The schema of the views that anyone may read by SQL."""
LIST_CONNECTIONS = 4
FEED_CONNECTIONS = 4
LIST_TIMEOUT_S = 5.0
"""How long a list waits for a connection before it is 503."""
GATHER_SECONDS = 0.001
"""So long a busy engine waits for more before each batch: a twelfth less CPU for every step, and more of them."""
GRACE_S = 10.0
"""How long a stop waits for answers under way, and again for calls to services."""

COLLECT_AFTER = (50_000, 20, 50)
"""New objects before Python looks for cycles among them, and how rarely it looks at older ones. Nearly everything here
is freed by its reference count; by default a twentieth of the time goes into looking for the rest."""

_log = logging.getLogger("tenuto.server")


def run(
    listener: socket.socket,
    dsn: str,
    *,
    services: Mapping[str, str],
    texts: Mapping[Path, str],
    lease_seconds: float,
    place: tuple[Path, Path],
    ready: Callable[[str], None],
    pools: Mapping[str, Pool] | None = None,
    runs: Callable[..., Runner | RemoteRunner] = RemoteRunner,
) -> None:
    """Serves on the listener until SIGTERM or SIGINT. `texts` are definitions to deploy first, by their file."""
    parts = wired(
        dsn, services=services, lease_seconds=lease_seconds, place=Place(*place), pools=pools, runs=runs
    )
    serving = _serve(listener, parts, texts=texts, ready=ready)
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(serving)


@asynccontextmanager
async def wired(
    dsn: str,
    *,
    services: Mapping[str, str],
    lease_seconds: float,
    schema: str | None = None,
    views: str = VIEWS,
    runs: Callable[..., Runner | RemoteRunner] = RemoteRunner,
    place: Place | None = None,
    published: str = PUBLISHED,
    pools: Mapping[str, Pool] | None = None,
) -> AsyncIterator[Wiring]:
    """All parts of one server, started; stopped in reverse. Raises StoreUnavailableError, ValueError (a bad URL).

    `runs`: whether the projections get a process of their own, or this one. Without a place it keeps no notary.
    """
    async with AsyncExitStack() as stack:
        store = await PostgresStore.open(dsn, schema=schema)
        stack.push_async_callback(store.close)
        clock = await SystemClock.measured(store)
        connector = HttpConnector(services, clock=clock.now)
        stack.push_async_callback(connector.close)
        pool = await _pool(stack, dsn, "lists", LIST_CONNECTIONS)
        runner = runs(dsn, log=store.schema, views=views, clock=clock, published=published)
        runner.start()
        stack.push_async_callback(runner.stop)
        options = EngineOptions(lease_seconds=lease_seconds, gather_seconds=GATHER_SECONDS)
        engine = await Engine.open(store, clock, connectors={"http": connector}, options=options)
        tail, webhooks = await _feeds(stack, dsn, store, clock)
        engine.on_commit(lambda _: runner.wake())
        notary = None if place is None else _notary(dsn, store.schema, clock, place)
        if notary is not None:
            notary.start()
            stack.push_async_callback(notary.stop)
            engine.on_commit(lambda _: notary.wake())
        engine.on_commit(lambda _: tail.wake())
        await engine.start()
        stack.push_async_callback(_stop, engine)
        heavy = Heavy()
        stack.callback(heavy.close)
        yield Wiring(
            engine=engine,
            store=store,
            clock=clock,
            runner=runner,
            queries=Queries(pool, views),
            audit=AuditQueries(pool, views),
            notary=notary,
            shard=Shard(dsn, store.schema, views),
            heavy=heavy,
            feed=Feed(tail),
            webhooks=webhooks,
            oversight=Oversight(pool, views, (store.schema, "owed")),
            pools=pools or {},
            services=frozenset(services),
        )


def _notary(dsn: str, log: str, clock: SystemClock, place: Place) -> Notary:
    return Notary(dsn, log=log, schema=f"{log}_notary", clock=clock, place=place)


async def _pool(stack: AsyncExitStack, dsn: str, purpose: str, size: int) -> AsyncConnectionPool[Any]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=LIST_TIMEOUT_S,
        open=False,
        kwargs={"autocommit": True, "application_name": f"tenuto {purpose}", "options": "-c timezone=UTC"},
    )
    await pool.open()
    stack.push_async_callback(pool.close)
    return pool


async def _feeds(
    stack: AsyncExitStack, dsn: str, store: PostgresStore, clock: SystemClock
) -> tuple[Tail, Webhooks]:
    """The end of the log, which the feed reads, and the webhooks."""
    pool = await _pool(stack, dsn, "feeds", FEED_CONNECTIONS)
    tail = Tail(Log(pool, (store.schema, "stored_events")), clock)
    await tail.start()
    stack.push_async_callback(tail.stop)
    post = HttpPost()
    stack.push_async_callback(post.close)
    desk = Desk(pool, f"{store.schema}_feeds")
    webhooks = Webhooks(Registrations(store, clock), desk, tail, post, clock)
    await webhooks.start()
    stack.push_async_callback(webhooks.stop)
    return tail, webhooks


async def _stop(engine: Engine) -> None:
    """Without its database it cannot give its leases back; they end by themselves."""
    try:
        await engine.stop(GRACE_S)
    except StoreUnavailableError as error:
        _log.warning("stopped without giving leases back: %s", error)


class _Server(uvicorn.Server):
    """Says when it is ready, and leaves signals to `_serve`: uvicorn would raise them again after the drain."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


async def _serve(
    listener: socket.socket,
    parts: AbstractAsyncContextManager[Wiring],
    *,
    texts: Mapping[Path, str],
    ready: Callable[[str], None],
) -> None:
    gc.freeze()  # What is there now, stays: modules and what they hold.
    gc.set_threshold(*COLLECT_AFTER)
    async with parts as wiring:
        for path, text in texts.items():
            await _deploy(wiring, path, text)
        config = uvicorn.Config(
            create_app(wiring),
            log_config=None,
            access_log=False,
            proxy_headers=False,  # Nothing here asks where a caller is.
            lifespan="off",
            timeout_graceful_shutdown=int(GRACE_S),
        )
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        server = _Server(config, lambda: ready(url))

        def stop() -> None:
            """The first signal drains: nothing new, held answers at once. The second one does not wait."""
            server.force_exit = server.should_exit
            server.should_exit = True
            wiring.draining.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await server.serve(sockets=[listener])


async def _deploy(wiring: Wiring, path: Path, text: str) -> None:
    """A warning is one line on stderr, as compilers write them."""
    deployable = read_definition(text, str(path))
    unknown = unknown_services(deployable, wiring.services, severity="warning")
    deployable = msgspec.structs.replace(deployable, findings=[*deployable.findings, *unknown])
    await wiring.engine.deploy(DEFAULT_NAMESPACE, deployable, actor="tenuto dev --deploy", request_id=None)
    sys.stderr.writelines(f"{finding}\n" for finding in deployable.findings)
