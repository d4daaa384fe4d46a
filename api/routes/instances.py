"""One instance: started, and read as it is or was. Everything here comes from its own log, never from a projection."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import StartBody
from api.errors import InvalidParameterError
from api.past import check_zone, past_of
from api.reading import events_after, happened_of, state_of, view_now, view_of
from api.routes import examples
from api.routes.paging import DEFAULT_PAGE, Cursor, Limit, number_of, page
from api.routing import ACTOR, Routes, refuse_others
from api.wiring import caller_of, etag, reply, seconds_of, while_connected, wiring_of
from domain.digest import digest
from domain.evolve import evolve
from domain.history import instance_view, step_executions, timed, transitions
from domain.state import State
from engine.engine import Engine
from engine.messages import Answer, StartRequest

routes = Routes("instances")

WAIT = ("Hold the answer until the instance has ended, at most so long (a minute).", "30s")
Wait = Annotated[str | None, Query(description=WAIT[0], examples=[WAIT[1]])]


@routes.add(
    "POST",
    "/v1/instances",
    answers={201: examples.INSTANCE, 200: examples.INSTANCE},
    body=StartBody,
    example={
        "definition": "order",
        "input": {"orderId": "o-17", "amount": 4200},
        "correlationId": "order-17",
        "labels": {"tier": "premium"},
    },
    problems=(404, 413, 415),
    headers=(*ACTOR, "Idempotency-Key"),
    query={"wait": WAIT},
    fast=True,
)
async def start_instance(request: Request) -> Response:
    """Start an instance.

    201 when it was created. With an `Idempotency-Key`, the same request again is 200 with the same answer; the same key
    with another body is 422.
    """
    wiring_of(request).engine.check_room()
    seconds = _wait_in(request.scope["query_string"])
    body, raw = await bodies.read(request, StartBody)
    bodies.check_payload(body.input, "The input", raw)
    wiring, caller = wiring_of(request), caller_of(request, body.actor)
    key = idempotency_key(request)
    start = StartRequest(
        namespace=caller.namespace,
        definition=body.definition,
        version=body.version,
        input=body.input,
        correlation_id=body.correlation_id,
        labels=body.labels,
        priority=body.priority,
        start_at=body.start_at,
        idempotency_key=key,
        body_hash="" if key is None else digest(msgspec.to_builtins(body)),
        actor=caller.actor,
        request_id=caller.request_id,
    )
    if seconds:
        answer, view = await _run(request, start, seconds)
    else:
        answer = await wiring.engine.start_instance(start)
        view = await _started(wiring.engine, answer)
    headers = {"Location": f"/v1/instances/{answer.instance_id}", "ETag": etag(view["version"])}
    if answer.position is not None:
        headers["Tenuto-Position"] = str(answer.position)
    return reply(view, 201 if answer.created else 200, headers)


@lru_cache(maxsize=256)
def _wait_in(query: bytes) -> float:
    """How long to hold the answer, in seconds: most callers ask for the same, again and again."""
    asked = QueryParams(query)
    refuse_others(asked, ["wait"])
    return seconds_of(asked.get("wait"))


def idempotency_key(request: Request) -> str | None:
    """The header, if it is there. Raises InvalidParameterError."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 256 and key.isprintable()):
        expected = "1 to 256 printable characters"
        raise InvalidParameterError(
            place="header", name="Idempotency-Key", value=key[:256], expected=expected
        )
    return key


async def _run(request: Request, start: StartRequest, seconds: float) -> tuple[Answer, dict[str, Any]]:
    """Starts it, and waits for its end. What went by meanwhile need not be read again."""
    engine = wiring_of(request).engine
    instance_id = engine.new_instance_id()
    with engine.onlooker(instance_id) as onlooker:
        answer = await engine.start_instance(start, instance_id)
        if answer.instance_id == instance_id:
            await while_connected(request, engine.wait_for(onlooker, instance_id, seconds), None)
            history, state = onlooker.history, onlooker.state
            if state is not None and history is not None:
                return answer, instance_view(state, timed(enumerate(history, start=1)))
        else:
            await while_connected(request, engine.wait_for_end(answer.instance_id, seconds), None)
    return answer, await view_now(request, answer.instance_id)


