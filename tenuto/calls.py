"""Every request to the server, described once: method, path, body, and how its answer reads.

Nothing here does I/O: `Client` and `AsyncClient` (`client.py`) send what they are handed, by the rules of
`exchange.py`. The wire: HTTP API reference, `/v1`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from tenuto.definition_text import Source, text_of
from tenuto.durations import to_seconds, to_text
from tenuto.errors import WaitTimeoutError
from tenuto.exchange import Call, Pause, Script, exchange
from tenuto.wire import (
    ENDED,
    DefinitionView,
    EventView,
    ExecutionView,
    InstanceView,
    Page,
    SignalView,
    TransitionView,
)

T = TypeVar("T")

LONGEST_HOLD_S = 30.0  # one long poll; waiting longer is several


def until_ended(instance_id: str, timeout: float | str | None, retries: int) -> Script[InstanceView]:
    """Long-poll an instance until it has ended; WaitTimeoutError after `timeout` (seconds or `5m`; None:
    never).
    """
    limit = None if timeout is None else time.monotonic() + to_seconds(timeout)
    while True:
        hold = LONGEST_HOLD_S if limit is None else min(LONGEST_HOLD_S, max(limit - time.monotonic(), 0.0))
        asked_at = time.monotonic()
        view = yield from exchange(instance(instance_id, wait=hold), retries)
        if view.get("status") in ENDED:
            return view
        if limit is not None and time.monotonic() >= limit:
            raise WaitTimeoutError(
                f"Instance {instance_id} is still {view.get('status')} after {timeout}; it goes on."
            )
        if time.monotonic() - asked_at < 0.5:  # answered without holding: do not ask in a tight loop
            yield Pause(0.5 if limit is None else max(0.01, min(0.5, limit - time.monotonic())))


# --- definitions


def deploy(
    source: Source, name: str | None = None, *, dry_run: bool = False, strict: bool = False
) -> Call[DefinitionView]:
    """Deploy a definition: a file (path), its text, its data, or a `workflow` builder.

    `dry_run` verifies only. `strict` refuses where verification would warn about an unknown service.
    Raises InvalidInputError with `findings`, ConflictError when the version is taken by other text.
    """
    definition = text_of(source)
    query = {"dryRun": dry_run or None, "strict": strict or None, "source": definition.place}
    return Call(
        method="PUT",
        path=f"/v1/definitions/{part(name or definition.name)}",
        read=as_is,
        query=_query(query),
        body=definition.text,
        headers={"Content-Type": "application/json" if definition.is_json else "application/yaml"},
        repeatable=True,
    )


def definitions(*, limit: int | None = None, cursor: str | None = None) -> Call[Page[DefinitionView]]:
    """What is deployed, one page."""
    return get("/v1/definitions", page, limit=limit, cursor=cursor)


def definition(name: str, version: str | None = None) -> Call[DefinitionView]:
    """One definition: the newest version, or the one named."""
    path = f"/v1/definitions/{part(name)}"
    return get(path if version is None else f"{path}/versions/{part(version)}", as_is)


# --- instances


def start(
    definition: str,
    input: Any = None,
    *,
    version: str | None = None,
    correlation_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    priority: str | int | None = None,
    start_at: datetime | str | None = None,
    idempotency_key: str | None = None,
    wait: float | str | None = None,
) -> Call[InstanceView]:
    """Start an instance; with `wait` (seconds or `30s`) the answer is held until it ends or that time is
    over, a minute at most: `Client.wait` waits longer.

    `position` in the answer is where it stands in the log: `list` takes it as `min_position`. The same
    `idempotency_key` starts once; without one a key is made, so that a retry after a lost answer is safe.
    """
    body = {
        "definition": definition,
        "input": {} if input is None else input,
        "version": version,
        "correlationId": correlation_id,
        "labels": labels,
        "priority": priority,
        "startAt": moment(start_at),
    }
    call: Call[InstanceView] = post("/v1/instances", _given(body), as_is)
    key = idempotency_key or secrets.token_hex(16)
    return _held(replace(call, headers={**call.headers, "Idempotency-Key": key}, repeatable=True), wait)


def instance(
    instance_id: str, *, history: bool = False, wait: float | str | None = None
) -> Call[InstanceView]:
    """An instance, read from its own log; `history` adds its step executions, `wait` holds until it ends,
    a minute at most.
    """
    return _held(get(instance_path(instance_id), as_is, include="history" if history else None), wait)


def list_(
    *,
    status: Sequence[str] | str | None = None,
    outcome: Sequence[str] | str | None = None,
    definition: str | None = None,
    version: str | None = None,
    correlation_id: str | None = None,
    waiting_for: Sequence[str] | str | None = None,
    business_status: str | None = None,
    parent: str | None = None,
    labels: Mapping[str, str] | None = None,
    text: str | None = None,
    older_than: str | None = None,
    younger_than: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    min_position: int | None = None,
) -> Call[Page[InstanceView]]:
    """Instances that match every filter given, one page, newest first.

    `text` are words of its id, correlation id, labels or input. `min_position` waits until the list shows what was
    done at that position: your own start, for example.
    """
    return get(
        "/v1/instances",
        page,
        status=status,
        outcome=outcome,
        definition=definition,
        version=version,
        correlationId=correlation_id,
        waitingFor=waiting_for,
        businessStatus=business_status,
        parent=parent,
        text=text,
        olderThan=older_than,
        youngerThan=younger_than,
        labels=None if labels is None else [f"{key}={value}" for key, value in labels.items()],
        limit=limit,
        cursor=cursor,
        minPosition=min_position,
    )


def events(instance_id: str, *, limit: int | None = None, cursor: str | None = None) -> Call[Page[EventView]]:
    """The log of an instance, oldest first, one page."""
    return get(instance_path(instance_id, "events"), page, limit=limit, cursor=cursor)


def history(
    instance_id: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[ExecutionView]]:
    """The step executions of an instance, in order, one page."""
    return get(instance_path(instance_id, "history"), page, limit=limit, cursor=cursor)


def transitions(
    instance_id: str, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[TransitionView]]:
    """Every change of an instance's status with its reason, one page."""
    return get(instance_path(instance_id, "transitions"), page, limit=limit, cursor=cursor)


