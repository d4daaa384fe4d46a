"""One batch in the making: the commands decided so far, and what they will leave behind once committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from domain.codec import encode, topic_of
from domain.commands import Command
from domain.definition.program import Program
from domain.events import Event
from domain.owed import touched
from domain.state import State
from engine.board import Poller, Ready
from engine.cache import Entry
from engine.messages import Answer, Envelope
from engine.ports import (
    Batch,
    ClientCommand,
    DuplicateCommandError,
    OwedRow,
    Recorded,
    VersionConflictError,
)
from engine.rows import rows_of

Changes = dict[str, dict[str, OwedRow | None]]
"""The rows that a draft changes, by stream and key; None is withdrawn. Every stream that has new events is there."""


class ClientKey(NamedTuple):
    """Under which a client's command is remembered."""

    namespace: str
    key: str
    body_hash: str


class Request(Struct, kw_only=True, eq=False):
    """One wish for one instance. `program` comes with a start or a fork; `copies` are what a fork begins with; `poller`
    comes with a claim, for whom it is made.

    With `expected_version` it is refused when the instance has another. `ready` is what a claim took from the board,
    `token` its lease. The answer, or the refusal, is given through `future` after the commit; `over` says that it was
    given, or that the claim was given up.
    """

    stream: str
    make: Callable[[Envelope], Command]
    expected_version: int | None = None
    future: asyncio.Future[Answer] | None = None
    program: Program | None = None
    copies: Sequence[Event] = ()
    client: ClientKey | None = None
    poller: Poller | None = None
    ready: Ready | None = None
    token: str | None = None
    tries: int = 0
    over: bool = False

    def answer(self, answer: Answer) -> None:
        self.over = True
        if self.future is not None and not self.future.done():
            self.future.set_result(answer)

    def refuse(self, error: BaseException) -> None:
        self.over = True
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # Whoever asked may have gone: then nobody has to hear of it.


class Decided(Struct, kw_only=True, eq=False):
    """What became of a request: events, or a refusal. `version` is the instance's version after it."""

    request: Request
    at: datetime
    command_id: str
    events: list[Event] = []
    version: int = 0
    refusal: BaseException | None = None

    def answer(self, state: State, position: int | None) -> Answer:
        return Answer(
            instance_id=state.id,
            version=self.version,
            position=position if self.events else None,
            created=bool(self.events) and self.version == len(self.events),
            events=self.events,
            status=state.status,
            outcome=state.outcome,
        )


class Draft:
    """`entries` are the instances that it touches, by stream; the decided ones stand in order.

    `loaded` are the streams that were read for it, `broken` those that could not be made sense of. `later` repeat a
    client's command of this batch: they are answered when it is stored. All of it happens at one moment, `at`.
    """

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.decided: list[Decided] = []
        self.entries: dict[str, Entry] = {}
        self.loaded: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.later: list[Request] = []

    def without(self, streams: set[str]) -> list[Request]:
        """Takes out what was decided on these streams; its requests, to be decided again."""
        out = [item for item in self.decided if item.request.stream in streams]
        self.decided = [item for item in self.decided if item.request.stream not in streams]
        for stream in streams:
            self.entries.pop(stream, None)
            self.broken.pop(stream, None)
        self.loaded -= streams
        return [item.request for item in out]

    @property
    def unproven(self) -> list[str]:
        """Streams from the cache on which nothing is appended: nothing vouches yet for what was decided on them."""
        changed = {item.request.stream for item in self.decided if item.events}
        return [stream for stream in self.entries if stream not in changed and stream not in self.loaded]

    def losers(self, conflict: VersionConflictError | DuplicateCommandError) -> set[str]:
        """Those of its streams that must be decided again."""
        if isinstance(conflict, VersionConflictError):
            return set(conflict.details["streams"])  # type: ignore[call-overload, no-any-return]
        taken: set[str] = set(conflict.details["keys"])  # type: ignore[call-overload]
        asked = [(item.request.stream, item.request.client) for item in self.decided]
        lost = {stream for stream, client in asked if client is not None and client.key in taken}
        return lost or set(self.entries)

    def changes(self) -> Changes:
        """What every instance that has new events owes now, where that differs from its rows in the table."""
        keys: dict[str, dict[str, None] | None] = {}
        for item in self.decided:
            for event in item.events:
                one, known = touched(event), keys.setdefault(item.request.stream, {})
                if one is None:
                    keys[item.request.stream] = None
                elif known is not None:
                    known.update(dict.fromkeys(one))
        return {stream: self._changed(stream, those) for stream, those in keys.items()}

    def changed_under(self, stream: str, key: str) -> dict[str, OwedRow | None]:
        """The same, of one key."""
        return self._changed(stream, [key])

    def _changed(self, stream: str, keys: Iterable[str] | None) -> dict[str, OwedRow | None]:
        before, after = self.entries[stream].rows, rows_of(self.entries[stream].state, keys)
        if keys is None:
            keys = dict.fromkeys([*before, *after])
        return {key: after.get(key) for key in keys if after.get(key) != before.get(key)}

    def batch(self, changes: Changes) -> Batch:
        """The transaction: all events, and the difference that they make to what is owed."""
        batch = Batch()
        versions = {stream: entry.committed for stream, entry in self.entries.items()}
        for item in self.decided:
            stream = item.request.stream
            for event in item.events:
                versions[stream] += 1
                batch.events.append(Recorded(stream, versions[stream], topic_of(event), encode(event)))
            if item.request.client is not None and item.events:
                batch.client_commands.append(_client_command(item.request.client, item))
        for stream, changed in changes.items():
            batch.owe += [row for row in changed.values() if row is not None]
            batch.withdraw += [(stream, key) for key, row in changed.items() if row is None]
        return batch


def _client_command(client: ClientKey, item: Decided) -> ClientCommand:
    return ClientCommand(
        namespace=client.namespace,
        key=client.key,
        body_hash=client.body_hash,
        instance=item.request.stream,
        version=item.version,
        at=item.at,
    )
