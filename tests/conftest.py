"""One PostgreSQL for the whole test run, one database per worker, one schema per test that asks for one.

`TENUTO_TEST_DATABASE_URL` names a server to use (a superuser's URI); otherwise one is started in the temp
area. Under pytest-xdist the controller owns it, because it outlives every worker; without, the first test
that needs it starts it. Only here fsync is off: server and data are thrown away at the end of the run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from engine.embedded_postgres import EmbeddedPostgres

# Chosen by mutmut, which runs a test many times in one process, slowly (pyproject.toml).
settings.register_profile(
    "mutmut", deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "100"}


class TestServer:
    """The run's PostgreSQL: started when it is first asked for, removed when the run ends."""

    __test__ = False

    def __init__(self, uri: str | None) -> None:
        self._uri = uri
        self._embedded: EmbeddedPostgres | None = None

    @property
    def uri(self) -> str:
        if self._uri is None:
            home = Path(tempfile.mkdtemp(prefix="tenuto-tests-"))
            self._embedded = EmbeddedPostgres(home, settings=SETTINGS)
            self._uri = self._embedded.start()
        return self._uri

    def remove(self) -> None:
        if self._embedded is not None:
            self._embedded.stop()
            shutil.rmtree(self._embedded.home)
            self._embedded = self._uri = None


SERVER = pytest.StashKey[TestServer]()


def pytest_configure(config: pytest.Config) -> None:
    handed_down: dict[str, Any] = getattr(config, "workerinput", {})  # only workers have one
    config.stash[SERVER] = TestServer(
        handed_down.get("postgres_uri") or os.environ.get("TENUTO_TEST_DATABASE_URL")
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by pytest-xdist in the controller, for each worker before it starts."""
    node.workerinput["postgres_uri"] = node.config.stash[SERVER].uri


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[SERVER].remove()


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URI of a database that only this worker uses; it is dropped at the end of the run."""
    server = pytestconfig.stash[SERVER].uri
    name = f"tenuto_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def schema(database: str) -> Iterator[str]:
    """The name of a new, empty schema in `database`; dropped afterwards with all that is in it."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
