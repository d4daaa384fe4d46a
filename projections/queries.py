"""What the projections are asked: lists, counts and the audit trail, typed, and as old as the position they
name.

Reads never lock and never wait for a projection; who needs to see an own write asks the runner first
(`wait_for`). Pages are cut by key. A cursor is opaque, and belongs to the question that it continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field
from psycopg import sql
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from domain.events import Outcome, Status
from domain.executions import WaitingFor
from domain.status import TRANSITIONS
from projections.definition_statistics import DefinitionStatistics
from projections.instances import Instances
from projections.pages import (
    Page,
    Reader,
    Time,
    by_position,
    clean,
    digest,
    named,
    opened,
    sealed,
    written,
)
from projections.statements import load
from projections.step_executions import StepExecutions
from projections.transitions import Transitions
from projections.words import words_in

MAX_STEP_EXECUTIONS = 10_000
MAX_SOUGHT = 20
"""Words of a search; those after them are not looked for."""


class InstanceFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold. Of `statuses`, `outcomes` and `waiting_for` any one; of `labels` all, and of the
    words of `text`, where `ord*` is any that begins so."""

    namespace: str = "default"
    statuses: Sequence[Status] = ()
    outcomes: Sequence[Outcome] = ()
    definition: str | None = None
    version: str | None = None
    correlation_id: str | None = None
    parent: str | None = None
    waiting_for: Sequence[WaitingFor] = ()
    labels: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    business_status: str | None = None
    paused: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class TransitionFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold."""

    namespace: str = "default"
    instance: str | None = None
    definition: str | None = None
    from_status: Status | None = None
    to_status: Status | None = None
    actor: str | None = None
    at_after: datetime | None = None
    at_before: datetime | None = None


class InstanceSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance in a list: the fields of wire.md's Instance that a projection has. `version` counts its
    events."""

    id: str
    namespace: str
    definition_name: str
    definition_version: str
    correlation_id: str | None
    status: Status
    outcome: Outcome | None
    waiting_for: list[str]
    business_status: str | None
    current_step: str | None
    paused: bool
    priority: str
    labels: dict[str, str]
    error: Any
    result: Any
    parent: dict[str, str] | None
    version: int
    created_at: str
    start_at: str | None
    started_at: str | None
    completed_at: str | None
    timeout_at: str | None
    updated_at: str


class TransitionEntry(Struct, frozen=True, kw_only=True, tag_field="type", tag="transition"):
    """A change of status of some instance (S102, S117). `position` is its place in the log."""

    position: int
    namespace: str
    definition: str
    instance_id: str = field(name="instanceId")
    version: int
    from_status: str = field(name="from")
    to: str
    reason: str
    actor: str | None
    timestamp: str


class StepSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A step execution without input, output and single attempts: those stand in the instance's own history."""

    instance: str
    execution: str
    step_id: str
    step_name: str
    kind: str
    status: str
    attempt: int
    retry_count: int
    worker: str | None
    scheduled_at: str
    started_at: str | None
    completed_at: str | None
    duration_ms: int | None
    error: Any
    next_retry: str | None
    waiting_for: str | None
    waiting_since: str | None
    signal: str | None
    until: str | None
    ended_by: str | None
    next: str | None
    undoes: str | None
    compensated_by: str | None


