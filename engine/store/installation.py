"""Makes a shard's schema when it is absent, and refuses one that a newer release has changed.

Safe to run by many processes at once. Asks for no rights on a schema that is there: the server's role may be
one that can only read and insert. Next: `schema.sql`, which is what gets installed."""

from __future__ import annotations

from psycopg import sql
from psycopg.rows import scalar_row

from domain.errors import TenutoError
from engine.store.connections import Connections, StoreConnection
from engine.store.statements import SCHEMA

SCHEMA_VERSION = 2
"""Of `schema.sql`; counts up with each change of it."""


class SchemaTooNewError(TenutoError):
    """Schema {schema} has version {found}, made by a newer release of Tenuto; this one knows versions up to
    {known}. Upgrade this server. Nothing was changed."""


def install(connections: Connections) -> None:
    """Raises SchemaTooNewError, StoreUnavailableError, or psycopg's own error when the role may not create
    it."""
    with connections.get_connection() as connection:
        found = _version(connection, connections.schema)
        if found is None:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (connections.advisory_key("install"),))
                found = _version(connection, connections.schema)  # Another process may have been first.
                if found is None:
                    found = _create(connection, connections.schema)
    if found > SCHEMA_VERSION:
        raise SchemaTooNewError(schema=connections.schema, found=found, known=SCHEMA_VERSION)


def _version(connection: StoreConnection, schema: str) -> int | None:
    """None when the schema is not installed. Reads the catalogue's tables: name lookups (`to_regclass`,
    search_path) would not hear of what another session did while this one waited for the lock."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        settings = """
            SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = %s AND c.relname = 'settings'"""
        if not cursor.execute(settings, (schema,)).fetchone():
            return None
        version: int | None = cursor.execute("SELECT schema_version FROM settings").fetchone()
        return version


def _create(connection: StoreConnection, schema: str) -> int:
    found = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
    if not found.rowcount:  # CREATE SCHEMA IF NOT EXISTS would ask for rights that are not needed.
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(SCHEMA)
    connection.execute("INSERT INTO settings (schema_version) VALUES (%s)", (SCHEMA_VERSION,))
    return SCHEMA_VERSION
