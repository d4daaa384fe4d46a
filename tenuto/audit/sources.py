"""A live log, read from its first event on: from PostgreSQL itself, or through a server.

The auditor's own program hashes what it reads here, so nothing that is read is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tenuto.audit.errors import AuditError
from tenuto.audit.export import Line
from tenuto.audit.leaf import Row

FETCH = 5_000
PAGE = 1_000
TIMEOUT_S = 60.0


def rows_of_database(dsn: str, schema: str = "tenuto_0") -> Iterator[Row]:
    """In the order of the log, of one moment. Needs SELECT on `stored_events` only. Raises AuditError."""
    import psycopg
    from psycopg import sql

    query = sql.SQL(
        "SELECT notification_id, originator_id, originator_version, topic, state FROM {} ORDER BY notification_id"
    ).format(sql.Identifier(schema, "stored_events"))
    try:
        with psycopg.connect(dsn) as connection, connection.cursor("audit", binary=True) as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(FETCH):
                yield from map(Row._make, rows)
    except psycopg.Error as error:
        raise AuditError(f"the log in {schema} cannot be read: {error}") from error


def rows_of_server(server: str) -> Iterator[Row]:
    """As the server reads them, page by page."""
    after: str | None = "0"
    while after is not None:
        page = ask(server, "/v1/audit/entries", {"after": after, "limit": PAGE, "events": True})
        for entry in msgspec.convert(page["entries"], list[Line]):
            row = entry.row
            if row is None:
                raise AuditError(f"{server} answers position {entry.position} without its event")
            yield row
        after = page["next"]


def ask(server: str, path: str, query: dict[str, Any] | None = None, method: str = "GET") -> Any:
    """The answer's JSON. Raises what the client raises: ServerUnreachableError, TenutoApiError."""
    return answered(server, path, query, method).json()


def answered(server: str, path: str, query: dict[str, Any] | None = None, method: str = "GET") -> Any:
    """The answer, as `httpx` has it."""
    import httpx

    from tenuto.errors import ServerUnreachableError, api_error

    try:
        answer = httpx.request(method, server.rstrip("/") + path, params=query, timeout=TIMEOUT_S)
    except httpx.TransportError as error:
        raise ServerUnreachableError(server, str(error) or type(error).__name__) from error
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = {"title": answer.text[:200]}
    raise api_error(answer.status_code, problem if isinstance(problem, dict) else {})
