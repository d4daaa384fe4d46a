"""The replay check: histories folded again, and compared with all that was derived from them.

    verify(dsn, schema, streams) -> [Verified]

Blocking, for a process of its own. What is compared: the log with itself (versions without holes, every event can be
folded), with the snapshot (byte for byte), with the rows that the instance owes; and, if asked, with what the pinned
definition decides on the recorded stimuli (law 2: `tests/domain/test_laws.py`). What the server has in memory,
and the rows of projections, are compared elsewhere: `api/routes/checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from domain.again import decided_as
from domain.codec import decode, encode, topic_of
from domain.commands import MigrateInstance
from domain.comparing import differences
from domain.errors import TenutoError
from domain.events import Event, InstanceStarted, Json
from domain.evolve import evolve
from domain.instance import advance
from domain.moves import Forked, Migrated, Origin
from domain.state import State
from domain.stimulus import command_of
from engine.documents import Documents
from engine.ports import OwedRow, Snapshot
from engine.rows import rows_of
from engine.store.reading import Reader, Row

MAX_PROBLEMS = 10
"""Of one instance: whoever sees so many has seen enough."""

_encoder = msgspec.json.Encoder()


class Problem(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`check` is `log`, `snapshot`, `owed` or `decide`; `version` is where, if it is at one."""

    check: str
    message: str
    version: int | None = None
    differences: list[Json] = field(default_factory=list)


class Verified(Struct, frozen=True, kw_only=True, rename="camel"):
    """One instance. `state` is what its log folds to, as JSON; None when it does not."""

    instance: str
    namespace: str
    events: int
    problems: list[Problem]
    state: bytes | None = None


def verify(
    dsn: str, schema: str, streams: Sequence[str], *, decide: bool = False, keep_state: bool = False
) -> list[Verified]:
    """Of instances that are not there, nothing. Raises StoreUnavailableError."""
    with Reader(dsn, schema) as reader, reader.moment() as moment:
        snapshots, owed = moment.snapshots(streams), moment.owed(streams)
        known = Documents(reader) if decide else None
        return [
            _Check(stream, snapshots.get(stream), owed[stream], known).run(rows, keep_state=keep_state)
            for stream, rows in moment.histories(streams)
        ]


class _Check:
    """Of one history, event by event."""

    def __init__(
        self, stream: str, snapshot: Snapshot | None, owed: dict[str, OwedRow], documents: Documents | None
    ) -> None:
        self._stream = stream
        self._snapshot = snapshot
        self._owed = owed
        self._deciding = None if documents is None else _Deciding(stream, documents)
        self._problems: list[Problem] = []
        self._state = State(id=stream)

    def run(self, rows: Iterable[Row], *, keep_state: bool) -> Verified:
        count, folds = 0, True
        if self._deciding is not None:
            rows = list(rows)
            self._deciding.learn(rows)
        for _, version, topic, payload in rows:
            count += 1
            if version != count and folds:
                self._say("log", f"version {version} stands where {count} should", version)
                folds = False
            if folds:
                folds = self._fold(version, topic, payload)
        if self._snapshot is not None and self._snapshot.version > count:
            self._say("snapshot", f"it is of version {self._snapshot.version}, the log ends at {count}")
        if folds:
            self._compare_owed()
            if self._deciding is not None:
                self._problems += self._deciding.close()
        return Verified(
            instance=self._stream,
            namespace=self._state.namespace,
            events=count,
            problems=self._problems[:MAX_PROBLEMS],
            state=_encoder.encode(self._state) if folds and keep_state else None,
        )

    def _fold(self, version: int, topic: str, payload: bytes) -> bool:
        try:
            event = decode(topic, payload)
            if self._deciding is not None:
                self._deciding.read(event, payload, self._state)
            evolve(self._state, event)
        except TenutoError as error:
            self._say("log", str(error.details.get("problem", error)), version)
            return False
        if self._snapshot is not None and self._snapshot.version == version:
            self._compare_snapshot(self._snapshot)
        return True

    def _compare_snapshot(self, snapshot: Snapshot) -> None:
        folded = _encoder.encode(self._state)
        if folded != snapshot.payload:
            found = differences(msgspec.json.decode(snapshot.payload), msgspec.json.decode(folded))
            self._say("snapshot", "it is not what the log folds to", snapshot.version, found)

    def _compare_owed(self) -> None:
        implied = rows_of(self._state)
        if implied != self._owed:
            keys = sorted(
                key for key in implied.keys() | self._owed.keys() if implied.get(key) != self._owed.get(key)
            )
            found = differences(*(_plain(rows, keys) for rows in (self._owed, implied)))
            self._say("owed", f"the rows of {', '.join(keys)} are not what the log implies", None, found)

    def _say(self, check: str, message: str, version: int | None = None, found: Sequence[Json] = ()) -> None:
        self._problems.append(Problem(check=check, message=message, version=version, differences=list(found)))


def _plain(rows: dict[str, OwedRow], keys: Sequence[str]) -> Json:
    return {key: msgspec.to_builtins(rows[key]) for key in keys if key in rows}


class _Deciding:
    """Law 2: the stimuli decided again on the pinned definition yield the whole log again."""

    def __init__(self, stream: str, documents: Documents) -> None:
        self._stream = stream
        self._documents = documents
        self._state = State(id=stream)
        self._expected: list[Event] = []
        self._problems: list[Problem] = []
        self._version = 0
        self._forks: list[tuple[int, Origin]] = []

    def learn(self, rows: Iterable[Row]) -> None:
        """Of a fork, whose copies its first events are."""
        for _, version, topic, payload in rows:
            if topic == Forked.__name__:
                forked = decode(topic, payload)
                assert isinstance(forked, Forked)
                self._forks.append((version, forked.origin))

    def read(self, event: Event, payload: bytes, before: State) -> None:
        """The next event; `before` is what the log folds to without it."""
        self._version += 1
        if self._problems:
            return
        if event.at is not None:
            self._end_of_command()
            self._decide(event, before)
        again = self._expected.pop(0) if self._expected else None
        if again is None:
            self._say(f"{topic_of(event)} is recorded, and nothing more follows today")
        elif (topic_of(again), encode(again)) != (topic_of(event), encode(event)):
            said = f"{topic_of(event)} is recorded, and today it would be {topic_of(again)}"
            found = differences(msgspec.json.decode(payload), msgspec.json.decode(encode(again)))
            self._say(said, found)

    def close(self) -> list[Problem]:
        self._end_of_command()
        return self._problems

    def _decide(self, stimulus: Event, before: State) -> None:
        named = before if before.version else stimulus
        if isinstance(named, InstanceStarted):
            key = (named.namespace, named.definition, named.version)
        else:
            assert isinstance(named, State)
            key = (named.namespace, named.definition, named.definition_version)
        self._state.id = decided_as(self._stream, self._version, self._forks)
        try:
            program = self._documents.find(*key).program
            command = command_of(stimulus, before)
            if isinstance(stimulus, Migrated) and isinstance(command, MigrateInstance):
                target = self._documents.find(*key[:2], stimulus.to_version).program
                command = replace(command, target=target)
            self._expected = advance(command, self._state, program)
        except TenutoError as refusal:
            self._say(f"{topic_of(stimulus)} is recorded, and today its command is refused: {refusal}")

    def _end_of_command(self) -> None:
        if self._expected and not self._problems:
            self._say(f"today {topic_of(self._expected[0])} would follow here, which is not recorded")

    def _say(self, message: str, found: Sequence[Json] = ()) -> None:
        self._problems.append(
            Problem(check="decide", message=message, version=self._version, differences=list(found))
        )