class Queries:
    """The read side of one shard's views."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str) -> None:
        self._reader = Reader(pool, views)
        log = sql.Identifier(views, "positions")
        self._sql = load("queries", views=views, log=log, found=sql.SQL("true"))
        found = sql.SQL("id IN (SELECT id FROM {} WHERE words @@ %(words)s::tsquery)")
        words = found.format(sql.Identifier(views, "words"))
        self._sql_by_text = load("queries", views=views, log=log, found=words)

    async def list_instances(
        self, filters: InstanceFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[InstanceSummary]:
        """Newest first; `limit` is cut to 1…1,000. Raises BadCursorError."""
        statement, parameters, question = self._instances(filters, cursor)
        position, rows, more = await self._reader.page(Instances.name, statement, parameters, limit)
        last = sealed(question, (rows[-1]["created_at"], rows[-1]["id"])) if more else None
        return Page([_instance(row) for row in rows], last, position)

    async def explain_instances(self, filters: InstanceFilters, *, limit: int = 100) -> str:
        """How PostgreSQL would find a page of them: for tests, and for those who wonder why it takes long."""
        statement, parameters, _ = self._instances(filters, None)
        return await self._reader.explain(statement, {**parameters, "limit": limit + 1})

    def _instances(
        self, filters: InstanceFilters, cursor: str | None
    ) -> tuple[sql.Composed, dict[str, Any], str]:
        question = digest("instances", filters)
        after_time, after_id = opened(cursor, question, _by_age) if cursor else (None, None)
        parameters = {
            **named(filters),
            "labels": Jsonb(clean(filters.labels)) if filters.labels else None,
            "words": None if filters.text is None else sought(filters.text),
            "after_time": after_time,
            "after_id": after_id,
        }
        statements = self._sql if parameters["words"] is None else self._sql_by_text
        return statements["instances"], parameters, question

    async def count_by_status(
        self, namespace: str | None = "default", definition: str | None = None
    ) -> dict[str, int]:
        """How many instances are in each status, from counters; statuses without any are absent. None: of all
        namespaces."""
        parameters = {
            "namespace": clean(namespace),
            "definition": clean(definition),
            "measures": [f"status:{status}" for status in TRANSITIONS],
        }
        _, rows = await self._reader.rows(DefinitionStatistics.name, self._sql["counts"], parameters)
        return {row["status"]: int(row["count"]) for row in rows}

    async def list_transitions(
        self, filters: TransitionFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[TransitionEntry]:
        """Newest first, across instances; `limit` is cut to 1…1,000. Raises BadCursorError."""
        question = digest("transitions", filters)
        after = opened(cursor, question, by_position) if cursor else None
        parameters = {**named(filters), "after_position": after}
        statement = self._sql["transitions"]
        position, rows, more = await self._reader.page(Transitions.name, statement, parameters, limit)
        last = sealed(question, rows[-1]["position"]) if more else None
        return Page([_transition(row) for row in rows], last, position)

    async def list_step_executions(self, instance: str) -> Page[StepSummary]:
        """Those of one instance, in the order in which they began, 10,000 at most."""
        parameters = {"instance": clean(instance), "limit": MAX_STEP_EXECUTIONS}
        statement = self._sql["step_executions"]
        position, rows = await self._reader.rows(StepExecutions.name, statement, parameters)
        return Page([_step(row) for row in rows], None, position)


# Between Python and the rows ---------------------------------------------------


def _instance(row: dict[str, Any]) -> InstanceSummary:
    row = written(row)
    parent, execution = row.pop("parent_instance"), row.pop("parent_execution")
    return InstanceSummary(
        definition_name=row.pop("definition"),
        definition_version=row.pop("version"),
        version=row.pop("event_version"),
        completed_at=row.pop("ended_at"),
        parent=None if parent is None else {"instanceId": parent, "execution": execution},
        **row,
    )


def _transition(row: dict[str, Any]) -> TransitionEntry:
    row = written(row)
    return TransitionEntry(
        instance_id=row.pop("instance"), to=row.pop("to_status"), timestamp=row.pop("at"), **row
    )


def _step(row: dict[str, Any]) -> StepSummary:
    row = written(row)
    del row["opened_by"]
    return StepSummary(**row)


def sought(text: str) -> str:
    """The query for PostgreSQL: every word quoted, so that none is an operator. Without any word it finds nothing.

    A word as it is; before a `*` at the end of a word, the beginning of one.
    """
    found: list[str] = []
    for part in clean(text).split():
        words = [f"'{word}'" for word in words_in(part)]
        if words and part.endswith("*"):
            words[-1] += ":*"
        found += words
    return " & ".join(found[:MAX_SOUGHT])


_Text = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
_by_age = msgspec.json.Decoder(tuple[str, tuple[Time, _Text]]).decode
