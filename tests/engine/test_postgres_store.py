"""What only PostgreSQL can do: lose its connection at any point, be gone, be installed twice, be newer than
we are.

The statement of each test is what the engine relies on when it must tell a caller: stored, not stored, or
unknown."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import scalar_row

from engine import store as store_package
from engine.embedded_postgres import EmbeddedPostgres
from engine.ports import (
    Batch,
    CommitUnknownError,
    OwedRow,
    Recorded,
    StoreUnavailableError,
    VersionConflictError,
)
from engine.store import PostgresStore
from engine.store.connections import BadDatabaseUrlError, Connections, StoreConnection
from engine.store.installation import SCHEMA_VERSION, SchemaTooNewError
from engine.store.postgres import UnsafeSwitchError
from engine.store.recorder import parameters_of
from engine.store.statements import SQL

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = OwedRow(namespace="default", instance="a", key="ship#1", kind="invoke", queue="parcels", due_at=NOON)


@pytest.fixture
async def store(database: str, schema: str) -> AsyncIterator[PostgresStore]:
    opened = await PostgresStore.open(database, schema=schema)
    yield opened
    await opened.close()


@pytest.fixture
def admin(database: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session in the same schema, whose rows are single values."""
    with psycopg.connect(database, autocommit=True, row_factory=scalar_row) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        yield connection


PAYLOAD = b'{"n":1}'
COMMITTED = b"INSERT 0 1\0" + b"Z\0\0\0\x05I"
"""What the server says of one event when it has committed: CommandComplete, and ReadyForQuery outside a transaction."""


def one(version: int = 1, stream: str = "a") -> Batch:
    return Batch(events=[Recorded(stream, version, "InstanceStarted", PAYLOAD)], owe=[ROW])


async def stored(database: str, schema: str) -> tuple[int, int]:
    """How many events and owed rows there are, asked by a store that has seen nothing of the accident."""
    fresh = await PostgresStore.open(database, schema=schema)
    try:
        return len(await fresh.read("a")), len(await fresh.owed_of(["a"]))
    finally:
        await fresh.close()


def end_sessions(admin: psycopg.Connection[Any], store: PostgresStore) -> int:
    """Ends every session of the store, and waits until they are gone."""
    ours = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    ended = admin.execute(f"SELECT pg_terminate_backend(pid) {ours}".encode(), (store.schema,)).fetchall()
    while admin.execute(f"SELECT count(*) {ours}".encode(), (store.schema,)).fetchone():
        continue
    return len(ended)


# Lost connections ------------------------------------------------------------


