"""The projection `definition_statistics`: counters by version of a definition, and by its steps.

One row is one counter. `measure` says of what, `step` is empty for the instances themselves, and `bucket` tells
durations apart (`projections/histogram.py`). Counters only add up, so versions, servers and periods can be added, too.
Counts by status are among them: no list of instances has to be scanned for those. A fork is an instance like any other,
but what its steps had done before it was made is counted once, for the instance that did it (`projections/copies.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from psycopg import Cursor, sql

from domain import events as e
from domain.moves import Forked
from domain.paths import UNDO, path_of
from domain.status import TERMINAL
from projections.copies import Copies
from projections.histogram import bucket_of
from projections.log import Logged
from projections.openings import Key, Openings
from projections.origins import Origin, Origins
from projections.statements import Statements, load

Slot = tuple[str, str, str, str, str, int]
"""(namespace, definition, version, step, measure, bucket)"""


class DefinitionStatistics:
    """See `Projection`."""

    name = "definition_statistics"
    every_event = False

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self.wanted = frozenset(kind.__name__ for kind in _COUNTED)
        self._origins = Origins(views, log)
        self._started = Openings(e.StepStarted, views, log)
        self._copies = Copies(views, log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        concerned = [logged for logged in events if type(logged.happened.event) in _COUNTED]
        if not concerned:
            return
        for logged in concerned:
            if isinstance(logged.happened.event, e.InstanceStarted):
                self._origins.note(logged.stream, logged.happened, logged.happened.event)
        self._origins.look_up(cursor, {logged.stream for logged in concerned})
        counts: Counter[Slot] = Counter()
        late: dict[Key, Logged] = {}
        for logged in concerned:
            event, origin = logged.happened.event, self._origins.of(logged)
            _COUNTED[type(event)](counts, origin, logged, event)
            if isinstance(event, Forked):
                counts.subtract(self._copies.counted(cursor, logged, _of_steps(origin)))
            elif isinstance(event, e.StepStarted):
                self._started.note(logged.stream, logged.happened.at, event)
            elif isinstance(event, e.StepCompleted | e.StepFailed | e.Compensated):
                key = (logged.stream, event.execution, event.attempt)
                opening = self._started.take(key)
                if opening is not None:
                    _took(counts, origin, logged, opening.at)
                else:
                    late[key] = logged
        for key, opening in self._started.read(cursor, late, events[0].position).items():
            _took(counts, self._origins.of(late[key]), late[key], opening.at)
        self._started.tidy()
        self._write(cursor, counts)

    def _write(self, cursor: Cursor[Any], counts: Counter[Slot]) -> None:
        """Zeros, too: whether a row is there must not depend on where batches are cut."""
        rows = [
            {
                "namespace": namespace,
                "definition": definition,
                "version": version,
                "step": step,
                "measure": measure,
                "bucket": bucket,
                "count": count,
            }
            for (namespace, definition, version, step, measure, bucket), count in sorted(counts.items())
        ]
        if rows:
            cursor.execute(self.statements["add"], {"rows": msgspec.json.encode(rows).decode()})


@lru_cache(maxsize=10_000)
def step_of(execution: str) -> str:
    """The id of the step that it is a visit, or the undo, of."""
    return path_of(execution.removesuffix(UNDO)).rpartition(".")[2]


def _took(counts: Counter[Slot], origin: Origin, logged: Logged, since: Any) -> None:
    """How long an attempt that succeeded ran; of an undo, and of a failure, nothing."""
    if isinstance(logged.happened.event, e.StepCompleted):
        step, took = step_of(logged.happened.event.execution), logged.happened.at - since
        counts[(*origin[:3], step, "duration", bucket_of(took))] += 1


def _of_steps(origin: Origin) -> Callable[[Counter[Slot], Logged], None]:
    """Counts the events of one instance, from its first on, as `apply` does: what is said of its steps."""
    taken: dict[tuple[str, int], Any] = {}

    def count(counts: Counter[Slot], logged: Logged) -> None:
        at, event = logged.happened.at, logged.happened.event
        if isinstance(event, e.InstanceStarted | e.StatusChanged):
            return
        if isinstance(event, e.StepStarted):
            taken[event.execution, event.attempt] = at
        elif type(event) in _COUNTED:
            _COUNTED[type(event)](counts, origin, logged, event)
            if isinstance(event, e.StepCompleted):
                since = taken.get((event.execution, event.attempt))
                if since is not None:
                    _took(counts, origin, logged, since)

    return count


def _started(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.InstanceStarted) -> None:
    counts[(*origin[:3], "", "started", 0)] += 1
    counts[(*origin[:3], "", "status:pending", 0)] += 1


def _status_changed(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.StatusChanged) -> None:
    counts[(*origin[:3], "", f"status:{event.from_status}", 0)] -= 1
    counts[(*origin[:3], "", f"status:{event.to}", 0)] += 1
    if event.to in TERMINAL:
        counts[(*origin[:3], "", f"outcome:{event.outcome}", 0)] += 1
        counts[(*origin[:3], "", "duration", bucket_of(logged.happened.at - origin.begins_at))] += 1


def _scheduled(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.StepScheduled) -> None:
    if event.attempt == 1 and event.undoes is None:
        counts[(*origin[:3], event.step, "scheduled", 0)] += 1


def _completed(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.StepCompleted) -> None:
    counts[(*origin[:3], step_of(event.execution), "completed", 0)] += 1


def _failed(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.StepFailed) -> None:
    if not event.execution.endswith(UNDO):
        measure = "failed" if event.retry_at is None else "retried"
        counts[(*origin[:3], step_of(event.execution), measure, 0)] += 1


def _compensated(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.Compensated) -> None:
    counts[(*origin[:3], step_of(event.undoes), "compensated", 0)] += 1


def _undo_failed(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.CompensationFailed) -> None:
    counts[(*origin[:3], step_of(event.undoes), "undo_failed", 0)] += 1


def _nothing(counts: Counter[Slot], origin: Origin, logged: Logged, event: e.Event) -> None:
    """A claim's time is noted, and what it ends with counts; what a fork has copied is taken back."""


_COUNTED: dict[type[e.Event], Callable[[Counter[Slot], Origin, Logged, Any], None]] = {
    e.InstanceStarted: _started,
    e.StatusChanged: _status_changed,
    e.StepScheduled: _scheduled,
    e.StepStarted: _nothing,
    e.StepCompleted: _completed,
    e.StepFailed: _failed,
    e.Compensated: _compensated,
    e.CompensationFailed: _undo_failed,
    Forked: _nothing,
}