def state(
    instance_id: str, *, version: int | None = None, at: datetime | str | None = None
) -> Call[InstanceView]:
    """An instance as it was after event `version`, or at the moment `at`; with neither, as it is."""
    return get(instance_path(instance_id, "state"), as_is, version=version, at=moment(at))


# --- signals and acts


def signal(
    instance_id: str, name: str, payload: Any = None, *, signal_id: str | None = None
) -> Call[SignalView]:
    """Send a signal to an instance. The same `signal_id` counts once; without one an id is made."""
    body = {"signalId": signal_id or secrets.token_hex(16), "payload": {} if payload is None else payload}
    return replace(post(instance_path(instance_id, "signals", name), body, as_is), repeatable=True)


def signal_by_key(
    name: str,
    correlation_id: str,
    payload: Any = None,
    *,
    signal_id: str | None = None,
    all: bool = False,
    ttl: float | str | None = None,
) -> Call[SignalView]:
    """Send a signal to whatever waits under a correlation key. Several matches need `all`; `ttl` keeps it
    when none does.
    """
    body = {
        "correlationId": correlation_id,
        "signalId": signal_id or secrets.token_hex(16),
        "payload": {} if payload is None else payload,
    }
    query = _query({"all": all or None, "ttl": None if ttl is None else to_text(ttl)})
    return replace(post(f"/v1/signals/{part(name)}", body, as_is), query=query, repeatable=True)


# Semantics, law 4: a command repeated yields no events. Of the others a second one would be another act.
_REPEATABLE_ACTS = frozenset({"cancel", "terminate", "pause", "resume"})


def act(instance_id: str, act: str, reason: str, **fields: Any) -> Call[InstanceView]:
    """Any act of a person on an instance, by its name in the URL; `fields` that are None are left out."""
    call: Call[InstanceView] = post(
        instance_path(instance_id, act), _given({"reason": reason, **fields}), as_is
    )
    return replace(call, repeatable=act in _REPEATABLE_ACTS)


