"""`tenuto_v1`: views that say what the log says, outlive rebuilds, and are all that a reader may see."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from domain.history import step_executions, timed
from domain.times import rfc3339
from engine.store.statements import SCHEMA
from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site
from projections.process import RealClock
from projections.published import DIGEST, TABLES
from projections.rebuilding import Rebuild
from projections.remote import RemoteRunner
from tests.projections.histories import Log, late, mixed
from tests.projections.test_follower import story_of
from tests.projections.test_remote import PATIENCE, until

ROOT = Path(__file__).parents[2]
VIEWS = (
    "alerts",
    "audit",
    "deadlines",
    "definition_statistics",
    "definitions",
    "events",
    "instances",
    "queues",
    "step_executions",
    "timers",
    "transitions",
    "waits",
)
REFUSED: tuple[LiteralString, ...] = (
    "SELECT * FROM {log}.stored_events",
    "SELECT * FROM {log}.settings",
    "SELECT * FROM {log}.owed",
    "SELECT * FROM {views}.instances",
    "INSERT INTO {log}.stored_events VALUES ('x', 1, 'Paused', '{{}}', 1)",
    "UPDATE {log}.stored_events SET topic = 'Paused'",
    "DELETE FROM {log}.stored_events",
    "UPDATE {views}.instances SET status = 'completed'",
    "TRUNCATE {views}.instances",
    "UPDATE {v1}.instances SET status = 'completed'",
    "INSERT INTO {v1}.alerts (instance) VALUES ('x')",
    "DELETE FROM {v1}.transitions",
    "DROP VIEW {v1}.alerts",
    "CREATE TABLE {v1}.mine (x int)",
    "CREATE TABLE {log}.mine (x int)",
)
Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def log(database: str) -> Iterator[Log]:
    """A log as the engine installs it, in a schema of its own."""
    name = f"shard_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(name)))
        connection.execute(SCHEMA)
        yield Log(database, name, make=False)
        for each in (name, f"{name}_v1"):
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(each)))


@pytest.fixture
def v1(log: Log) -> str:
    return f"{log.schema}_v1"


@pytest.fixture
def site(log: Log, views: str, v1: str) -> Site:
    return Site(log.database, (log.schema, "stored_events"), views, published=v1)


@pytest.fixture
def followers(log: Log, follower_of: Callable[..., Follower]) -> list[Follower]:
    """All of them at the end of a log of everything."""
    end = log.append([*mixed(20), *[("i9999", events) for events in late()]])
    found = [follower_of(name) for name in PROJECTIONS]
    for follower in found:
        while follower.advance() < end:
            pass
    return found


@pytest.fixture
def ask(database: str, v1: str) -> Ask:
    def asked(query: LiteralString, *parameters: Any, view: str = "events") -> list[tuple[Any, ...]]:
        names = {"v1": sql.Identifier(v1), "view": sql.Identifier(v1, view)}
        text = sql.SQL(query).format(**names)
        with psycopg.connect(database) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            return connection.execute(text, parameters).fetchall()

    return asked


@pytest.mark.usefixtures("followers")
def test_every_view_can_be_read_and_is_on_the_page(ask: Ask, v1: str) -> None:
    found = ask("SELECT table_name FROM information_schema.views WHERE table_schema = %s ORDER BY 1", v1)
    assert tuple(name for (name,) in found) == VIEWS
    page = (ROOT / "docs/reference/sql.md").read_text()
    for view in VIEWS:
        ask("SELECT * FROM {view}", view=view)
        columns = ask(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            v1,
            view,
        )
        (section,) = [part for part in page.split("\n## ") if part.startswith(f"{view}\n")]
        assert [name for (name,) in columns if f"`{name}`" not in section] == [], view


async def test_the_process_that_follows_the_log_publishes_them(
    log: Log, views: str, v1: str, ask: Ask
) -> None:
    """A server's projections run in a process of their own, so that has to be told where the views go."""
    runner = RemoteRunner(log.database, log=log.schema, views=views, clock=RealClock(), published=v1)
    runner.start()
    async with asyncio.timeout(PATIENCE):
        await until(lambda: all(one.condition == "following" for one in runner.status()))
    await runner.stop()
    found = ask("SELECT table_name FROM information_schema.views WHERE table_schema = %s ORDER BY 1", v1)
    assert tuple(name for (name,) in found) == VIEWS


@pytest.mark.usefixtures("followers")
def test_every_event_has_the_time_and_the_actor_of_its_stimulus(ask: Ask, log: Log) -> None:
    for stream in ("i0000", "i0003", "i0006", "i9999"):
        told = ask(
            "SELECT version, at, actor, type FROM {v1}.events WHERE instance = %s ORDER BY version", stream
        )
        history = timed(story_of(log, stream))
        assert told == [(it.version, it.at, it.actor, type(it.event).__name__) for it in history]


@pytest.mark.usefixtures("followers")
def test_a_step_execution_has_its_attempts(ask: Ask, log: Log) -> None:
    (retried,) = [it for it in step_executions(timed(story_of(log, "i0002"))) if it.execution == "ship#1"]
    ((attempts,),) = ask(
        "SELECT attempts FROM {v1}.step_executions WHERE instance = 'i0002' AND execution = 'ship#1'"
    )
    assert [(one["attempt"], one["worker"], (one["error"] or {}).get("type")) for one in attempts] == [
        (one.attempt, one.worker, one.error.type if one.error else None) for one in retried.attempts
    ]
    ((started,),) = ask(
        "SELECT (attempts -> 1 ->> 'started_at')::timestamptz FROM {v1}.step_executions"
        " WHERE instance = 'i0002' AND execution = 'ship#1'"
    )
    assert rfc3339(started) == retried.attempts[1].started_at