async def _started(engine: Engine, answer: Answer) -> dict[str, Any]:
    """The instance right after its start: the same for the first answer, made from memory, and for a repeated one."""
    if not answer.created:
        state = await engine.state_of(answer.instance_id, version=answer.version)
        return await view_of(engine, state)
    state = State(id=answer.instance_id)
    for event in answer.events:
        evolve(state, event)
    return instance_view(state, timed(enumerate(answer.events, start=1)))


@routes.add(
    "GET",
    "/v1/instances/{instance_id}",
    answers={200: examples.INSTANCE},
    problems=(404,),
)
async def get_instance(
    request: Request,
    instance_id: str,
    *,
    include: Annotated[
        Literal["history"] | None,
        Query(description="Adds `history`: the step executions.", examples=["history"]),
    ] = None,
    wait: Wait = None,
) -> Response:
    """Read an instance.

    As it is now: folded from its own log, so never stale. `ETag` is its version.
    """
    engine, seconds = wiring_of(request).engine, seconds_of(wait)
    state = await state_of(request, instance_id)
    if seconds and not state.ended:
        await while_connected(request, engine.wait_for_end(instance_id, seconds), None)
        state = await state_of(request, instance_id)
    view = await view_of(engine, state, include_history=include is not None)
    return reply(view, 200, {"ETag": etag(state.version)})


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/events",
    answers={200: {"events": [examples.EVENT], "next": None}},
    problems=(404,),
)
async def list_events(
    request: Request,
    instance_id: str,
    *,
    after: Annotated[
        int | None, Query(ge=0, le=2**53, description="Only events above this version.", examples=[3])
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
) -> Response:
    """Read the log of an instance.

    Every event as it is stored, oldest first. To follow a running instance, ask with `after` and the last version seen.
    """
    await state_of(request, instance_id)
    begin = number_of(cursor) if cursor is not None else after or 0
    events = await events_after(wiring_of(request).engine, instance_id, begin, limit + 1)
    shown = events[:limit]
    return reply({"events": shown, "next": str(shown[-1]["version"]) if len(events) > limit else None})


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/history",
    answers={200: {"executions": [examples.EXECUTION], "next": None}},
    problems=(404,),
)
async def list_history(
    request: Request, instance_id: str, *, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Read the step executions of an instance.

    One entry per visit of a step, in the order in which they began, each with its attempts, times and errors.
    """
    state = await state_of(request, instance_id)
    executions = step_executions(await happened_of(wiring_of(request).engine, state))
    shown, more = page(executions, limit, cursor)
    return reply({"executions": shown, "next": more})


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/transitions",
    answers={200: {"transitions": [examples.TRANSITION], "next": None}},
    problems=(404,),
)
async def list_instance_transitions(
    request: Request, instance_id: str, *, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Read the changes of an instance's status.

    Each with its reason, oldest first.
    """
    state = await state_of(request, instance_id)
    changes = transitions(await happened_of(wiring_of(request).engine, state))
    shown, more = page(changes, limit, cursor)
    return reply({"transitions": shown, "next": more})


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/state",
    answers={200: examples.INSTANCE},
    problems=(404,),
)
async def get_state(
    request: Request,
    instance_id: str,
    *,
    version: Annotated[
        int | None, Query(ge=1, le=2**53, description="As it was after so many events.", examples=[3])
    ] = None,
    at: Annotated[
        datetime | None, Query(description="As it was at this moment (RFC 3339).", examples=[examples.AT])
    ] = None,
) -> Response:
    """Read an instance as it was.

    After `version` events, or at the moment `at`; with neither, as it is.
    """
    if at is not None:
        check_zone("at", at)
    if at is not None and version is not None:
        raise InvalidParameterError(
            place="query", name="at", value=at.isoformat(), expected="absent beside version"
        )
    past = await past_of(request, instance_id)
    if at is not None:
        shown = past.point("at", at)
    else:
        shown = past.now if version is None else past.version("version", version)
    return reply(past.view(shown), 200, {"ETag": etag(shown)})