def cancel(instance_id: str, reason: str) -> Call[InstanceView]:
    """End the instance and undo what it did."""
    return act(instance_id, "cancel", reason)


def terminate(instance_id: str, reason: str) -> Call[InstanceView]:
    """End the instance at once; what it did stays."""
    return act(instance_id, "terminate", reason)


def pause(instance_id: str, reason: str) -> Call[InstanceView]:
    """Dispatch nothing new; timers run on."""
    return act(instance_id, "pause", reason)


def resume(instance_id: str, reason: str) -> Call[InstanceView]:
    """Go on after `pause`."""
    return act(instance_id, "resume", reason)


def retry(instance_id: str, reason: str, *, execution: str | None = None) -> Call[InstanceView]:
    """Try the step that waits for a person once more; on an ended instance, fork."""
    return act(instance_id, "retry", reason, execution=execution)


def skip(instance_id: str, reason: str, *, execution: str | None = None) -> Call[InstanceView]:
    """Go on without the step that waits for a person."""
    return act(instance_id, "skip", reason, execution=execution)


def resolve(
    instance_id: str, reason: str, *, execution: str | None = None, output: Any = None
) -> Call[InstanceView]:
    """Say what the step that waits for a person should have answered: `output`."""
    return act(instance_id, "resolve", reason, execution=execution, output=output)


def compensate(instance_id: str, reason: str) -> Call[InstanceView]:
    """Undo everything, then end."""
    return act(instance_id, "compensate", reason)


def fail(instance_id: str, reason: str, *, execution: str | None = None) -> Call[InstanceView]:
    """Let the step that waits for a person fail for good: as after its last attempt, what was done is undone."""
    return act(instance_id, "fail", reason, execution=execution)


def give_up(instance_id: str, reason: str, *, execution: str | None = None) -> Call[InstanceView]:
    """Accept that an undo could not be done; the effect stands."""
    return act(instance_id, "give-up", reason, execution=execution)


def change_data(instance_id: str, reason: str, data: Mapping[str, Any]) -> Call[InstanceView]:
    """Merge `data` into the instance's data."""
    return act(instance_id, "data", reason, data=data)


def acknowledge(instance_id: str, alert_id: str, reason: str) -> Call[InstanceView]:
    """Say that somebody looks after an alert; `alert_id` is that of its AlertRaised, such as `ship#1/failed`."""
    path = f"/v1/alerts/{part(instance_id)}/{quote(alert_id)}/acknowledge"
    return post(path, {"reason": reason}, as_is)


def health() -> Call[dict[str, Any]]:
    """Whether the server is alive."""
    return get("/healthz", as_is)


# --- how a call is put together


def as_is(body: Any) -> Any:
    return body


def page(body: Any) -> Page[Any]:
    """Lists answer `{<plural>: […], "next": cursor | null}`; the one array is the page."""
    items: list[Any] = next((value for value in body.values() if isinstance(value, list)), [])
    return Page(items, body.get("next"), body.get("position"))


def get(path: str, read: Callable[[Any], T], **query: Any) -> Call[T]:
    return Call(method="GET", path=path, read=read, query=_query(query), repeatable=True)


def post(path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> Call[T]:
    text = json.dumps(body, allow_nan=False)
    return Call(method="POST", path=path, read=read, body=text, headers={"Content-Type": "application/json"})


def _held(call: Call[T], wait: float | str | None) -> Call[T]:
    if wait is None:
        return call
    return replace(call, query=[*call.query, ("wait", to_text(wait))], held_s=to_seconds(wait))


def _query(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        many = value if isinstance(value, list | tuple) else [value]
        pairs.extend((key, "true" if one is True else str(one)) for one in many if one is not None)
    return pairs


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}


def part(text: str) -> str:
    return quote(text, safe="")


def instance_path(instance_id: str, *rest: str) -> str:
    return "/".join(["/v1/instances", part(instance_id), *map(part, rest)])


def moment(at: datetime | str | None) -> str | None:
    """RFC 3339 in UTC; a time without a zone is refused, since guessing one would start work at the wrong
    hour.
    """
    if at is None or isinstance(at, str):
        return at
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone: write datetime(…, tzinfo=UTC)")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
