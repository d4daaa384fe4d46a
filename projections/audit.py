"""The projection `audit`: who did what, when, why, and by which request. One row per start, change of status, act of a
person, signal, deploy, migration, and change of a webhook.

What an act was done to is in `detail`; payloads are not, they stand in the log. `KINDS` is the list of what counts.
What a fork has copied is no act on it: it stands under the instance that it was done to, which `Forked` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct
from psycopg import Cursor, sql

from domain.codec import TOPICS
from domain.errors import CorruptHistoryError
from domain.events import CompensationStarted, DefinitionDeployed, Event, InstanceStarted
from domain.moves import Forked
from domain.other_events import WebhookDisabled, WebhookRegistered, WebhookRemoved
from projections.log import Logged, decode
from projections.statements import Statements, load

Kind = Literal["start", "transition", "act", "signal", "deploy", "migration", "webhook"]

ACTS = (
    "CancelRequested",
    "TerminateRequested",
    "Paused",
    "Resumed",
    "StepRetried",
    "StepSkipped",
    "StepGivenUp",
    "StepResolved",
    "DataChanged",
    "CompensationGivenUp",
    "CompensationStarted",
    "AlertAcknowledged",
    "Forked",
)
"""What people do. A rollback counts only when an operator began it."""
WEBHOOKS = (WebhookRegistered, WebhookDisabled, WebhookRemoved)
KINDS: Mapping[str, Kind] = {
    "InstanceStarted": "start",
    "StatusChanged": "transition",
    "SignalReceived": "signal",
    "DefinitionDeployed": "deploy",
    "Migrated": "migration",
    **dict.fromkeys(ACTS, "act"),
    **{kind.__name__: "webhook" for kind in WEBHOOKS},
}
ALL_KINDS: tuple[Kind, ...] = get_args(Kind)
OF_NO_INSTANCE = (DefinitionDeployed, *WEBHOOKS)
DETAILS = (
    "from", "to", "outcome", "execution", "executions", "alertId", "signalId", "name", "version", "hash",
    "fromVersion", "toVersion", "toHash", "correlationId", "parent", "idempotencyKey", "url", "topics",
)  # fmt: skip
MAX_ORIGINS = 10_000
LOOK_BACK = 64
"""Events read at once to find the beginning of a command that was under way; nearly always enough."""


class Origin(Struct, frozen=True):
    """Where an instance belongs, or what else something was done to."""

    namespace: str
    definition: str | None


class Row(Struct, kw_only=True):
    """A row of the table, as JSON."""

    position: int
    namespace: str
    kind: Kind
    event: str
    instance: str | None
    definition: str | None
    version: int
    actor: str | None
    reason: str | None
    request_id: str | None
    at: datetime
    detail: dict[str, Any]


class Audit:
    """See `Projection`."""

    name = "audit"
    every_event = False
    wanted = frozenset(KINDS) & TOPICS.keys()

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._origins: dict[str, Origin] = {}  # Facts that never change, so a rollback leaves nothing wrong.

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        self._learn(cursor, events)
        rows: list[Row] = []
        stimulus: Event | None = None
        for logged in events:
            event = logged.happened.event
            if event.at is not None:
                stimulus = event
            if not _counts(event):
                continue
            if stimulus is None:
                stimulus = self._stimulus(cursor, logged)
            rows.append(self._row(logged, stimulus.request_id))
        if rows:
            cursor.execute(self.statements["insert"], {"rows": msgspec.json.encode(rows).decode()})
        for row in rows:
            if row.event == Forked.__name__:
                forked = {"stream": row.instance, "version": row.version}
                cursor.execute(self.statements["forget_copies"], forked)
        while len(self._origins) > MAX_ORIGINS:
            del self._origins[next(iter(self._origins))]

    def _row(self, logged: Logged, request_id: str | None) -> Row:
        now, event = logged.happened, logged.happened.event
        topic = type(event).__name__
        said = msgspec.to_builtins(event)
        origin = self._origins.get(logged.stream)
        if isinstance(event, DefinitionDeployed):
            origin = Origin(event.namespace, event.name)
        elif isinstance(event, WEBHOOKS):
            _, namespace, said["name"] = logged.stream.split("/")
            origin = Origin(namespace, said.get("definition"))
        if origin is None:
            problem = f"{topic} of an instance that was never started"
            raise CorruptHistoryError(instance_id=logged.stream, version=now.version, problem=problem)
        return Row(
            position=logged.position,
            namespace=origin.namespace,
            kind=KINDS[topic],
            event=topic,
            instance=None if isinstance(event, OF_NO_INSTANCE) else logged.stream,
            definition=origin.definition,
            version=now.version,
            actor=now.actor,
            reason=now.reason,
            request_id=request_id,
            at=now.at,
            detail={name: said[name] for name in DETAILS if name in said},
        )

    def _learn(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        """Where the instances of a batch belong: from the batch, else from the log."""
        for logged in events:
            if isinstance(logged.happened.event, InstanceStarted):
                self._remember(logged.stream, logged.happened.event)
        counted = {
            logged.stream
            for logged in events
            if _counts(logged.happened.event) and not isinstance(logged.happened.event, OF_NO_INSTANCE)
        }
        if unknown := counted - self._origins.keys():
            cursor.execute(self.statements["origins"], {"ids": list(unknown)})
            for instance, topic, payload in cursor.fetchall():
                first = decode(topic, payload, self.wanted)
                if isinstance(first, InstanceStarted):
                    self._remember(instance, first)

    def _remember(self, instance: str, event: InstanceStarted) -> None:
        self._origins[instance] = Origin(event.namespace, event.definition)

    def _stimulus(self, cursor: Cursor[Any], logged: Logged) -> Event:
        """The first event of the command that this one follows from, which came in an earlier batch."""
        version = logged.happened.version
        while version > 1:
            asked = {"stream": logged.stream, "version": version, "limit": LOOK_BACK}
            cursor.execute(self.statements["led_up"], asked)
            for topic, payload in cursor.fetchall():
                event = decode(topic, payload, frozenset())
                if event.at is not None:
                    return event
            version -= LOOK_BACK
        problem = "a consequence has no stimulus"
        raise CorruptHistoryError(instance_id=logged.stream, version=logged.happened.version, problem=problem)


def _counts(event: Event) -> bool:
    if isinstance(event, CompensationStarted):
        return event.trigger == "operator"
    return type(event).__name__ in KINDS