@pytest.mark.parametrize("name", TABLES)
def test_views_grants_and_what_others_built_on_them_outlive_a_rebuild(
    name: str, log: Log, site: Site, v1: str, ask: Ask, followers: list[Follower], database: str
) -> None:
    role = sql.Identifier(f"r_{secrets.token_hex(4)}")
    mine = sql.Identifier(v1, "mine")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(v1, name), role))
        connection.execute(
            sql.SQL("CREATE VIEW {} AS SELECT count(*) FROM {}").format(mine, sql.Identifier(v1, name))
        )
        before = ask("SELECT * FROM {view} ORDER BY 1, 2, 3, 4, 5", view=name)
        rebuild = Rebuild(site, PROJECTIONS[name])
        rebuild.begin()
        while not rebuild.fill():
            pass
        assert rebuild.swap()
        rebuild.close()
        assert ask("SELECT * FROM {view} ORDER BY 1, 2, 3, 4, 5", view=name) == before
        assert before or name == "queues"  # Of whom it shows the last five minutes only.
        assert ask("SELECT * FROM {v1}.mine") == [(len(before),)]
        allowed = connection.execute(
            "SELECT has_table_privilege(%s, %s, 'SELECT')", (role.as_string()[1:-1], f"{v1}.{name}")
        ).fetchone()
        assert allowed == (True,)
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE; DROP ROLE {}").format(role, role))


def test_no_read_of_a_view_fails_while_its_tables_are_swapped(
    site: Site, v1: str, followers: list[Follower], database: str
) -> None:
    """`waits` stands on two projections and on what is owed."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(v1, "waits"))
    over = threading.Event()
    counts: list[int] = []
    failures: list[Exception] = []

    def read(prepare: bool) -> None:
        try:
            with psycopg.connect(database, autocommit=True) as connection:
                while not over.is_set():
                    row: tuple[int] | None = connection.execute(query, prepare=prepare).fetchone()
                    counts.append(row[0] if row else -1)
        except psycopg.Error as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(prepare,)) for prepare in (True, False)]
    for reader in readers:
        reader.start()
    for name in ("step_executions", "instances") * 4:
        rebuild = Rebuild(site, PROJECTIONS[name])
        rebuild.begin()
        while not rebuild.fill():
            pass
        while not rebuild.swap():
            pass
        rebuild.close()
    over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(set(counts)) == 1
    assert len(counts) > 10


@pytest.mark.usefixtures("followers")
def test_they_are_made_again_only_when_a_release_has_others(
    site: Site, v1: str, database: str, follower_of: Callable[..., Follower]
) -> None:
    identity = sql.SQL("SELECT xmin FROM pg_class WHERE oid = {}::regclass").format(
        sql.Literal(f"{v1}.alerts")
    )
    with psycopg.connect(database, autocommit=True) as connection:
        comment = "SELECT obj_description(%s::regnamespace, 'pg_namespace')"
        assert connection.execute(comment, (v1,)).fetchone() == (DIGEST,)
        before = connection.execute(identity).fetchone()
        follower_of("alerts")
        assert connection.execute(identity).fetchone() == before
        connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS 'older'").format(sql.Identifier(v1)))
        follower_of("alerts")
        assert connection.execute(comment, (v1,)).fetchone() == (DIGEST,)


def test_tables_of_an_earlier_release_give_way_to_views(
    log: Log,
    site: Site,
    v1: str,
    database: str,
    followers: list[Follower],
    follower_of: Callable[..., Follower],
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(v1)))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(v1)))
        for table in ("instances", "positions"):
            connection.execute(sql.SQL("CREATE TABLE {} (id text)").format(sql.Identifier(v1, table)))
    follower_of("instances")
    query = "SELECT relname, relkind FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v')"
    with psycopg.connect(database) as connection:
        found: dict[str, str] = dict(connection.execute(query, (v1,)).fetchall())
    assert tuple(sorted(found)) == VIEWS
    assert set(found.values()) == {"v"}


def reader_statements(v1: str, role: str) -> str:
    """What the page says, for this schema and role."""
    page = (ROOT / "docs/how-to/ask-with-sql.md").read_text()
    (block,) = [part.partition("```")[0] for part in page.split("```sql\n") if part.startswith("CREATE ROLE")]
    return block.replace("tenuto_v1", v1).replace("tenuto_reader", role)


@pytest.mark.usefixtures("followers")
def test_the_readers_role_reads_the_views_and_nothing_else(
    log: Log, views: str, v1: str, database: str
) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(reader_statements(v1, role).encode())
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        names = {"log": log.schema, "views": views, "v1": v1}
        for view in VIEWS:
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(v1, view)))
        for refused in REFUSED:
            statement = sql.SQL(refused).format(**{key: sql.Identifier(name) for key, name in names.items()})
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("RESET ROLE")
        connection.execute(
            sql.SQL("DROP OWNED BY {} CASCADE; DROP ROLE {}").format(*[sql.Identifier(role)] * 2)
        )
