"""The composition root: a database, a store, an engine, projections and HTTP, made into one process.

`main` is what `tenuto dev` and `tenuto serve` run; `python -m api.server` does the same from settings alone. What goes
wrong before it serves is one line on stderr and exit code 1. Next: `api/app.py` (what it serves), `engine/engine.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import psycopg
import uvicorn
from psycopg_pool import AsyncConnectionPool
from pydantic import ValidationError

from api.app import create_app
from api.services import unknown_services
from api.settings import Settings
from api.wiring import DEFAULT_NAMESPACE, Wiring
from connectors.http import HttpConnector
from domain.definition.parse import read_definition
from domain.errors import DefinitionInvalidError, TenutoError
from engine.clock import SystemClock
from engine.embedded_postgres import EmbeddedPostgres, default_home
from engine.engine import Engine, EngineOptions
from engine.ports import StoreUnavailableError
from engine.store import PostgresStore
from projections.queries import Queries
from projections.runner import Runner

VIEWS = "tenuto_v1"
"""The schema of the projections' tables, which anyone may read by SQL."""
LIST_CONNECTIONS = 4
LIST_TIMEOUT_S = 5.0
"""How long a list waits for a connection before it is 503."""
GRACE_S = 10.0
"""How long a stop waits for answers under way, and again for calls to services."""

_log = logging.getLogger("tenuto.server")


class CannotServeError(TenutoError):
    """{problem}"""


def main(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    database_url: str | None = None,
    home: Path | None = None,
    services: Mapping[str, str] | None = None,
    deploy: Sequence[Path] = (),
    lease_seconds: float | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; the exit code. Without `database_url` an embedded PostgreSQL is started.

    Must be called on the main thread: the embedded server lives as long as the thread that started it. `services` are
    added to those of the settings.
    """
    try:
        settings = Settings()
        logging.basicConfig(level=settings.log_level.upper(), stream=sys.stderr, format=LOG_FORMAT)
        texts = {path: path.read_text(encoding="utf-8") for path in deploy}
        with _listening(host, port) as listener, _database(database_url, home or settings.home) as dsn:
            serving = _serve(
                listener,
                dsn,
                services={**settings.service_urls, **(services or {})},
                texts=texts,
                lease_seconds=lease_seconds or settings.lease_seconds,
            )
            with asyncio.Runner(
                loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()
            ) as runner:
                runner.run(serving)
        return 0
    except KeyboardInterrupt:
        return 130
    except (TenutoError, psycopg.Error, ValidationError, ValueError, OSError) as error:
        sys.stderr.write(f"Error: {_said(error)}\n")
        return 1


LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@asynccontextmanager
async def wired(
    dsn: str,
    *,
    services: Mapping[str, str],
    lease_seconds: float,
    schema: str | None = None,
    views: str = VIEWS,
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
        runner = Runner(dsn, log=store.schema, views=views, clock=clock)
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

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"ready {self._url}\ndocs {self._url}/docs\n")
            sys.stdout.flush()


async def _serve(
    listener: socket.socket,
    dsn: str,
    *,
    services: Mapping[str, str],
    texts: Mapping[Path, str],
    lease_seconds: float,
) -> None:
    async with wired(dsn, services=services, lease_seconds=lease_seconds) as wiring:
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
        server = _Server(config, f"http://{f'[{host}]' if ':' in host else host}:{port}")

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


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that owns the address; it takes connections once the server is ready. Raises CannotServeError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServeError(problem=f"cannot listen on {host}: {error.strerror}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            problem = f"cannot listen on {host}:{port}: {error.strerror}. Choose another with --port"
            raise CannotServeError(problem=problem) from error
        yield listener


@contextlib.contextmanager
def _database(url: str | None, home: Path | None) -> Iterator[str]:
    """The DSN to use: the one given, or that of an embedded PostgreSQL which is stopped at the end."""
    if url is not None:
        yield url
        return
    embedded = EmbeddedPostgres(home or default_home())
    try:
        yield embedded.start()
    finally:
        embedded.stop()


def _said(error: Exception) -> str:
    """One line for a person, and one per finding."""
    if isinstance(error, DefinitionInvalidError):
        findings = error.details.get("findings")
        return "\n".join(map(str, findings)) if isinstance(findings, list) else str(error)
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"a setting does not fit: {'; '.join(faults)}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def serve() -> int:
    """As `main`, with everything from the settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"Error: {_said(error)}\n")
        return 1
    return main(
        host=settings.host, port=settings.port, database_url=settings.database_url, home=settings.home
    )


if __name__ == "__main__":
    sys.exit(serve())
