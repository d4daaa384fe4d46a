"""One server: its parts wired together, and HTTP in front of them, until a signal says stop.

Everything heavy is imported here, so that `api/server.py` can have it imported while the database starts. Next:
`api/app.py` (what it serves), `engine/engine.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import uvicorn
from psycopg_pool import AsyncConnectionPool

from api.app import create_app
from api.services import unknown_services
from api.settings import Pool
from api.wiring import DEFAULT_NAMESPACE, Wiring
from connectors.http import HttpConnector
from domain.definition.parse import read_definition
from engine.clock import SystemClock
from engine.engine import Engine, EngineOptions
from engine.ports import StoreUnavailableError
from engine.store import PostgresStore
from projections.oversight import Oversight
from projections.queries import Queries
from projections.runner import Runner

VIEWS = "tenuto_projections"
"""The schema of the projections' tables."""
PUBLISHED = "tenuto_v1"
"""The schema of the views that anyone may read by SQL."""
LIST_CONNECTIONS = 4
LIST_TIMEOUT_S = 5.0
"""How long a list waits for a connection before it is 503."""
GRACE_S = 10.0
"""How long a stop waits for answers under way, and again for calls to services."""

_log = logging.getLogger("tenuto.server")


def run(
    listener: socket.socket,
    dsn: str,
    *,
    services: Mapping[str, str],
    texts: Mapping[Path, str],
    lease_seconds: float,
    ready: Callable[[str], None],
    pools: Mapping[str, Pool] | None = None,
) -> None:
    """Serves on the listener until SIGTERM or SIGINT. `texts` are definitions to deploy first, by their file."""
    wiring = wired(dsn, services=services, lease_seconds=lease_seconds, pools=pools)
    serving = _serve(listener, wiring, texts=texts, ready=ready)
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
    published: str = PUBLISHED,
    pools: Mapping[str, Pool] | None = None,
) -> AsyncIterator[Wiring]:
    """All parts of one server, started; stopped in reverse. Raises StoreUnavailableError, ValueError (a bad URL)."""
    async with AsyncExitStack() as stack:
        store = await PostgresStore.open(dsn, schema=schema)
        stack.push_async_callback(store.close)
        clock = await SystemClock.measured(store)
        connector = HttpConnector(services, clock=clock.now)
        stack.push_async_callback(connector.close)
        pool = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=LIST_CONNECTIONS,
            timeout=LIST_TIMEOUT_S,
            open=False,
            kwargs={"autocommit": True, "application_name": "tenuto lists", "options": "-c timezone=UTC"},
        )
        await pool.open()
        stack.push_async_callback(pool.close)
        runner = Runner(dsn, log=store.schema, views=views, clock=clock, published=published)
        runner.start()
        stack.push_async_callback(runner.stop)
        engine = await Engine.open(
            store, clock, connectors={"http": connector}, options=EngineOptions(lease_seconds=lease_seconds)
        )
        engine.on_commit(lambda _: runner.wake())
        await engine.start()
        stack.push_async_callback(_stop, engine)
        yield Wiring(
            engine=engine,
            store=store,
            clock=clock,
            runner=runner,
            queries=Queries(pool, views),
            oversight=Oversight(pool, views, (store.schema, "owed")),
            pools=pools or {},
            services=frozenset(services),
        )


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
    async with parts as wiring:
        for path, text in texts.items():
            await _deploy(wiring, path, text)
        config = uvicorn.Config(
            create_app(wiring),
            log_config=None,
            access_log=False,
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
