"""What every store answers, whatever it is made of: each test runs on memory and on PostgreSQL.

At the end, both are given the same random operations, and must give the same answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import LimitExceededError, TenutoError
from domain.state import STATE_VERSION
from engine.clock import ManualClock
from engine.ports import (
    Batch,
    ClientCommand,
    DuplicateCommandError,
    OwedRow,
    Recorded,
    Session,
    Snapshot,
    Store,
    VersionConflictError,
)
from engine.store import MemoryStore, PostgresStore
from engine.store.admission import LONGEST_TEXT, UnstorableTextError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(ManualClock(NOON))
        return
    opened = await PostgresStore.open(
        request.getfixturevalue("database"), schema=request.getfixturevalue("schema")
    )
    yield opened
    await opened.close()


def after_noon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(stream: str, version: int, payload: bytes = b"{}") -> Recorded:
    return Recorded(stream, version, "StepCompleted", payload)


def events(stream: str, *versions: int) -> list[Recorded]:
    return [event(stream, version) for version in versions]


def invoke(instance: str, key: str = "ship#1", **fields: Any) -> OwedRow:
    usual: dict[str, Any] = {"queue": "parcels", "due_at": NOON, "action": "ship", "attempt": 1}
    return OwedRow(namespace="default", instance=instance, key=key, kind="invoke", **usual | fields)


def leased(instance: str, session: str | None, key: str = "ship#1", **fields: Any) -> OwedRow:
    return OwedRow(namespace="default", instance=instance, key=key, kind="await", session=session, **fields)


def listen(instance: str, correlation_key: str, signal: str | None = None, **fields: Any) -> OwedRow:
    fields = {"namespace": "default", "key": "@instance"} | fields
    return OwedRow(instance=instance, kind="listen", correlation_key=correlation_key, signal=signal, **fields)


def command(key: str, namespace: str = "default", instance: str = "a") -> ClientCommand:
    return ClientCommand(
        namespace=namespace, key=key, body_hash="b1946ac9", instance=instance, version=3, at=NOON
    )


async def owe(store: Store, *rows: OwedRow) -> None:
    await store.append(Batch(owe=list(rows)))


def names(rows: list[OwedRow]) -> list[tuple[str, str]]:
    return [(row.instance, row.key) for row in rows]


# Appending and reading the log -----------------------------------------------


async def test_what_was_appended_is_read_back_byte_for_byte(store: Store) -> None:
    payload = '{"city":"Zürich","blob":"\\\\u0000 is no NUL"}'.encode()
    first = Recorded("a", 1, "InstanceStarted", payload)
    positions = await store.append(Batch(events=[first, *events("a", 2)]))
    read = await store.read("a")
    assert [(e.stream, e.version, e.topic, e.payload) for e in read] == [
        ("a", 1, "InstanceStarted", payload),
        ("a", 2, "StepCompleted", b"{}"),
    ]
    assert [e.position for e in read] == positions


async def test_positions_follow_the_order_of_appends_and_of_the_events_within_one(store: Store) -> None:
    mixed = [event("b", 1), event("a", 1), event("b", 2), event("a", 2)]
    positions = await store.append(Batch(events=mixed))
    positions += await store.append(Batch(events=events("c", 1)))
    assert positions == sorted(set(positions))
    by_place = {(e.stream, e.version): e.position for s in "abc" for e in await store.read(s)}
    assert [by_place[e.stream, e.version] for e in mixed] == positions[:4]


async def test_an_empty_batch_changes_nothing(store: Store) -> None:
    assert await store.append(Batch()) == []


async def test_reading_takes_a_range_of_versions_and_a_limit(store: Store) -> None:
    await store.append(Batch(events=events("a", 1, 2, 3, 4, 5)))

    async def versions(**limits: int) -> list[int]:
        return [e.version for e in await store.read("a", **limits)]

    assert await versions() == [1, 2, 3, 4, 5]
    assert await versions(after=2) == [3, 4, 5]
    assert await versions(upto=2) == [1, 2]
    assert await versions(after=1, upto=4, limit=2) == [2, 3]
    assert await versions(after=5) == []
    assert await versions(limit=0) == []
    assert await store.read("unknown") == []


async def test_versions_are_the_newest_and_zero_for_an_unknown_stream(store: Store) -> None:
    await store.append(Batch(events=events("a", 1, 2, 3)))
    await store.append(Batch(events=events("b", 1)))
    assert await store.versions(["a", "b", "c"]) == {"a": 3, "b": 1, "c": 0}


async def test_streams_are_listed_by_prefix_in_byte_order_page_by_page(store: Store) -> None:
    ids = ["@definition/b", "@definition/a", "0-b", "0-B", "0-ä", "0-%", "1-a"]
    await store.append(Batch(events=[event(i, v) for i in ids for v in (1, 2)]))
    assert await store.streams("0-") == ["0-%", "0-B", "0-b", "0-ä"]
    assert await store.streams("0-", limit=2) == ["0-%", "0-B"]
    assert await store.streams("0-", after="0-B", limit=2) == ["0-b", "0-ä"]
    assert await store.streams("@definition/") == ["@definition/a", "@definition/b"]
    assert await store.streams("0-%") == ["0-%"]
    assert await store.streams("") == sorted(ids)


# Conflicts -------------------------------------------------------------------


async def test_a_version_that_is_taken_is_a_conflict_and_nothing_of_the_batch_is_stored(store: Store) -> None:
    await store.append(Batch(events=events("a", 1), owe=[invoke("a")]))
    with pytest.raises(VersionConflictError) as conflict:
        await store.append(
            Batch(
                events=[*events("b", 1), *events("a", 1, 2)],
                owe=[invoke("b")],
                withdraw=[("a", "ship#1")],
                client_commands=[command("k")],
            )
        )
    assert conflict.value.details == {"streams": ["a"]}
    assert await store.versions(["a", "b"]) == {"a": 1, "b": 0}
    assert names(await store.owed_of(["a", "b"])) == [("a", "ship#1")]
    assert await store.client_commands("default", ["k"]) == {}


@pytest.mark.parametrize("versions", [[3], [2], [2, 3]])
async def test_a_hole_in_a_stream_is_a_conflict_too(store: Store, versions: list[int]) -> None:
    await store.append(Batch(events=events("full", 1)))
    with pytest.raises(VersionConflictError) as conflict:
        await store.append(Batch(events=[*events("full", 2), *events("a", *versions)]))
    assert conflict.value.details == {"streams": ["a"]}
    assert await store.versions(["a", "full"]) == {"a": 0, "full": 1}


@pytest.mark.parametrize("versions", [[1, 1], [1, 3], [2, 1], [0, 1]])
async def test_versions_within_a_batch_count_up_by_one(store: Store, versions: list[int]) -> None:
    with pytest.raises(VersionConflictError):
        await store.append(Batch(events=events("a", *versions)))
    assert await store.read("a") == []


async def test_streams_whose_ids_look_alike_are_told_apart_in_a_conflict(store: Store) -> None:
    ids = ["a, 1", "a", "(a", "a)", "a, 11"]
    await store.append(Batch(events=[event("a", 1)]))
    with pytest.raises(VersionConflictError) as conflict:
        await store.append(Batch(events=[event(each, 1) for each in ids]))
    assert conflict.value.details == {"streams": ["a"]}


async def test_a_client_key_that_is_recorded_is_refused_with_the_whole_batch(store: Store) -> None:
    await store.append(Batch(events=events("a", 1), client_commands=[command("k1")]))
    with pytest.raises(DuplicateCommandError) as duplicate:
        await store.append(
            Batch(
                events=events("b", 1),
                owe=[invoke("b")],
                client_commands=[command("k2"), command("k1", instance="b")],
            )
        )
    assert duplicate.value.details == {"keys": ["k1"]}
    assert await store.versions(["b"]) == {"b": 0}
    assert await store.owed_of(["b"]) == []
    assert await store.client_commands("default", ["k1", "k2"]) == {"k1": command("k1")}


async def test_a_client_key_may_stand_only_once_in_a_batch(store: Store) -> None:
    with pytest.raises(DuplicateCommandError):
        await store.append(Batch(client_commands=[command("k"), command("k", instance="b")]))
    assert await store.client_commands("default", ["k"]) == {}


async def test_client_keys_are_a_namespaces_own(store: Store) -> None:
    await store.append(Batch(client_commands=[command("k")]))
    await store.append(Batch(client_commands=[command("k", namespace="other", instance="z")]))
    assert (await store.client_commands("other", ["k"]))["k"].instance == "z"
    assert await store.client_commands("third", ["k"]) == {}


async def test_after_a_conflict_the_store_goes_on(store: Store) -> None:
    await store.append(Batch(events=events("a", 1)))
    for _ in range(3):
        with pytest.raises(VersionConflictError):
            await store.append(Batch(events=events("a", 1)))
    await store.append(Batch(events=events("a", 2)))
    assert await store.versions(["a"]) == {"a": 2}


async def test_of_many_writers_of_one_version_exactly_one_wins(store: Store) -> None:
    async def write(writer: int) -> bool:
        try:
            await store.append(Batch(events=[event("a", 1, b"%d" % writer)]))
        except VersionConflictError:
            return False
        return True

    won = await asyncio.gather(*map(write, range(10)))
    assert sum(won) == 1
    assert [e.payload for e in await store.read("a")] == [b"%d" % won.index(True)]


# What no database can hold ---------------------------------------------------

BAD_TEXTS = ["nul\0", "\udc80", "\ud800 and more"]


@pytest.mark.parametrize("bad", BAD_TEXTS)
async def test_text_that_cannot_be_stored_is_refused_before_anything_is(store: Store, bad: str) -> None:
    good = events("a", 1)
    refused = [
        Batch(events=[*good, event(bad, 1)]),
        Batch(events=[*good, Recorded("b", 1, bad, b"{}")]),
        Batch(events=good, owe=[invoke("a", key=bad)]),
        Batch(events=good, owe=[invoke("a", action=bad)]),
        Batch(events=good, withdraw=[("a", bad)]),
        Batch(events=good, client_commands=[command(bad)]),
    ]
    for batch in refused:
        with pytest.raises(UnstorableTextError):
            await store.append(batch)
    assert await store.versions(["a"]) == {"a": 0}
    await store.append(Batch(events=good))


@pytest.mark.parametrize("bad", BAD_TEXTS)
async def test_asking_for_what_cannot_be_stored_is_refused(store: Store, bad: str) -> None:
    questions = [
        store.load([bad]),
        store.read(bad),
        store.versions([bad]),
        store.streams(bad),
        store.client_commands("default", [bad]),
        store.listeners("default", bad, "paid"),
        store.claimable([bad], NOON, 1),
        store.owed_of([bad]),
        store.end_session(bad),
    ]
    for question in questions:
        with pytest.raises(UnstorableTextError):
            await question


async def test_a_nul_within_a_payload_is_refused_because_sql_could_not_read_it(store: Store) -> None:
    for payload in (rb'{"a":"\u0000"}', rb'{"a":"\\\u0000"}'):
        with pytest.raises(UnstorableTextError):
            await store.append(Batch(events=[event("a", 1, payload)]))
    await store.append(Batch(events=[event("a", 1, rb'{"a":"\\u0000"}')]))


async def test_text_too_long_for_an_index_is_refused_with_the_limit(store: Store) -> None:
    longest = "ä" * (LONGEST_TEXT // 2)
    row = listen(longest, longest, key=longest, namespace=longest)
    await store.append(Batch(events=[event(longest, 1)], owe=[row]))
    with pytest.raises(LimitExceededError):
        await store.append(Batch(events=[event(longest + "a", 1)]))


# Loading, snapshots ----------------------------------------------------------


async def test_loading_gives_every_stream_asked_for_with_its_events_in_order(store: Store) -> None:
    await store.append(Batch(events=[*events("a", 1), *events("b", 1, 2), *events("a", 2)]))
    loaded = await store.load(["b", "a", "unknown", "a"])
    assert {stream: [e.version for e in found.events] for stream, found in loaded.items()} == {
        "a": [1, 2],
        "b": [1, 2],
        "unknown": [],
    }
    assert all(found.snapshot is None for found in loaded.values())
    assert loaded["a"].events == await store.read("a")


async def test_loading_starts_at_the_newest_snapshot_of_this_shape(store: Store) -> None:
    await store.append(Batch(events=[*events("a", 1, 2, 3, 4), *events("b", 1, 2)]))
    a, b = Snapshot("a", 3, STATE_VERSION, b"three"), Snapshot("b", 2, STATE_VERSION, b"two")
    await store.save_snapshots([a, b])
    await store.save_snapshots([Snapshot("a", 2, STATE_VERSION, b"late and older")])
    await store.save_snapshots([Snapshot("a", 4, STATE_VERSION + 1, b"of another shape")])
    await store.save_snapshots([])
    loaded = await store.load(["a", "b"])
    assert loaded["a"].snapshot == a
    assert [e.version for e in loaded["a"].events] == [4]
    assert loaded["b"].snapshot == b
    assert loaded["b"].events == []
    assert [e.version for e in await store.read("a")] == [1, 2, 3, 4]


# What is owed ----------------------------------------------------------------


async def test_a_row_comes_back_with_every_field(store: Store) -> None:
    full = OwedRow(
        namespace="shop",
        instance="a",
        key="prepare#2.pack[2].packItem#1",
        kind="await",
        attempt=3,
        action="ship",
        queue="parcels",
        priority=5,
        due_at=after_noon(0.000001),
        timer_at=after_noon(2),
        token="t",
        session="s",
        signal="paid",
        correlation_key="order-1",
    )
    bare = OwedRow(namespace="shop", instance="a", key="wait#1", kind="wake")
    await owe(store, full, bare)
    assert await store.owed_of(["a"]) == [full, bare]


async def test_owing_again_replaces_the_row_and_withdrawing_removes_it(store: Store) -> None:
    await owe(store, invoke("a", timer_at=NOON), invoke("a", key="pay#1"))
    await owe(store, leased("a", "s1"))
    assert await store.owed_of(["a"]) == [invoke("a", key="pay#1"), leased("a", "s1")]
    await store.append(Batch(withdraw=[("a", "pay#1"), ("a", "never#1"), ("b", "ship#1")]))
    assert names(await store.owed_of(["a"])) == [("a", "ship#1")]


async def test_within_a_batch_withdrawals_come_first_and_the_last_row_of_a_key_wins(store: Store) -> None:
    batch = Batch(
        owe=[invoke("a", attempt=1), invoke("a", attempt=2)],
        withdraw=[("a", "ship#1"), ("a", "ship#1")],
    )
    await store.append(batch)
    await store.append(batch)
    assert await store.owed_of(["a"]) == [invoke("a", attempt=2)]


async def test_due_rows_and_timers_are_found_up_to_a_horizon_in_key_order_page_by_page(store: Store) -> None:
    await owe(
        store,
        invoke("d", due_at=after_noon(9), timer_at=after_noon(1)),
        invoke("c", key="b#1", due_at=after_noon(1)),
        invoke("c", key="a#1", due_at=after_noon(1)),
        leased("b", "s", timer_at=after_noon(1)),
        leased("e", "s", due_at=NOON),  # its due time has passed into an attempt
        invoke("f", due_at=after_noon(1.000001)),
        listen("g", "k", timer_at=after_noon(2)),
    )
    expected = [("b", "ship#1"), ("c", "a#1"), ("c", "b#1"), ("d", "ship#1")]
    assert names(await store.owed_by(after_noon(1), 10)) == expected
    assert names(await store.owed_by(after_noon(1), 2)) == expected[:2]
    assert names(await store.owed_by(after_noon(1), 2, after=expected[1])) == expected[2:]
    assert await store.owed_by(after_noon(1), 10, after=expected[-1]) == []


async def test_claimable_rows_come_by_priority_then_age_and_only_when_due(store: Store) -> None:
    await owe(
        store,
        invoke("old", priority=5, due_at=after_noon(-9)),
        invoke("young", priority=5, due_at=NOON),
        invoke("urgent", priority=0, due_at=NOON),
        invoke("other", queue="mail", priority=3, due_at=NOON),
        invoke("foreign", queue="elsewhere"),
        invoke("later", due_at=after_noon(0.000001)),
        leased("running", "s", queue="parcels", due_at=NOON),
    )
    queues = ["parcels", "mail", "mail"]
    found = [row.instance for row in await store.claimable(queues, NOON, 10)]
    assert found == ["urgent", "other", "old", "young"]
    assert [row.instance for row in await store.claimable(queues, NOON, 3)] == found[:3]
    assert [row.instance for row in await store.claimable(["parcels"], NOON, 1)] == ["urgent"]
    assert await store.claimable([], NOON, 10) == []


async def test_claimable_rows_leave_out_what_is_in_hand_already(store: Store) -> None:
    await owe(store, *(invoke(instance) for instance in "abc"), invoke("a", key="pay#1"))
    exclude = [("a", "ship#1"), ("c", "ship#1"), ("b", "pay#1")]
    found = await store.claimable(["parcels"], NOON, 2, exclude)
    assert names(found) == [("a", "pay#1"), ("b", "ship#1")]


async def test_what_the_log_implies_takes_the_place_of_what_the_table_says(store: Store) -> None:
    await store.append(
        Batch(events=events("a", 1, 2), owe=[invoke("a"), invoke("a", key="x#1"), invoke("b")])
    )
    implied = [invoke("a", attempt=2), invoke("a", key="y#1")]
    assert not await store.replace_owed("a", implied, version=1)
    assert not await store.replace_owed("a", implied, version=3)
    assert names(await store.owed_of(["a"])) == [("a", "ship#1"), ("a", "x#1")]
    assert await store.replace_owed("a", implied, version=2)
    assert await store.owed_of(["a"]) == implied
    assert await store.replace_owed("a", [], version=2)
    assert names(await store.owed_of(["a", "b"])) == [("b", "ship#1")]


async def test_listeners_are_those_of_the_namespace_the_key_and_the_signal_or_any(store: Store) -> None:
    await owe(
        store,
        listen("any", "order-1"),
        listen("paid", "order-1", "paid", key="wait#1"),
        listen("paid", "order-1"),
        listen("sent", "order-1", "sent"),
        listen("else", "order-2"),
        listen("foreign", "order-1", namespace="other"),
        invoke("working", correlation_key="order-1"),
    )
    assert await store.listeners("default", "order-1", "paid") == ["any", "paid"]
    assert await store.listeners("other", "order-1", "paid") == ["foreign"]
    assert await store.listeners("default", "order-3", "paid") == []


async def test_kept_signals_are_found_when_they_are_over_forwarded_or_heard(store: Store) -> None:
    def kept(key: str, id: str, **fields: Any) -> OwedRow:
        usual: dict[str, Any] = {"namespace": "default", "due_at": after_noon(60), "signal": "paid"}
        return OwedRow(
            instance=f"signals/default/{key}", key=id, kind="kept", correlation_key=key, **usual | fields
        )

    await owe(
        store,
        kept("k", "over", due_at=NOON),
        kept("k", "waits"),
        kept("k", "forwarded", token="a"),
        kept("heard", "by-any"),
        kept("heard-by-name", "paid"),
        kept("heard-by-name", "sent", signal="sent"),
        kept("foreign", "waits"),
        listen("any", "heard"),
        listen("paid", "heard-by-name", "paid", key="wait#1"),
        listen("other", "foreign", namespace="other"),
        invoke("working", correlation_key="k"),
    )
    expected = [
        ("signals/default/heard", "by-any"),
        ("signals/default/heard-by-name", "paid"),
        ("signals/default/k", "forwarded"),
        ("signals/default/k", "over"),
    ]
    assert names(await store.kept(NOON, 10)) == expected
    assert names(await store.kept(NOON, 2)) == expected[:2]
    assert names(await store.kept(NOON, 10, expected[1])) == expected[2:]


# Sessions --------------------------------------------------------------------


async def test_sessions_that_hold_leases_expire_when_they_are_not_renewed(store: Store) -> None:
    await owe(store, *(leased(each, each) for each in ("s1", "s2", "unheard")), leased("s1", "s1", key="2"))
    await owe(store, leased("nobody", None), invoke("s9", session="s9"))
    for session, seconds in (("s1", 5), ("s2", 7), ("idle", 5)):
        await store.renew([Session(id=session, worker="w", expires_at=after_noon(seconds))])
    assert await store.expired_sessions(NOON) == ["unheard"]
    assert await store.expired_sessions(after_noon(5)) == ["s1", "unheard"]
    await store.renew(
        [Session(id=s, worker="w", expires_at=after_noon(x)) for s, x in (("s1", 10), ("s2", 5))]
    )
    await store.renew([])
    assert await store.expired_sessions(after_noon(6)) == ["s2", "unheard"]


async def test_an_ended_session_counts_as_expired_until_its_leases_are_dealt_with(store: Store) -> None:
    await store.renew([Session(id="s", worker="w", expires_at=after_noon(5))])
    await owe(store, leased("a", "s"), leased("b", "s", key="z#1"), leased("c", "t"))
    await store.end_session("s")
    await store.end_session("s")
    assert await store.expired_sessions(NOON) == ["s", "t"]
    assert names(await store.owed_under(["s"])) == [("a", "ship#1"), ("b", "z#1")]
    await store.append(Batch(owe=[invoke("a"), invoke("b", key="z#1")]))
    assert await store.expired_sessions(NOON) == ["t"]
    assert await store.owed_under(["s"]) == []


# Children --------------------------------------------------------------------


def attend(instance: str, child: str, key: str = "bill#1", **fields: Any) -> OwedRow:
    usual: dict[str, Any] = {"action": "workflow:invoice", "attempt": 1, "token": child}
    return OwedRow(namespace="default", instance=instance, key=key, kind="child", **usual | fields)


async def test_a_child_that_has_something_to_do_is_left_alone_and_one_to_be_undone_is_not(
    store: Store,
) -> None:
    resting, busy = attend("b", "child-1"), attend("a", "child-2")
    undo = attend("a", "child-3", key="bill#2/undo")
    await owe(store, resting, busy, undo, invoke("child-2"), invoke("child-3"), invoke("c"))
    assert await store.children(10) == [undo, resting]
    await store.append(Batch(withdraw=[("child-2", "ship#1")]))
    assert await store.children(10) == [busy, undo, resting]


async def test_children_come_page_by_page_in_the_order_of_their_keys(store: Store) -> None:
    rows = [attend(parent, f"child-{parent}-{key}", key=key) for parent in "ab" for key in ("x#1", "y#1")]
    await owe(store, *reversed(rows))
    assert await store.children(0) == []
    assert await store.children(3) == rows[:3]
    assert await store.children(3, ("b", "x#1")) == rows[3:]
    assert await store.children(3, ("b", "y#1")) == []


# The shard -------------------------------------------------------------------


async def test_the_secret_is_made_once(store: Store) -> None:
    secret = await store.secret()
    assert len(secret) >= 16
    assert await store.secret() == secret


async def test_time_is_told_in_utc_and_goes_on(store: Store) -> None:
    first, second = await store.now(), await store.now()
    assert first.tzinfo is not None
    assert first.utcoffset() == timedelta()
    assert first <= second


# The same operations, the same answers -----------------------------------------

STREAMS = st.sampled_from(["a", "b", "c"])
KEYS = st.sampled_from(["x#1", "y#1", "x#1/undo", "@instance"])
TIMES = st.integers(0, 4).map(after_noon)
SESSIONS = st.sampled_from(["s1", "s2"])
ROWS = st.builds(
    OwedRow,
    namespace=st.sampled_from(["default", "other"]),
    instance=STREAMS,
    key=KEYS,
    kind=st.sampled_from(["invoke", "await", "child", "listen", "wake"]),
    token=st.none() | STREAMS,
    attempt=st.integers(0, 3),
    queue=st.none() | st.sampled_from(["q1", "q2"]),
    priority=st.integers(0, 2),
    due_at=st.none() | TIMES,
    timer_at=st.none() | TIMES,
    session=st.none() | SESSIONS,
    signal=st.none() | st.just("paid"),
    correlation_key=st.none() | st.just("k"),
)
# An event's version is given relative to the newest one known: mostly the next, sometimes taken or too far.
APPENDS = st.tuples(
    st.just("append"),
    st.dictionaries(STREAMS, st.tuples(st.sampled_from([1, 1, 1, 1, 0, 2]), st.integers(1, 3)), max_size=3),
    st.lists(ROWS, max_size=4),
    st.lists(st.tuples(STREAMS, KEYS), max_size=3),
    st.lists(st.sampled_from(["k1", "k2", "k3", "k4"]), max_size=1),
)
OTHERS = st.one_of(
    st.tuples(st.just("replace"), STREAMS, st.lists(ROWS, max_size=2), st.integers(0, 1)),
    st.tuples(st.just("snapshot"), STREAMS, st.integers(0, 2), st.sampled_from([STATE_VERSION, 1])),
    st.tuples(st.just("renew"), SESSIONS, TIMES),
    st.tuples(st.just("end"), SESSIONS),
)
QUESTIONS = st.tuples(TIMES, st.integers(0, 5), st.none() | st.tuples(STREAMS, KEYS))


async def act(store: Store, operation: tuple[Any, ...]) -> object:
    """The answer, or the type of the refusal."""
    known = await store.versions(["a", "b", "c"])
    try:
        match operation:
            case ("append", new, rows, withdrawals, keys):
                batch = Batch(
                    events=[
                        event(stream, known[stream] + step + n)
                        for stream, (step, number) in new.items()
                        for n in range(number)
                    ],
                    owe=rows,
                    withdraw=withdrawals,
                    client_commands=[command(key) for key in keys],
                )
                return len(await store.append(batch))
            case ("replace", stream, rows, behind):
                mine = [row for row in rows if row.instance == stream]
                return await store.replace_owed(stream, mine, version=known[stream] - behind)
            case ("snapshot", stream, behind, shape):
                version = max(known[stream] - behind, 0)
                await store.save_snapshots([Snapshot(stream, version, shape, b"%d" % version)])
            case ("renew", session, until):
                await store.renew([Session(id=session, worker="w", expires_at=until)])
            case ("end", session):
                await store.end_session(session)
            case _:
                raise AssertionError(operation)
    except TenutoError as refusal:
        return type(refusal)
    return None


async def everything(store: Store, question: tuple[Any, ...]) -> list[object]:
    """All that can be asked, without the positions, of which only the order is agreed."""
    moment, limit, after = question
    loaded = await store.load(["a", "b", "c"])
    log = [found for stream in "abc" for found in await store.read(stream)]
    in_order = sorted(log, key=lambda found: found.position)
    return [
        [(e.stream, e.version, e.topic, e.payload) for e in in_order],
        {s: (found.snapshot, [e.version for e in found.events]) for s, found in loaded.items()},
        await store.streams("", limit=limit),
        await store.client_commands("default", ["k1", "k2", "k3", "k4"]),
        await store.owed_of(["a", "b", "c"]),
        await store.owed_by(moment, limit, after),
        await store.claimable(["q1", "q2"], moment, limit, [after] if after else []),
        await store.owed_under(["s1"]),
        await store.owed_under(["s1", "s2", "nobody"]),
        await store.children(5),
        await store.listeners("default", "k", "paid"),
        await store.listeners("other", "k", "refused"),
        [(e.version, e.topic) for e in await store.read("a", after=limit, upto=2 * limit, limit=limit)],
        await store.versions(["a", "b", "c", "d"]),
        await store.expired_sessions(moment),
    ]


@given(st.lists(st.one_of(APPENDS, APPENDS, OTHERS), max_size=8), QUESTIONS)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_memory_and_postgres_agree(
    database: str, schema: str, operations: list[tuple[Any, ...]], question: tuple[Any, ...]
) -> None:
    tables = "stored_events, owed, client_commands, sessions, snapshots"

    async def compare() -> None:
        memory, postgres = MemoryStore(ManualClock(NOON)), await PostgresStore.open(database, schema=schema)
        with psycopg.connect(database, options=f"-c search_path={schema}") as connection:
            connection.execute(f"TRUNCATE {tables}".encode())
        for operation in operations:
            assert await act(postgres, operation) == await act(memory, operation), operation
        assert await everything(postgres, question) == await everything(memory, question)
        await postgres.close()

    asyncio.run(compare())
