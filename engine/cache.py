"""Instances kept in memory between commands: an optimisation, never a safety device.

Correctness rests on the version check of the append. An entry is thrown away whenever it may differ from the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from domain.codec import decode
from domain.definition.program import Program
from domain.errors import CorruptHistoryError
from domain.evolve import evolve
from domain.state import STATE_VERSION, State
from engine.ports import Loaded, OwedRow, Snapshot
from engine.rows import rows_of

KEPT_INSTANCES = 20_000
SNAPSHOT_EVERY = 500

_state_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(State)


class Entry:
    """One instance: its folded state, its program, and the rows that it owes as they stand in the table.

    `committed` is the version that the log is known to have; the state may be ahead of it within one batch.
    """

    __slots__ = ("committed", "program", "rows", "snapshot_at", "state")

    def __init__(self, state: State, program: Program | None = None) -> None:
        self.state = state
        self.program = program
        self.committed = state.version
        self.snapshot_at = state.version
        self.rows: dict[str, OwedRow] = rows_of(state)

    def snapshot(self) -> Snapshot | None:
        """One, when it is time for it. To be asked after a commit only, when the state is what the log has."""
        if self.committed - self.snapshot_at < SNAPSHOT_EVERY:
            return None
        self.snapshot_at = self.committed
        return Snapshot(self.state.id, self.committed, STATE_VERSION, _state_encoder.encode(self.state))


class Cache:
    """The least recently used ones go first; ended ones at once."""

    def __init__(self, limit: int = KEPT_INSTANCES) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def get(self, stream: str) -> Entry | None:
        entry = self._entries.get(stream)
        if entry is not None:
            self._entries.move_to_end(stream)
        return entry

    def runs(self, stream: str) -> bool:
        """Whether it is here and has not ended, as far as is known here: another server may know more."""
        entry = self._entries.get(stream)
        return entry is not None and bool(entry.committed) and not entry.state.ended

    def put(self, entry: Entry) -> None:
        self._entries[entry.state.id] = entry

    def drop(self, streams: Iterable[str]) -> None:
        for stream in streams:
            self._entries.pop(stream, None)

    def trim(self) -> None:
        """Between batches: nothing that a batch works on may go away under it."""
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


def fold(stream: str, loaded: Loaded) -> State:
    """The state of a stream as it was loaded. Raises CorruptHistoryError, naming the stream."""
    state = State(id=stream)
    if loaded.snapshot is not None and loaded.snapshot.state_version == STATE_VERSION:
        state = _state_decoder.decode(loaded.snapshot.payload)
    for recorded in loaded.events:
        try:
            evolve(state, decode(recorded.topic, recorded.payload))
        except CorruptHistoryError as error:
            raise CorruptHistoryError(
                instance_id=stream, version=recorded.version, problem=error.details["problem"]
            ) from error
    return state
