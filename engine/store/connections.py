"""The store's connections to PostgreSQL: opened when needed, thrown away when in doubt.

This is the library's datastore without its pool, which knows neither addresses of several hosts nor what to
do after a failover. Knows what a lost connection looks like, and nothing of events. Next: `recorder.py`,
which appends.
"""

from __future__ import annotations

import asyncio
import hashlib
import select
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from eventsourcing.persistence import IntegrityError
from eventsourcing.postgres import PostgresDatastore
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from domain.errors import TenutoError
from engine.ports import StoreUnavailableError
from engine.store import columns, on_loop

CONNECT_TIMEOUT = 5  # seconds for each address
APPLICATION = "tenuto store"
LOCK_TIMEOUT = "10s"  # for a writer who waits for another, say a frozen one
STATEMENT_TIMEOUT = (
    "30s"  # none of ours takes one second; a wait for a synchronous replica is not ended by it
)

UNAVAILABLE_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes that say "not now": connection, rollback (deadlock), resources, operator, system."""
UNAVAILABLE = {"0A000", "25006", "25P03", "25P04", "55P03"}
"""The like in other classes: a plan outlived its table, a former primary, three kinds of timeout."""

SESSION: dict[str, str] = {
    "timezone": "UTC",
    "client_encoding": "UTF8",  # as columns are encoded
    "default_transaction_isolation": "read committed",  # so that what follows the lock sees who had it before
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": LOCK_TIMEOUT,
    # Every statement of ours goes through an index, whatever its arrays hold, so it is planned once. A plan that was
    # made while a table was empty would read all of it for as long as nobody analyses it.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


T = TypeVar("T")


class BadDatabaseUrlError(TenutoError):
    """The database URL cannot be read; it looks like postgresql://user:password@host:5432/database."""


class StoreConnection(psycopg.Connection[DictRow]):
    """Remembers the warnings of the server: there is one that takes back the success of a COMMIT."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.warnings: list[str] = []
        self.add_notice_handler(self._notice)
        columns.register(self)

    def wait(self, gen: PQGen[T], *arguments: Any, **keywords: Any) -> T:
        """On the event loop, if that is where it was called."""
        if on_loop.is_here():
            return on_loop.wait(gen, self.pgconn.socket)
        return super().wait(gen, *arguments, **keywords)

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(notice.message_primary or "")


class Connections(PostgresDatastore):
    """One schema's connections, one for each thread at a time; the last given back is the first reused."""

    def __init__(self, dsn: str, schema: str) -> None:
        try:
            self._address = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            raise BadDatabaseUrlError from None  # whose message must not repeat a password
        # The library's pool is made and stays closed: everything goes through get_connection, below.
        super().__init__(
            dbname="", host="", port="", user="", password="", schema=schema, originator_id_type="text"
        )
        self._dsn = dsn
        self._idle: deque[StoreConnection] = deque()
        self._closed = False

    def advisory_key(self, purpose: str) -> int:
        """The number of this schema's lock for one purpose: 64 bits, signed."""
        digest = hashlib.sha256(f"tenuto:{self.schema}:{purpose}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    @contextmanager
    def get_connection(self) -> Iterator[StoreConnection]:
        """In autocommit mode. Raises StoreUnavailableError when the database, and not the request, is at fault."""
        connection = self._take()
        try:
            yield connection
        except psycopg.IntegrityError as error:
            raise IntegrityError(str(error)) from error
        except psycopg.Error as error:
            if not is_unavailable(error):
                raise
            self._forget_idle()  # They may lead to the same failed or demoted server.
            connection.close()
            raise StoreUnavailableError(problem=f"{self._where()}: {_one_line(error)}") from error
        finally:
            self._give_back(connection)

    def register_type_adapters(self) -> None:
        """None to register: events are written as columns, not as the library's composite type."""

    def close(self) -> None:
        """Also called by the library's finaliser, perhaps on an object that was never finished."""
        self._closed = True
        if hasattr(self, "_idle"):
            self._forget_idle()

    def _take(self) -> StoreConnection:
        while connection := self._pop_idle():
            if _is_quiet(connection):
                return connection
            connection.close()
        if on_loop.is_here():  # Finding and reaching a server cannot wait there.
            return on_loop.awaited(asyncio.to_thread(self._connect))
        return self._connect()

    def _pop_idle(self) -> StoreConnection | None:
        try:
            return self._idle.pop()
        except IndexError:  # Asking first would be no use: other threads pop, too.
            return None

    def _give_back(self, connection: StoreConnection) -> None:
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if idle and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _forget_idle(self) -> None:
        while connection := self._pop_idle():
            connection.close()

    def _connect(self) -> StoreConnection:
        if self._closed:
            raise StoreUnavailableError(problem="the store is closed")
        try:
            connection = StoreConnection.connect(
                self._dsn,
                autocommit=True,
                row_factory=dict_row,
                application_name=self._address.get("application_name") or APPLICATION,
                connect_timeout=int(self._address.get("connect_timeout") or CONNECT_TIMEOUT),
            )
            settings = SESSION | {"search_path": sql.Identifier(self.schema).as_string()}
            with connection.cursor() as cursor:
                names, values = list(settings), list(settings.values())
                cursor.execute(
                    "SELECT set_config(n, v, false) FROM unnest(%s::text[], %s::text[]) AS s (n, v)",
                    (names, values),
                )
        except psycopg.OperationalError as error:
            advice = "check that the server runs and that TENUTO_DATABASE_URL names it"
            raise StoreUnavailableError(problem=f"{self._where()}: {_one_line(error)}; {advice}") from error
        return connection

    def _where(self) -> str:
        """Host, port, database and user; never the password."""
        parts = {"port": "5432", "user": "the default user"} | self._address
        host = parts.get("host") or parts.get("hostaddr") or "the local socket"
        return f"{host} port {parts['port']}, database {parts.get('dbname', '(default)')}, as {parts['user']}"


def is_unavailable(error: psycopg.Error) -> bool:
    """Whether to try again later, perhaps elsewhere; False for a fault of our own or of the request."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(UNAVAILABLE_CLASSES) or error.sqlstate in UNAVAILABLE


def _is_quiet(connection: StoreConnection) -> bool:
    """An idle server has nothing to say but good-bye. Asking the socket spares an append much doubt."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
