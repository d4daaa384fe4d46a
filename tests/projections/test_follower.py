"""Each projection says what the log says, exactly once, wherever a batch is cut and whenever it is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import Cursor, sql
from psycopg.rows import dict_row

from domain.codec import decode, encode
from domain.errors import CorruptHistoryError
from domain.events import DefinitionDeployed, Event, StatusChanged
from domain.evolve import evolve
from domain.history import current_step, step_executions, timed, transitions, waiting_for_of
from domain.state import State
from domain.times import rfc3339
from projections.catalogue import PROJECTIONS
from projections.follower import Follower, ShapeChangedError
from projections.log import Logged, UnreadableEventError
from projections.projection import Projection
from projections.step_executions import execution_of, read_row, row_of
from tests.projections.conftest import Lines
from tests.projections.histories import (
    STORIES,
    Command,
    Log,
    after,
    claimed,
    command,
    happy,
    late,
    mixed,
    resolved,
    scheduled,
    skipped,
    started,
    status,
    stuck,
)

Follow = Callable[..., Follower]
Read = Callable[[str, str], Lines]


def follow_all(follower: Follower, log: Log) -> None:
    end = log.end()
    while follower.advance() < end:
        pass


def rows(log: Log, views: str, table: str, **where: str) -> list[dict[str, Any]]:
    query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(views, table))
    for column, value in where.items():
        query = sql.SQL("{} WHERE {} = {}").format(query, sql.Identifier(column), value)
    with psycopg.connect(log.database, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def rows_of(log: Log, views: str, follower: Follower, name: str, upto: int) -> list[dict[str, Any]]:
    """Its rows once it has applied all up to that position."""
    assert follower.advance() == upto
    return rows(log, views, name)


def story_of(log: Log, stream: str) -> list[tuple[int, Event]]:
    return [(version, decode(topic, payload)) for version, topic, payload in log.events(stream)]


def state_of(log: Log, stream: str) -> State:
    state = State(id=stream)
    for _, event in story_of(log, stream):
        evolve(state, event)
    return state


@pytest.mark.parametrize("story", [*STORIES, skipped, resolved], ids=lambda story: story.__name__)
def test_an_instance_row_is_what_the_domain_folds_after_every_command(
    story: Callable[[], list[Command]], log: Log, views: str, follower_of: Follow
) -> None:
    follower = follower_of("instances")
    for events in story():
        log.append([("i1", events)])
        follow_all(follower, log)
        (row,) = rows(log, views, "instances")
        state = state_of(log, "i1")
        assert row["event_version"] == state.version
        assert row["waiting_for"] == waiting_for_of(state)
        assert row["current_step"] == current_step(state)
        same = (
            "status",
            "outcome",
            "business_status",
            "paused",
            "priority",
            "result",
            "correlation_id",
            "labels",
        )
        assert {name: row[name] for name in same} == {name: getattr(state, name) for name in same}
        times = ("created_at", "started_at", "ended_at", "timeout_at")
        assert {name: row[name] for name in times} == {name: getattr(state, name) for name in times}
        assert (row["error"] or {}).get("type") == (state.error.type if state.error else None)
        assert row["updated_at"] == state.now


def test_a_transition_row_is_a_transition_of_the_history(log: Log, views: str, follower_of: Follow) -> None:
    log.append(mixed(16))
    follow_all(follower_of("transitions"), log)
    for stream in {row["instance"] for row in rows(log, views, "transitions")}:
        told = [
            (
                row["version"],
                row["from_status"],
                row["to_status"],
                row["reason"],
                row["actor"],
                rfc3339(row["at"]),
            )
            for row in sorted(
                rows(log, views, "transitions", instance=stream), key=lambda row: row["position"]
            )
        ]
        history = transitions(timed(story_of(log, stream)))
        assert told == [
            (it.version, it.from_status, it.to, it.reason, it.actor, it.timestamp) for it in history
        ]


def test_a_step_execution_row_is_an_execution_of_the_history(
    log: Log, views: str, follower_of: Follow
) -> None:
    log.append(mixed(16))
    follower = follower_of("step_executions", batch=5)
    follow_all(follower, log)
    found = follower.projection.statements["rows"]
    with follower.connection.cursor() as cursor:
        for stream in {row["instance"] for row in rows(log, views, "step_executions")}:
            history = step_executions(timed(story_of(log, stream)))
            names = [execution.execution for execution in history]
            asked = {"instances": [stream] * len(names), "executions": names, "ended": []}
            texts = [text for (text,) in cursor.execute(found, asked).fetchall()]
            told = {row.execution: row_of(stream, execution_of(row)) for row in map(read_row, texts)}
            assert told == {execution.execution: row_of(stream, execution) for execution in history}


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_it_does_not_matter_where_batches_are_cut(
    name: str, batch: int, log: Log, views: str, follower_of: Follow, lines: Read
) -> None:
    log.append(mixed(24))
    follow_all(follower_of(name, views=f"{views}_{name}"), log)
    follow_all(follower_of(name, batch=batch), log)
    assert lines(views, name) == lines(f"{views}_{name}", name)
    assert lines(views, name)


def test_a_consequence_in_the_next_batch_has_the_time_and_the_actor_of_its_stimulus(
    log: Log, views: str, follower_of: Follow
) -> None:
    log.append([("i1", events) for events in stuck()])
    follow_all(follower_of("transitions", batch=1), log)
    (back,) = rows(log, views, "transitions", reason="retried")
    assert (back["at"], back["actor"]) == (after(100), "bob")


class KilledError(Exception):
    pass


class Dying:
    """A projection whose process is killed in the middle of the batches whose numbers are given."""

    def __init__(self, inner: Projection, deaths: set[int]) -> None:
        self.name, self.wanted, self.statements = inner.name, inner.wanted, inner.statements
        self._inner = inner
        self._deaths = deaths
        self._batches = 0

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        self._inner.apply(cursor, events)
        self._batches += 1
        if self._batches in self._deaths:
            raise KilledError


@pytest.mark.parametrize("name", PROJECTIONS)
def test_killed_in_any_batch_it_has_applied_every_event_once(
    name: str, log: Log, views: str, follower_of: Follow, lines: Read
) -> None:
    log.append(mixed(8))
    follow_all(follower_of(name, views=f"{views}_{name}"), log)
    deaths = set(range(1, 60, 2))
    follower = follower_of(
        name, factory=lambda schema, table: Dying(PROJECTIONS[name](schema, table), deaths), batch=4
    )
    killed = 0
    while follower.place().position < log.end():
        try:
            follower.advance()
        except KilledError:
            killed += 1
            follower.close()  # The next process begins with nothing but the database.
    assert killed > 10
    assert lines(views, name) == lines(f"{views}_{name}", name)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_two_processes_that_follow_at_once_apply_every_event_once(
    name: str, log: Log, views: str, follower_of: Follow, lines: Read
) -> None:
    log.append(mixed(40))
    follow_all(follower_of(name, views=f"{views}_{name}"), log)
    pair = [follower_of(name, batch=3), follower_of(name, batch=4)]
    threads = [threading.Thread(target=follow_all, args=(follower, log)) for follower in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines(views, name) == lines(f"{views}_{name}", name)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_an_event_that_this_release_does_not_know_stops_it_after_those_before(
    name: str, log: Log, views: str, follower_of: Follow
) -> None:
    known = log.append([("i1", happy()[0])])
    before = rows_of(log, views, follower_of(name), name, known)
    log.append_raw([("i1", 99, "StepTeleported", b'{"at":"2026-11-23T12:00:00Z"}')])
    log.append([("i2", happy()[0])])
    follower = follower_of(name)
    for _ in range(2):
        with pytest.raises(UnreadableEventError, match="StepTeleported") as stopped:
            follower.advance()
        assert stopped.value.details["position"] == known + 1
        assert follower.place().position == known
    assert len(rows(log, views, "positions")) == 1
    assert rows(log, views, name) == before


def test_a_payload_that_is_no_event_stops_it(log: Log, follower_of: Follow) -> None:
    log.append_raw([("i1", 1, "InstanceStarted", b'{"at":"2026-11-23T12:00:00Z","namespace":7}')])
    with pytest.raises(UnreadableEventError, match="InstanceStarted"):
        follower_of("instances").advance()


def test_a_log_that_begins_in_the_middle_of_a_command_stops_it(log: Log, follower_of: Follow) -> None:
    log.append_raw([("i1", 1, "Paused", b"{}")])
    with pytest.raises(UnreadableEventError, match="no stimulus"):
        follower_of("instances").advance()


@pytest.mark.parametrize("name", ["audit", "instances", "transitions"])
def test_an_instance_that_never_started_is_corruption(name: str, log: Log, follower_of: Follow) -> None:
    change = StatusChanged(from_status="pending", to="running", reason="started")
    log.append([("i1", command(0, change))])
    with pytest.raises(CorruptHistoryError, match="never started"):
        follower_of(name).advance()


@pytest.mark.parametrize("name", sorted(PROJECTIONS.keys() - {"audit"}))
def test_streams_of_definitions_are_passed_over(name: str, log: Log, views: str, follower_of: Follow) -> None:
    deployed = DefinitionDeployed(
        namespace="default", name="order", version="1", hash="abc", source="…", document={"name": "order"}
    )
    log.append([("definition/default/order", command(0, deployed))])
    follow_all(follower_of(name), log)
    assert rows(log, views, name) == []


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_nul_that_got_into_the_log_stops_nothing(
    name: str, log: Log, views: str, follower_of: Follow
) -> None:
    story = happy(correlation_id="a\0b", labels={"k\0": "\\\0"}, input={"text": "\0"})
    story[-1][-1].result = {"note": "x\0", "kept": "\\u0000"}  # type: ignore[attr-defined]
    story[-1][-1].reason = "be\0cause"
    story[1][0].worker = "w\0"  # type: ignore[attr-defined]
    log.append([("i1", events) for events in [*story, command(5, *late()[0][2:4]), *late()[3:]]])
    assert b"\\u0000" in encode(story[0][0])
    follow_all(follower_of(name), log)
    found = rows(log, views, name)
    assert found
    if name == "instances":
        assert found[0]["correlation_id"] == "a�b"
        assert found[0]["labels"] == {"k�": "\\�"}
        assert found[0]["result"] == {"note": "x�", "kept": "\\u0000"}


@pytest.mark.parametrize("name", ["instances", "transitions", "words", "definition_statistics", "queues"])
def test_values_longer_than_an_index_entry_stop_nothing(
    name: str, log: Log, views: str, follower_of: Follow
) -> None:
    long = "".join(f"{number:x}" for number in range(20_000))
    begin = started(correlation_id=long, definition=long, labels={"long": long}, input={"text": long})
    change = status("pending", "running", "started")
    queued = scheduled("charge#1", queue=long)
    log.append([("i1", command(0, begin, change, queued)), ("i1", command(1, claimed("charge#1")))])
    follow_all(follower_of(name), log)
    found = rows(log, views, name)
    assert found
    if name == "instances":
        assert found[0]["correlation_id"] == long


def test_numbers_of_a_result_survive_the_batches_after_it(log: Log, views: str, follower_of: Follow) -> None:
    story = happy()
    story[-1][-1].result = {"huge": 1e23, "tiny": 1e-7, "whole": 2**63 - 1, "one": 1.0}  # type: ignore[attr-defined]
    log.append([("i1", events) for events in story])
    follower = follower_of("instances", batch=1)
    follow_all(follower, log)
    (before,) = rows(log, views, "instances")
    log.append([("i1", command(90, happy()[1][0]))])  # Whatever comes after the end.
    follow_all(follower, log)
    (row,) = rows(log, views, "instances")
    assert row["result"] == before["result"]
    assert row["event_version"] == before["event_version"] + 1


def test_a_table_that_another_release_has_rebuilt_is_not_written_to(
    log: Log, views: str, follower_of: Follow
) -> None:
    log.append(mixed(4))
    follower = follower_of("instances")
    with psycopg.connect(log.database) as connection:
        query = sql.SQL("UPDATE {} SET shape = 'newer'").format(sql.Identifier(views, "positions"))
        connection.execute(query)
    with pytest.raises(ShapeChangedError, match="instances"):
        follower.advance()
    assert rows(log, views, "instances") == []


def test_reading_stops_at_the_bytes_that_a_batch_may_hold(
    log: Log, follower_of: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.log.MAX_BATCH_BYTES", 1)
    log.append([("i1", events) for events in happy()])
    follower = follower_of("instances")
    assert [follower.advance() for _ in range(3)] == [1, 2, 3]
