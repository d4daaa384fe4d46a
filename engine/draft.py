"""One batch in the making: the commands decided so far, and what they will leave behind once committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from domain.codec import encode, topic_of
from domain.commands import Command
from domain.definition.program import Program
from domain.events import Event
from engine.board import Poller
from engine.cache import Entry
from engine.messages import Answer, Envelope
from engine.ports import Batch, ClientCommand, OwedRow, Recorded
from engine.rows import rows_of


class ClientKey(NamedTuple):
    """Under which a client's command is remembered."""

    namespace: str
    key: str
    body_hash: str


class Request(Struct, kw_only=True, eq=False):
    """One wish for one instance. `program` comes with a start; `poller` with a claim, for whom it is made.

    `row` is the row whose timer fired. The answer, or the refusal, is given through `future` after the commit.
    """

    stream: str
    make: Callable[[Envelope], Command]
    future: asyncio.Future[Answer] | None = None
    program: Program | None = None
    client: ClientKey | None = None
    poller: Poller | None = None
    row: OwedRow | None = None
    tries: int = 0

    def answer(self, answer: Answer) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(answer)

    def refuse(self, error: BaseException) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # Whoever asked may have gone: then nobody has to hear of it.

    @property
    def wanted(self) -> bool:
        """False for the claim of a poll that has been given up."""
        return self.poller is None or not self.poller.future.done()


class Decided(Struct, kw_only=True, eq=False):
    """What became of a request: events, or a refusal. `version` is the instance's version after it."""

    request: Request
    at: datetime
    command_id: str
    events: list[Event] = []
    version: int = 0
    refusal: BaseException | None = None


class Draft:
    """`entries` are the instances that it touches, by stream; the decided ones stand in order."""

    def __init__(self) -> None:
        self.decided: list[Decided] = []
        self.entries: dict[str, Entry] = {}

    def without(self, streams: set[str]) -> list[Request]:
        """Takes out what was decided on these streams; its requests, to be decided again."""
        out = [item for item in self.decided if item.request.stream in streams]
        self.decided = [item for item in self.decided if item.request.stream not in streams]
        for stream in streams:
            self.entries.pop(stream, None)
        return [item.request for item in out]

    def rows(self) -> dict[str, dict[str, OwedRow]]:
        """What every instance that has changed owes now, by stream and key."""
        changed = {item.request.stream for item in self.decided if item.events}
        return {stream: rows_of(self.entries[stream].state) for stream in self.entries if stream in changed}

    def rows_under(self, stream: str, key: str) -> dict[str, OwedRow]:
        """The same, of one key that has just changed."""
        return rows_of(self.entries[stream].state, [key])

    def batch(self, rows: dict[str, dict[str, OwedRow]]) -> Batch:
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
        for stream, after in rows.items():
            before = self.entries[stream].rows
            batch.owe += [row for key, row in after.items() if before.get(key) != row]
            batch.withdraw += [(stream, key) for key in before if key not in after]
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
