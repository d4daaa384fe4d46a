"""Our recorder before the library's own judges, and before eight writers and a reader at its heels."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    StoredEvent,
    Subscription,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
from psycopg.conninfo import conninfo_to_dict

from engine.ports import Batch, ClientCommand, OwedRow, Recorded
from engine.store.connections import Connections
from engine.store.recorder import BatchRecorder, EventLog

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITERS = 8
APPENDS = 40


@pytest.fixture
def connections(database: str, schema: str) -> Iterator[Connections]:
    opened = Connections(database, schema)
    yield opened
    opened.close()


@pytest.fixture
def recorder(connections: Connections) -> BatchRecorder:
    made = BatchRecorder(connections)
    made.create_table()
    return made


class OnOurRecorder:
    """What the library's cases need: text ids, and a recorder in a fresh schema."""

    recorder: BatchRecorder

    @pytest.fixture(autouse=True)
    def _in_a_fresh_schema(self, recorder: BatchRecorder) -> None:
        self.recorder = recorder

    def new_originator_id(self) -> str:
        return uuid.uuid4().hex

    def create_recorder(self) -> BatchRecorder:
        return self.recorder


class Listening(BatchRecorder):
    """A subscription of the library listens from a thread: what is stored before it has begun wakes nobody, and on a
    busy machine that is later than the library's case assumes. So here a subscription is there once it listens."""

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        listens = """
            SELECT 1 FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%%' AND query_start > %s
        """
        with self.datastore.get_connection() as connection:
            (began,) = connection.execute("SELECT clock_timestamp()").fetchone().values()  # type: ignore[union-attr]
            found = super().subscribe(gt, topics)
            while connection.execute(listens, (began,)).fetchone() is None:
                pass
        return found


class TestApplicationRecorder(OnOurRecorder, ApplicationRecorderTestCase[BatchRecorder]):
    """Its subscription case is optional in the library; ours has subscriptions, so it counts."""

    def create_recorder(self) -> BatchRecorder:
        return Listening(self.recorder.datastore)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingNotificationIDs(OnOurRecorder, NonInterleavingNotificationIDsBaseCase):
    insert_num = 1000


class WithoutPositions(AggregateRecorder):
    """Ours, as a recorder of streams alone, which answers no positions."""

    def __init__(self, recorder: BatchRecorder) -> None:
        self._recorder = recorder

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        self._recorder.insert_events(stored_events, **kwargs)

    def select_events(self, *arguments: Any, **keywords: Any) -> Sequence[StoredEvent]:
        found: Sequence[StoredEvent] = self._recorder.select_events(*arguments, **keywords)
        return found


class TestAggregateRecorder(OnOurRecorder, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:  # type: ignore[override]
        return WithoutPositions(self.recorder)


# The cases are collected as classes above; the bare ones that were imported for them are not for collection.
del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase, AggregateRecorderTestCase


def test_the_events_table_is_the_librarys(recorder: BatchRecorder, database: str, schema: str) -> None:
    theirs = f"{schema}_library"
    address = conninfo_to_dict(database)
    datastore = PostgresDatastore(
        dbname=str(address["dbname"]),
        host=str(address["host"]),
        port=str(address.get("port", 5432)),
        user=str(address["user"]),
        password=str(address.get("password", "")),
        schema=theirs,
        originator_id_type="text",
    )
    columns = """
        SELECT column_name, data_type, is_nullable, ordinal_position, replace(column_default, %(s)s, '')
        FROM information_schema.columns WHERE table_schema = %(s)s AND table_name = 'stored_events'
        ORDER BY ordinal_position"""
    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND tablename = 'stored_events'"
    options = "SELECT reloptions FROM pg_class WHERE oid = (%s || '.stored_events')::regclass"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {theirs}".encode())
        try:
            PostgresApplicationRecorder(datastore).create_table()
            ours = connection.execute(columns, {"s": schema}).fetchall()
            assert ours == connection.execute(columns, {"s": theirs}).fetchall()
            for question in (indexes, options):
                answer = connection.execute(question, (schema,)).fetchall()
                assert sorted(answer) == sorted(connection.execute(question, (theirs,)).fetchall())
        finally:
            datastore.close()
            connection.execute(f"DROP SCHEMA {theirs} CASCADE".encode())


def test_no_function_that_appends_without_the_lock_is_installed(
    recorder: BatchRecorder, database: str, schema: str
) -> None:
    with psycopg.connect(database) as connection:
        functions = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = %s::regnamespace", (schema,)
        ).fetchall()
    assert functions == []