class Proxy:
    """Between a store and its server; cuts the line when it sees an append, before or after the server has."""

    def __init__(self, database: str) -> None:
        address = conninfo_to_dict(database)
        self._host, self._port = str(address["host"]), int(address.get("port") or 5432)
        self.cut: str | None = None
        self._lines: list[asyncio.Task[None]] = []

    async def _to_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.append(asyncio.create_task(self._carry(reader, writer)))

    async def ended(self) -> None:
        """Every line has been hung up, at one end or the other."""
        await asyncio.gather(*self._lines)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._to_server()
        committing = asyncio.Event()

        async def forward() -> None:
            while data := await reader.read(65536):
                if self.cut and PAYLOAD in data:
                    if self.cut == "before":
                        break
                    committing.set()
                server_writer.write(data)
                await server_writer.drain()

        async def answer() -> None:
            while data := await server_reader.read(65536):
                if not committing.is_set():
                    writer.write(data)
                    await writer.drain()
                elif COMMITTED in data:
                    break

        ways = [asyncio.create_task(forward()), asyncio.create_task(answer())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, server_writer):
            end.close()
        await asyncio.gather(writer.wait_closed(), server_writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def through_proxy(database: str) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(database)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield proxy, make_conninfo(database, host="127.0.0.1", hostaddr="", port=port, sslmode="disable")
    server.close()
    await proxy.ended()


@pytest.mark.parametrize(("cut", "kept"), [("after", (1, 1)), ("before", (0, 0))])
async def test_a_connection_cut_during_commit_leaves_all_or_nothing_and_says_it_does_not_know(
    database: str, schema: str, cut: str, kept: tuple[int, int]
) -> None:
    async with through_proxy(database) as (proxy, dsn):
        store = await PostgresStore.open(dsn, schema=schema)
        await store.append(Batch(events=[Recorded("prepared", 1, "InstanceStarted", b"{}")]))
        proxy.cut = cut
        with pytest.raises(CommitUnknownError):
            await store.append(one())
        proxy.cut = None
        assert await stored(database, schema) == kept
        assert len(await store.read("a")) == kept[0]
        await store.append(one(kept[0] + 1))
        await store.close()


async def test_a_connection_lost_before_anything_was_sent_stored_nothing(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(one())
    take = store._connections._take

    def lost() -> StoreConnection:
        connection = take()
        connection.pgconn.finish()
        return connection

    monkeypatch.setattr(store._connections, "_take", lost)
    with pytest.raises(StoreUnavailableError):
        await store.append(one(2))
    monkeypatch.undo()
    assert await store.append(one(2))


async def test_sessions_that_were_ended_while_idle_are_replaced_without_a_word(
    database: str, schema: str, admin: psycopg.Connection[Any]
) -> None:
    store = await PostgresStore.open(make_conninfo(database, application_name=schema), schema=schema)
    await store.append(one())
    for version in (2, 3):
        assert end_sessions(admin, store) >= 1
        await store.append(one(version))
        assert end_sessions(admin, store) >= 1
        assert await store.versions(["a"]) == {"a": version}
    await store.close()


async def test_a_warning_at_commit_takes_its_success_back(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    """PostgreSQL says so when a wait for a synchronous replica is cancelled. Here a trigger says it."""
    admin.execute("""
        CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE WARNING 'canceling wait for synchronous replication due to user request';
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON stored_events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION warn()""")
    with pytest.raises(CommitUnknownError):
        await store.append(one())
    assert await store.versions(["a"]) == {"a": 1}
    admin.execute("DROP TRIGGER warn ON stored_events")
    await store.append(one(2))


async def test_a_former_primary_is_left_for_whoever_is_primary_now(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await store.append(one())
    role = admin.execute("SELECT quote_ident(current_database())").fetchone()
    admin.execute(f"ALTER DATABASE {role} SET default_transaction_read_only = on".encode())
    store._connections._forget_idle()
    with pytest.raises(StoreUnavailableError, match="read-only"):
        await store.append(one(2))
    admin.execute(f"ALTER DATABASE {role} RESET default_transaction_read_only".encode())
    assert await store.append(one(2))


async def test_a_plan_that_outlived_its_table_costs_one_refusal_however_many_connections_keep_it(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await store.append(one())
    with store._connections.get_connection() as first, store._connections.get_connection() as second:
        for connection in (first, second):
            connection.execute(SQL["owed_of"], {"instances": ["a"]}, prepare=True)
    admin.execute("ALTER TABLE owed ALTER COLUMN attempt TYPE bigint")
    with pytest.raises(StoreUnavailableError, match="cached plan"):
        await store.owed_of(["a"])
    assert await store.owed_of(["a"]) == [ROW]


async def test_a_writer_waits_for_another_only_so_long(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store._connections.get_connection() as connection:
        connection.execute("SET lock_timeout = '50ms'")
    with admin.transaction():
        admin.execute(SQL["lock"], {"lock": store._connections.advisory_key("append")})
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await store.append(one())
    await store.append(one())


# Unavailable servers -----------------------------------------------------------


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    dsn = "postgresql://tenuto:hunter2@127.0.0.1:1/shop"
    with pytest.raises(StoreUnavailableError) as refusal:
        await PostgresStore.open(dsn)
    message = str(refusal.value)
    assert "127.0.0.1 port 1, database shop, as tenuto" in message
    assert "TENUTO_DATABASE_URL" in message
    assert "hunter2" not in message


async def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(BadDatabaseUrlError) as refusal:
        await PostgresStore.open("postgresql://tenuto:hunter2@[")
    assert "hunter2" not in str(refusal.value)


async def test_a_store_that_was_closed_or_never_opened_is_unavailable(store: PostgresStore) -> None:
    await store.append(one())
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.append(one(2))
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.read("a")
    unopened = PostgresStore(store.dsn, schema=store.schema)
    with pytest.raises(StoreUnavailableError, match="open"):
        await unopened.append(one(2))
    await unopened.close()


# Installation ----------------------------------------------------------------


async def test_a_shard_has_a_schema_of_its_own(database: str) -> None:
    stores = [await PostgresStore.open(database, shard=shard) for shard in ("x", "y")]
    try:
        await stores[0].append(one())
        assert [store.schema for store in stores] == ["tenuto_x", "tenuto_y"]
        assert await stores[1].versions(["a"]) == {"a": 0}
        assert await stores[0].secret() != await stores[1].secret()
    finally:
        for store in stores:
            await store.close()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP SCHEMA tenuto_x CASCADE; DROP SCHEMA tenuto_y CASCADE")


async def test_many_may_install_at_once_even_under_an_awkward_name(database: str) -> None:
    name = 'An "odd" name, $1 %s'
    stores = await asyncio.gather(*(PostgresStore.open(database, schema=name) for _ in range(6)))
    try:
        secrets = {await store.secret() for store in stores}
        assert len(secrets) == 1
        await stores[0].append(one())
        assert await stores[5].versions(["a"]) == {"a": 1}
    finally:
        for store in stores:
            await store.close()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


async def test_a_schema_of_a_newer_release_is_refused_and_left_alone(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("UPDATE settings SET schema_version = schema_version + 1")
    with pytest.raises(SchemaTooNewError) as refusal:
        await PostgresStore.open(store.dsn, schema=store.schema)
    assert refusal.value.details == {
        "schema": store.schema,
        "found": SCHEMA_VERSION + 1,
        "known": SCHEMA_VERSION,
    }


async def test_a_role_that_may_only_read_and_insert_events_is_enough(
    store: PostgresStore, admin: psycopg.Connection[Any], database: str
) -> None:
    role = f"{store.schema}_server"
    grants = f"""
        CREATE ROLE {role} LOGIN PASSWORD 'secret';
        GRANT USAGE ON SCHEMA {store.schema} TO {role};
        GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {store.schema} TO {role};
        GRANT UPDATE, DELETE ON owed, sessions, snapshots TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA {store.schema} TO {role}"""
    admin.execute(grants.encode())
    try:
        dsn = make_conninfo(database, user=role, password="secret")
        server = await PostgresStore.open(dsn, schema=store.schema)
        await server.append(one())
        with pytest.raises(VersionConflictError) as conflict:
            await server.append(one())
        assert conflict.value.details == {"streams": ["a"]}
        assert await server.replace_owed("a", [], version=1)
        await server.close()
    finally:
        admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize("name", ["POSTGRES_ENABLE_DB_FUNCTIONS", "TENUTO_POSTGRES_ENABLE_DB_FUNCTIONS"])
async def test_the_librarys_switch_that_loses_events_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "y")
    with pytest.raises(UnsafeSwitchError, match=name):
        await PostgresStore.open("postgresql://127.0.0.1:1/never")


# In the database -------------------------------------------------------------


async def test_sql_reads_payloads_as_json(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    payload = '{"city":"Zürich","weight":12.5}'.encode()
    await store.append(Batch(events=[Recorded("a", 1, "StepCompleted", payload)]))
    question = "SELECT payload->>'city' FROM events_json WHERE stream = 'a' AND topic = 'StepCompleted'"
    assert admin.execute(question).fetchone() == "Zürich"
    assert admin.execute("SELECT state FROM stored_events").fetchone() == payload


async def test_every_statement_goes_through_an_index(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    """On tables that were never analysed, with the settings of the store's own connections."""
    parameters: dict[str, Any] = {
        **{name: ["a"] for name in ("streams", "keys", "queues", "instances", "sessions")},
        **dict.fromkeys(("stream", "prefix", "after", "namespace", "correlation_key", "signal"), "a"),
        **dict.fromkeys(("instance", "key", "session"), "a"),
        **dict.fromkeys(("limit", "state_version", "upto"), 1),
        **dict.fromkeys(("horizon", "now"), NOON),
    }
    appended = parameters_of([StoredEvent("a", 2, "t", b"{}")], Batch(owe=[ROW], withdraw=[("a", "b")]))
    plans = {}
    with store._connections.get_connection() as connection:
        for name in (
            *("append", "load", "versions", "streams", "client_commands"),
            *("owed_by", "claimable", "owed_of", "owed_under", "listeners", "kept", "expired_sessions"),
        ):
            wanted = appended | {"lock": 1, "channel": "c"} if name == "append" else parameters
            lines = connection.execute(b"EXPLAIN " + SQL[name], wanted).fetchall()
            plans[name] = "\n".join(str(line["QUERY PLAN"]) for line in lines)
    assert {name: plan for name, plan in plans.items() if "Seq Scan" in plan} == {}


def test_every_named_statement_says_why_and_is_used() -> None:
    folder = Path(store_package.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    for name, body in SQL.items():
        assert body.startswith(b"-- "), f"{name} does not say why it is as it is"
        assert re.search(rf'"{name}"', code), f"{name} is not used"


def test_two_schemas_lock_each_other_out_of_nothing() -> None:
    keys = [Connections("dbname=x", schema).advisory_key(p) for schema in "ab" for p in ("append", "install")]
    assert len(set(keys)) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)


async def test_a_wait_for_a_replica_that_is_cancelled_is_an_unknown_commit() -> None:
    """The true case, on a server whose synchronous replica does not exist."""
    home = Path(
        tempfile.mkdtemp(prefix="tenuto-tests-")
    )  # pytest's own folders are closed to the server's account
    server = EmbeddedPostgres(home, settings={"fsync": "off"})
    dsn = server.start()
    try:
        store = await PostgresStore.open(dsn)
        with psycopg.connect(dsn, autocommit=True, row_factory=scalar_row) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            admin.execute("SELECT pg_reload_conf()")
            append = asyncio.create_task(store.append(one()))
            cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            while not admin.execute(cancel).fetchone():  # noqa: ASYNC110 - another process can only be polled
                await asyncio.sleep(0)
            with pytest.raises(CommitUnknownError):
                await append
        assert await store.versions(["a"]) == {"a": 1}
        await store.close()
    finally:
        server.stop()
        shutil.rmtree(home)
