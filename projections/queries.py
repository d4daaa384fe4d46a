"""What the projections are asked: lists, counts and the audit trail, typed, and as old as the position they
name.

Reads never lock and never wait for a projection; who needs to see an own write asks the runner first
(`wait_for`). Pages are cut by key. A cursor is opaque, and belongs to the question that it continues.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct, field
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from domain.errors import TenutoError
from domain.events import Outcome, Status
from domain.executions import WaitingFor
from domain.times import rfc3339
from projections.instances import Instances
from projections.statements import load
from projections.step_executions import StepExecutions
from projections.transitions import Transitions

MAX_PAGE = 1000
MAX_STEP_EXECUTIONS = 10_000

Item = TypeVar("Item")


class BadCursorError(TenutoError):
    """The cursor cannot be used: {problem}. Ask for the first page again, without a cursor."""


class InstanceFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold. Of `statuses`, `outcomes` and `waiting_for` any one; of `labels` all."""

    namespace: str = "default"
    statuses: Sequence[Status] = ()
    outcomes: Sequence[Outcome] = ()
    definition: str | None = None
    version: str | None = None
    correlation_id: str | None = None
    parent: str | None = None
    waiting_for: Sequence[WaitingFor] = ()
    labels: dict[str, str] = field(default_factory=dict)
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
    signal: str | None
    until: str | None
    ended_by: str | None
    next: str | None
    undoes: str | None
    compensated_by: str | None


class Page(Struct, Generic[Item], frozen=True):
    """`next` continues the list, None at its end; the items are at least as new as `position` of the log."""

    items: list[Item]
    next: str | None
    position: int


class Queries:
    """The read side of one shard's views."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str) -> None:
        self._pool = pool
        self._sql = load("queries", views=views, log=sql.Identifier(views, "positions"))

    async def list_instances(
        self, filters: InstanceFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[InstanceSummary]:
        """Newest first; `limit` is cut to 1…1,000. Raises BadCursorError."""
        question = _digest("instances", filters)
        after_time, after_id = _opened(cursor, question, _by_age) if cursor else (None, None)
        parameters = {
            **_parameters(filters),
            "labels": Jsonb(_clean(filters.labels)) if filters.labels else None,
            "after_time": after_time,
            "after_id": after_id,
        }
        position, rows, more = await self._page(Instances.name, "instances", parameters, limit)
        last = _sealed(question, (rows[-1]["created_at"], rows[-1]["id"])) if more else None
        return Page([_instance(row) for row in rows], last, position)

    async def count_by_status(
        self, namespace: str = "default", definition: str | None = None
    ) -> dict[str, int]:
        """How many instances are in each status; statuses without any are absent."""
        parameters = {"namespace": _clean(namespace), "definition": _clean(definition)}
        async with self._pool.connection() as connection:
            found = await connection.execute(self._sql["counts"], parameters, prepare=False)
            return dict(await found.fetchall())

    async def list_transitions(
        self, filters: TransitionFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[TransitionEntry]:
        """Newest first, across instances; `limit` is cut to 1…1,000. Raises BadCursorError."""
        question = _digest("transitions", filters)
        after = _opened(cursor, question, _by_position) if cursor else None
        parameters = {**_parameters(filters), "after_position": after}
        position, rows, more = await self._page(Transitions.name, "transitions", parameters, limit)
        last = _sealed(question, rows[-1]["position"]) if more else None
        return Page([_transition(row) for row in rows], last, position)

    async def list_step_executions(self, instance: str) -> Page[StepSummary]:
        """Those of one instance, in the order in which they began, 10,000 at most."""
        parameters = {"instance": _clean(instance), "limit": MAX_STEP_EXECUTIONS}
        position, rows = await self._rows(StepExecutions.name, "step_executions", parameters)
        return Page([_step(row) for row in rows], None, position)

    async def _page(
        self, projection: str, statement: str, parameters: dict[str, Any], limit: int
    ) -> tuple[int, list[dict[str, Any]], bool]:
        """One row more than asked for says whether there is a next page."""
        size = max(1, min(limit, MAX_PAGE))
        position, rows = await self._rows(projection, statement, {**parameters, "limit": size + 1})
        return position, rows[:size], len(rows) > size

    async def _rows(
        self, projection: str, statement: str, parameters: dict[str, Any]
    ) -> tuple[int, list[dict[str, Any]]]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(self._sql["position"], {"projection": projection})
            place = await cursor.fetchone()
            # Planned anew each time: which filters are given decides which index serves.
            await cursor.execute(self._sql[statement], parameters, prepare=False)
            return place["position"] if place else 0, await cursor.fetchall()


# Cursors: what the last row was, and a digest of the question ------------------


def _digest(subject: str, filters: Struct) -> str:
    asked = msgspec.json.encode([subject, filters], order="deterministic")
    return hashlib.sha256(asked).hexdigest()[:16]


def _sealed(question: str, key: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([question, key])).decode().rstrip("=")


def _opened(cursor: str, question: str, decode: Callable[[bytes], tuple[str, Item]]) -> Item:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        asked, key = decode(raw)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadCursorError(problem="it is none of ours") from error
    if asked != question:
        raise BadCursorError(problem="it continues another question than this one")
    return key


_Text = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
_Time = Annotated[datetime, Meta(tz=True)]
_Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_by_age = msgspec.json.Decoder(tuple[str, tuple[_Time, _Text]]).decode
_by_position = msgspec.json.Decoder(tuple[str, _Position]).decode


# Between Python and the rows ---------------------------------------------------


def _parameters(filters: Struct) -> dict[str, Any]:
    """By name; what was not given is None."""
    given = {name: _clean(getattr(filters, name)) for name in filters.__struct_fields__}
    return {name: None if value == [] else value for name, value in given.items()}


def _clean(value: Any) -> Any:
    """NUL is stored as U+FFFD (see `projections/log.py`), so it is looked for as such."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_clean(name): _clean(inner) for name, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, Sequence) else value


def _written(row: dict[str, Any]) -> dict[str, Any]:
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _instance(row: dict[str, Any]) -> InstanceSummary:
    row = _written(row)
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
    row = _written(row)
    return TransitionEntry(
        instance_id=row.pop("instance"), to=row.pop("to_status"), timestamp=row.pop("at"), **row
    )


def _step(row: dict[str, Any]) -> StepSummary:
    row = _written(row)
    del row["opened_by"]
    return StepSummary(**row)
