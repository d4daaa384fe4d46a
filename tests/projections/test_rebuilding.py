"""A projection is made again beside the one that serves, compared with it, and swapped in without a failed read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site
from projections.rebuilding import Rebuild, RebuildRunningError
from tests.projections.conftest import Lines
from tests.projections.histories import Log, late, mixed

Follow = Callable[..., Follower]
Read = Callable[[str, str], Lines]


@pytest.fixture
def rebuild_of(site: Site) -> Iterator[Callable[..., Rebuild]]:
    begun: list[Rebuild] = []

    def begin(name: str, **changes: object) -> Rebuild:
        rebuild = Rebuild(site._replace(**changes), PROJECTIONS[name])  # type: ignore[arg-type]
        begun.append(rebuild)
        return rebuild

    yield begin
    for rebuild in begun:
        rebuild.close()


def fill(rebuild: Rebuild) -> None:
    rebuild.begin()
    while not rebuild.fill():
        pass


def exists(database: str, schema: str) -> bool:
    with psycopg.connect(database) as connection:
        query = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
        return connection.execute(query, (schema,)).fetchone() is not None


@pytest.mark.parametrize("name", PROJECTIONS)
def test_rebuilt_while_writes_go_on_it_equals_the_live_one(
    name: str, log: Log, views: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild], lines: Read
) -> None:
    commands = [*[("first", events) for events in late()], *mixed(80)]
    log.append(commands[:100])
    follower = follower_of(name, batch=50)
    follower.advance()

    def write_and_follow() -> None:
        for begin in range(100, len(commands), 5):
            log.append(commands[begin : begin + 5])
            follower.advance()

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write_and_follow)
        rounds = 0
        while rounds < 2 or not writing.done():  # Never less than once while it writes, and once after.
            rebuild = rebuild_of(name, batch=40)
            fill(rebuild)
            comparison = rebuild.compare()
            assert comparison.equal, comparison.sample
            assert comparison.live == comparison.rebuilt > 0
            assert rebuild.swap()
            rebuild.close()
            rounds += 1
        writing.result()
    while follower.advance() < log.end():
        pass
    fresh = follower_of(name, views=f"{views}_{name}")
    while fresh.advance() < log.end():
        pass
    assert lines(views, name) == lines(f"{views}_{name}", name)


def test_no_read_fails_while_it_is_swapped(
    log: Log, views: str, database: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild]
) -> None:
    log.append(mixed(16))
    follower_of("instances").advance()
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(views, "instances"))
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
    swaps = 0
    while swaps < 10:
        rebuild = rebuild_of("instances")
        fill(rebuild)
        swaps += rebuild.swap()
        rebuild.close()
    over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(counts) > 20
    assert set(counts) == {16}


def test_a_difference_is_shown_and_repaired(
    log: Log, views: str, database: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild]
) -> None:
    log.append(mixed(8))
    follower_of("instances").advance()
    table = sql.Identifier(views, "instances")
    with psycopg.connect(database) as connection:
        connection.execute(sql.SQL("UPDATE {} SET status = 'lost' WHERE id = 'i0003'").format(table))
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = 'i0004'").format(table))
    rebuild = rebuild_of("instances")
    fill(rebuild)
    comparison = rebuild.compare()
    assert not comparison.equal
    assert (comparison.live, comparison.rebuilt) == (7, 8)
    assert (comparison.only_live, comparison.only_rebuilt) == (1, 2)
    assert any(line.startswith("- (i0003,") and "lost" in line for line in comparison.sample)
    assert rebuild.swap()
    rebuild.close()
    again = rebuild_of("instances")
    fill(again)
    assert again.compare().equal


def test_what_is_not_swapped_in_leaves_nothing_behind(
    log: Log, views: str, database: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild], lines: Read
) -> None:
    log.append(mixed(8))
    follower_of("transitions").advance()
    before = lines(views, "transitions")
    rebuild = rebuild_of("transitions")
    fill(rebuild)
    assert exists(database, f"{views}_transitions")
    rebuild.close()
    assert not exists(database, f"{views}_transitions")
    assert lines(views, "transitions") == before


def test_one_that_was_cut_short_is_begun_anew(
    log: Log, follower_of: Follow, rebuild_of: Callable[..., Rebuild], views: str, lines: Read
) -> None:
    log.append(mixed(8))
    follower_of("transitions").advance()
    abandoned = follower_of("transitions", views=f"{views}_transitions", batch=7)  # What a crash would leave.
    abandoned.advance()
    rebuild = rebuild_of("transitions")
    fill(rebuild)
    assert rebuild.compare().equal
    assert rebuild.swap()


def test_two_do_not_rebuild_the_same_one(
    log: Log, follower_of: Follow, rebuild_of: Callable[..., Rebuild], views: str, database: str
) -> None:
    log.append(mixed(8))
    for name in ("instances", "transitions"):
        follower_of(name).advance()
    first, second, other = rebuild_of("instances"), rebuild_of("instances"), rebuild_of("transitions")
    fill(first)
    with pytest.raises(RebuildRunningError, match="instances"):
        second.begin()
    second.close()
    assert exists(database, f"{views}_instances"), "the loser must not take the winner's work with it"
    fill(other)
    assert first.swap()


def test_a_long_read_makes_the_swap_wait_and_is_not_disturbed(
    log: Log,
    views: str,
    database: str,
    follower_of: Follow,
    rebuild_of: Callable[..., Rebuild],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projections.rebuilding.LOCK_TIMEOUT", "20ms")
    log.append(mixed(8))
    follower_of("instances").advance()
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(views, "instances"))
    rebuild = rebuild_of("instances")
    fill(rebuild)
    with psycopg.connect(database) as reader:
        assert reader.execute(query).fetchone() == (8,)
        assert not rebuild.swap()
        assert reader.execute(query).fetchone() == (8,)
    assert rebuild.swap()


def test_the_live_one_goes_on_from_where_the_new_one_stands(
    log: Log, views: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild], lines: Read
) -> None:
    commands = mixed(16)
    log.append(commands[:30])
    follower = follower_of("step_executions")
    follower.advance()
    rebuild = rebuild_of("step_executions")
    fill(rebuild)
    log.append(commands[30:60])
    follower.advance()  # The live one has moved on since the new one was filled.
    assert rebuild.swap()
    log.append(commands[60:])
    while follower.advance() < log.end():
        pass
    fresh = follower_of("step_executions", views=f"{views}_step_executions")
    while fresh.advance() < log.end():
        pass
    assert lines(views, "step_executions") == lines(f"{views}_step_executions", "step_executions")
    assert follower.prepare(), "a restart must not take it for another release's"


def test_who_may_read_the_live_one_may_read_the_new_one(
    log: Log, views: str, database: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild]
) -> None:
    """A grant is the operator's: a rebuild must not take it away."""
    log.append(mixed(8))
    follower_of("transitions").advance()
    reader, table = sql.Identifier(f"reader_{views}"), sql.Identifier(views, "transitions")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(reader))
        try:
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, reader))
            rebuild = rebuild_of("transitions")
            fill(rebuild)
            assert rebuild.swap()
            allowed = "SELECT has_table_privilege(%s, %s, 'SELECT'), has_table_privilege(%s, %s, 'DELETE')"
            names = (f"reader_{views}", f"{views}.transitions") * 2
            assert connection.execute(allowed, names).fetchone() == (True, False)
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(reader))
            connection.execute(sql.SQL("DROP ROLE {}").format(reader))


def test_whose_the_live_one_is_theirs_is_the_new_one(
    log: Log, views: str, database: str, follower_of: Follow, rebuild_of: Callable[..., Rebuild]
) -> None:
    """The server runs under a role of its own; an administrator's rebuild must not lock it out."""
    log.append(mixed(8))
    follower_of("transitions").advance()
    role, table = sql.Identifier(f"server_{views}"), sql.Identifier(views, "transitions")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, role))
            rebuild = rebuild_of("transitions")
            fill(rebuild)
            assert rebuild.swap()
            owner = "SELECT tableowner FROM pg_tables WHERE schemaname = %s AND tablename = 'transitions'"
            assert connection.execute(owner, (views,)).fetchone() == (f"server_{views}",)
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
