"""The projection `alerts`: who should look at what, and who has (S150). An alert raised again is open again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Cursor, sql

from domain.calls import StepError
from domain.events import AlertAcknowledged, AlertRaised
from projections.log import Logged
from projections.origins import Origins
from projections.statements import Statements, load


class Row(Struct, kw_only=True):
    """A row of the table, as JSON."""

    instance: str
    alert: str
    position: int
    namespace: str
    definition: str
    severity: str
    step: str
    action: str
    message: str
    error: StepError | None
    retry_count: int | None
    raised_at: datetime


class Acknowledgement(Struct, kw_only=True):
    instance: str
    alert: str
    acknowledged_at: datetime
    acknowledged_by: str | None
    acknowledged_because: str | None


class Alerts:
    """See `Projection`."""

    name = "alerts"
    every_event = False
    wanted = frozenset({AlertRaised.__name__, AlertAcknowledged.__name__})

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._origins = Origins(views, log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        raised: dict[tuple[str, str], Row] = {}
        for logged in [it for it in events if type(it.happened.event).__name__ in self.wanted]:
            event, now = logged.happened.event, logged.happened
            if isinstance(event, AlertRaised):
                self._origins.look_up(cursor, {logged.stream})
                raised[logged.stream, event.alert_id] = self._row(logged, event)
            elif isinstance(event, AlertAcknowledged):
                self._write(cursor, "raise", list(raised.values()))
                raised = {}
                seen = Acknowledgement(
                    instance=logged.stream,
                    alert=event.alert_id,
                    acknowledged_at=now.at,
                    acknowledged_by=now.actor,
                    acknowledged_because=now.reason,
                )
                self._write(cursor, "acknowledge", [seen])
        self._write(cursor, "raise", list(raised.values()))

    def _write(self, cursor: Cursor[Any], statement: str, rows: Sequence[Struct]) -> None:
        if rows:
            cursor.execute(self.statements[statement], {"rows": msgspec.json.encode(rows).decode()})

    def _row(self, logged: Logged, event: AlertRaised) -> Row:
        origin = self._origins.of(logged)
        return Row(
            instance=logged.stream,
            alert=event.alert_id,
            position=logged.position,
            namespace=origin.namespace,
            definition=origin.definition,
            severity=event.severity,
            step=event.step,
            action=event.action,
            message=event.message,
            error=event.error,
            retry_count=event.retry_count,
            raised_at=logged.happened.at,
        )
