"""The server's own role adds to the log and cannot change it; everything the server does works under it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from tenuto.audit.errors import AuditError
from tenuto.audit.roles import roles_sql
from tests.api.conftest import HELLO, serving

TRIES = [
    "UPDATE {log}.stored_events SET state = '{{}}'",
    "DELETE FROM {log}.stored_events",
    "TRUNCATE {log}.stored_events",
    "DROP TABLE {log}.stored_events",
    "ALTER TABLE {log}.stored_events DISABLE TRIGGER ALL",
    "CREATE RULE r AS ON INSERT TO {log}.stored_events DO INSTEAD NOTHING",
    "INSERT INTO {log}.stored_events VALUES ('0-a', 1) ON CONFLICT (notification_id) DO UPDATE SET topic = ''",
    "SELECT setval('{log}.stored_events_notification_id_seq', 1)",
    "DROP SCHEMA {log} CASCADE",
    "CREATE TABLE {log}.mine (n int)",
    "UPDATE {log}.settings SET secret = ''",
]


@pytest.fixture
def role(database: str) -> Iterator[str]:
    """The name of a role that does not exist yet; dropped afterwards with all it has."""
    name = f"app_{secrets.token_hex(4)}"
    yield name
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


async def test_a_server_under_its_own_role_works_and_cannot_change_the_log(
    database: str, schema: str, role: str
) -> None:
    async with serving(database, schema) as owner:
        await owner.deploy(HELLO, "hello")
        await owner.post("/v1/audit/checkpoints", {})
        await owner.get("/v1/audit/log", minPosition=1)
    with psycopg.connect(database, autocommit=True) as admin:
        for _ in range(2):  # It may be run again.
            admin.execute(
                roles_sql(role, log=schema, views=f"{schema}_views", published=f"{schema}_v1").encode()
            )
        admin.execute(f"ALTER ROLE {role} PASSWORD 'secret'".encode())
    dsn = make_conninfo(database, user=role, password="secret")
    async with serving(dsn, schema) as server:
        view = await server.start("hello", {"name": "Ada"})
        await server.work("greetings", "Hello, Ada")
        assert (await server.get(f"/v1/instances/{view['id']}"))["status"] == "completed"
        position = await server.events()
        page = await server.get("/v1/audit/log", instance=view["id"], minPosition=position)
        assert len(page["entries"]) == 3
        signed = await server.post("/v1/audit/checkpoints", {})
        assert signed["size"] == position
        comparison = await server.post("/v1/projections/audit/rebuild", {})
        assert comparison["equal"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in TRIES:
            refused(connection, statement.format(log=schema))
        connection.execute(f"SET search_path = {schema}".encode())
        count = connection.execute("SELECT count(*) FROM stored_events").fetchone()
    assert count == (position,)


def refused(connection: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("name", ["", 'x"; DROP TABLE y; --', "Tenuto", "a b", "1a"])
def test_a_name_that_would_have_to_be_quoted_is_refused(name: str) -> None:
    with pytest.raises(AuditError, match="no plain name"):
        roles_sql(name)