def test_the_log_reads_through_the_librarys_application(connections: Connections) -> None:
    log = EventLog(connections)
    events = [Recorded("a", 1, "InstanceStarted", b'{"x":1}'), Recorded("a", 2, "StatusChanged", b"{}")]
    positions = log.append(Batch(events=events))
    read: list[Any] = list(log.events.get("a"))
    assert read == events
    notifications = log.notification_log.select(start=1, limit=10)
    assert [(n.id, n.topic, n.state) for n in notifications] == [
        (positions[0], "InstanceStarted", b'{"x":1}'),
        (positions[1], "StatusChanged", b"{}"),
    ]
    assert [log.mapper.to_domain_event(n).position for n in notifications] == positions  # type: ignore[attr-defined]


def test_variables_of_the_process_do_not_change_how_events_are_stored(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = {
        "COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor",
        "CIPHER_TOPIC": "eventsourcing.cipher:AESCipher",
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "IS_SNAPSHOTTING_ENABLED": "y",
    }
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    log = EventLog(connections)
    log.append(Batch(events=[Recorded("a", 1, "InstanceStarted", b"{}")]))
    assert log.recorder.select_events("a")[0].state == b"{}"


def test_a_keyword_that_the_recorder_does_not_know_is_refused(recorder: BatchRecorder) -> None:
    with pytest.raises(TypeError, match="tracking"):
        recorder.insert_events([StoredEvent("a", 1, "t", b"{}")], tracking="something")
    assert recorder.select_events("a") == []


def test_an_append_notifies_once_and_one_without_events_not_at_all(
    recorder: BatchRecorder, database: str
) -> None:
    row = OwedRow(namespace="default", instance="a", key="x#1", kind="wake")
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("LISTEN stored_events")
        recorder.insert_events([], batch=Batch(owe=[row]))
        recorder.insert_events([StoredEvent("a", version, "t", b"{}") for version in range(1, 200)])
        assert len(list(listener.notifies(timeout=0.2))) == 1


def test_a_reader_at_the_heels_of_eight_writers_sees_every_event_once(recorder: BatchRecorder) -> None:
    """Some appends are rolled back after their positions were drawn: positions are missing, but none comes
    late."""
    taken = Batch(
        client_commands=[
            ClientCommand(namespace="default", key="k", body_hash="", instance="a", version=1, at=NOON)
        ]
    )
    recorder.insert_events([], batch=taken)
    done = Event()

    def write(writer: int) -> set[int]:
        kept: set[int] = set()
        for number in range(APPENDS):
            events = [StoredEvent(f"{writer}-{number}", v, "t", b"{}") for v in range(1, 2 + number % 7)]
            if number % 4 == 3:
                with pytest.raises(IntegrityError):
                    recorder.insert_events(events, batch=taken)
            else:
                kept.update(recorder.insert_events(events))
        return kept

    def follow() -> list[int]:
        seen: list[int] = []
        while True:
            last_look = done.is_set()
            found = recorder.select_notifications(seen[-1] if seen else 0, 50, inclusive_of_start=False)
            seen += [notification.id for notification in found]
            if last_look and not found:
                return seen

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        reader = threads.submit(follow)
        writers = [threads.submit(write, writer) for writer in range(WRITERS)]
        try:
            written = set().union(*(writer.result() for writer in writers))
        finally:
            done.set()
        seen = reader.result()

    assert len(seen) == len(set(seen))
    assert set(seen) == written
    assert max(written) > len(written), "no append was rolled back after it drew positions"
