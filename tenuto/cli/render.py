"""What people see: tables and timelines with rich. Programs ask for `--json` and never come here.

Shows the wire's words as they are; a missing field is a blank. Nothing here decides anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenuto.wire import InstanceView

PIPED_WIDTH = 240  # into a file or a pipe: no screen, so no reason to cut an id in two
LONGEST_JSON = 200  # of a value inside a table; `--json` has it whole

_STYLES = {
    "completed": "green",
    "accepted": "green",
    "succeeded": "green",
    "failed": "red",
    "compensating": "yellow",
    "compensated": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
    "started": "cyan",
    "waiting": "magenta",
}

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], Any]]


def _field(*names: str) -> Callable[[Row], Any]:
    """The first of `names` that the row has."""
    return lambda row: next((row[name] for name in names if row.get(name) is not None), None)


def _error(row: Row) -> str | None:
    return said(row.get("error"))


def said(error: Row | None) -> str | None:
    """An error in one line: its type, or the code of one that is shown without it, and what it says."""
    if not error:
        return None
    return ": ".join(filter(None, [error.get("type") or error.get("code"), error.get("message")]))


def _last_error(last: Row | None) -> str | None:
    return f"{last.get('step', '')}: {said(last)}" if last else None


def recovered(webhook: Row) -> bool:
    """Whether its receiver has taken an event since it refused one; times have one form, so their texts compare."""
    return (webhook.get("deliveredAt") or "") > (webhook.get("lastErrorAt") or "")


def _duration(row: Row) -> str | None:
    ms = row.get("durationMs")
    if ms is None:
        return None
    return f"{ms} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"


_COLUMNS: Mapping[str, Sequence[Column]] = {
    "instances": [
        ("id", _field("id")),
        ("definition", lambda row: f"{row.get('definitionName', '')} {row.get('definitionVersion', '')}"),
        ("status", _field("status")),
        ("outcome", _field("outcome")),
        ("step", _field("currentStep")),
        ("correlation id", _field("correlationId")),
        ("created", _field("createdAt")),
    ],
    "history": [
        ("execution", _field("execution", "stepId")),
        ("name", _field("stepName")),
        ("status", _field("status")),
        ("attempt", _field("attempt")),
        ("started", _field("startedAt")),
        ("took", _duration),
        ("error", _error),
    ],
    "events": [
        ("version", _field("version")),
        ("at", _field("at")),
        ("event", _field("type")),
        ("payload", _field("payload")),
    ],
    "undo-plan": [
        ("undo step", _field("undoStep")),
        ("of", _field("execution")),
        ("input", _field("input")),
        ("output", _field("output")),
    ],
    "causes": [
        ("code", _field("code")),
        ("since", _field("since")),
        ("step", _field("execution")),
        ("why", _field("message")),
    ],
    "changes": [
        ("", _field("op")),
        ("path", _field("path")),
        ("before", _field("before")),
        ("after", _field("after")),
    ],
    "ways": [
        ("how many", _field("count")),
        ("went", _field("went")),
        ("step", _field("step")),
        ("recorded", _field("recorded")),
        ("now", _field("now")),
        ("for example", lambda row: next((one["instance"] for one in row.get("examples", [])), None)),
    ],
    "counts": [("status", _field("status")), ("instances", _field("instances"))],
    "queues": [
        ("queue", _field("queue")),
        ("depth", _field("depth")),
        ("oldest", _field("oldestAt")),
        ("running", _field("running")),
        ("pollers", _field("pollers")),
        ("taken", _field("taken")),
        ("p50 ms", _field("latencyP50Ms")),
        ("p99 ms", _field("latencyP99Ms")),
    ],
    "pools": [
        ("pool", _field("name")),
        ("queue", _field("queue")),
        ("desired", _field("desiredInstances")),
        ("min", _field("minInstances")),
        ("max", _field("maxInstances")),
        ("by", _field("scaleMetric")),
        ("value", _field("value")),
    ],
    "alerts": [
        ("instance", _field("instanceId")),
        ("alert", lambda row: str(row.get("id", "")).partition("/")[2]),
        ("severity", _field("severity")),
        ("action", _field("action")),
        ("raised", _field("raisedAt")),
        ("acknowledged by", _field("acknowledgedBy")),
        ("message", _field("message")),
    ],
    "waits": [
        ("instance", _field("instanceId")),
        ("step", _field("step")),
        ("for", _field("waitingFor")),
        ("signal", _field("signal")),
        ("key", _field("correlationKey")),
        ("since", _field("since")),
        ("until", _field("until")),
    ],
    "deadlines": [
        ("instance", _field("instanceId")),
        ("deadline", _field("name")),
        ("standing", _field("standing")),
        ("due", _field("dueAt")),
        ("escalated %", _field("escalated")),
    ],
    "statistics": [
        ("step", _field("step")),
        ("visits", _field("scheduled")),
        ("completed", _field("completed")),
        ("retried", _field("retried")),
        ("failed", _field("failed")),
        ("compensated", _field("compensated")),
        ("p50 ms", lambda row: row["duration"]["p50Ms"]),
        ("p99 ms", lambda row: row["duration"]["p99Ms"]),
    ],
    "transitions": [
        ("at", _field("timestamp", "at")),
        ("from", _field("from")),
        ("to", _field("to")),
        ("reason", _field("reason")),
    ],
    "webhooks": [
        ("name", _field("name")),
        ("url", _field("url")),
        ("topics", lambda row: ", ".join(row.get("topics") or ["every event"])),
        ("position", _field("position")),
        ("behind", _field("lagEvents")),
        ("attempts", _field("attempts")),
        ("next attempt", _field("nextAttemptAt")),
        ("dead letters", _field("deadLetters")),
        (
            "what is wrong",
            lambda row: row.get("disabled") or (None if recovered(row) else row.get("lastError")),
        ),
    ],
    "deadLetters": [
        ("position", _field("position")),
        ("attempts", _field("attempts")),
        ("last attempt", _field("at")),
        ("error", _field("error")),
    ],
    "entries": [
        ("at", _field("timestamp")),
        ("who", _field("actor")),
        ("what", _field("event")),
        ("instance", _field("instanceId")),
        ("definition", _field("definition")),
        ("why", _field("reason")),
        ("request", _field("requestId")),
    ],
}


def table(kind: str, rows: Sequence[Row]) -> None:
    """A list of the given kind, one row each."""
    console = _console()
    if not rows:
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind)
        console.print(f"No {words}.")
        return
    console.print(_table(kind, rows))


def instance(view: InstanceView) -> None:
    """An instance: its head, its data, and its history as a timeline when it has one."""
    console = _console()
    head = Table.grid(padding=(0, 2))
    for title, value in _head(view):
        if value not in (None, "", [], {}):
            head.add_row(Text(title, style="bold"), _text(value))
    console.print(head)
    for title, value in (("result", view.get("result")), ("data", view.get("data"))):
        if value is not None:
            console.print(Text(title, style="bold"))
            console.print(json.dumps(value, indent=2, ensure_ascii=False), markup=False, highlight=False)
    if view.get("history"):
        console.print(_table("history", view["history"]))


def _head(view: InstanceView) -> list[tuple[str, Any]]:
    return [
        ("id", view.get("id")),
        ("definition", f"{view.get('definitionName', '')} {view.get('definitionVersion', '')}"),
        ("status", " ".join(filter(None, [view.get("status"), "(paused)" if view.get("paused") else ""]))),
        ("outcome", view.get("outcome")),
        ("business status", view.get("businessStatus")),
        ("current step", view.get("currentStep")),
        ("waiting for", ", ".join(view.get("waitingFor") or [])),
        ("completed", ", ".join(view.get("completedSteps") or [])),
        ("pending", ", ".join(view.get("pendingSteps") or [])),
        ("correlation id", view.get("correlationId")),
        ("labels", ", ".join(f"{key}={value}" for key, value in (view.get("labels") or {}).items())),
        ("last error", _last_error(view.get("lastError"))),
        ("error", said(view.get("error"))),
        ("not undone", ", ".join(view.get("standing") or [])),
        ("version", view.get("version")),
        ("created", view.get("createdAt")),
        ("ended", view.get("completedAt")),
        ("times out", view.get("timeoutAt")),
    ]


def _table(kind: str, rows: Sequence[Any]) -> Table:
    columns = _COLUMNS[kind]
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for title, _ in columns:
        shown.add_column(title, overflow="fold", no_wrap=title in ("id", "version", "status"))
    for row in rows:
        shown.add_row(*[_text(read(row)) for _, read in columns])
    return shown


def _text(value: Any) -> Text:
    """Always a Text: what users wrote must not be read as rich's markup."""
    if value is None:
        return Text("")
    if isinstance(value, str | int):
        return Text(str(value), style=_STYLES.get(str(value), ""))
    text = json.dumps(value, ensure_ascii=False)
    return Text(text if len(text) <= LONGEST_JSON else f"{text[:LONGEST_JSON]}…")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)
