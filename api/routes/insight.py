"""What people ask of one instance: why it is not moving, what would be undone, what changed between two moments."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.past import past_of
from api.reading import happened_of, state_of
from api.routes import examples
from api.routing import Routes
from api.wiring import etag, namespace_of, reply, wiring_of
from domain.codec import decode
from domain.comparing import changes
from domain.errors import CorruptHistoryError, UnknownInstanceError
from domain.events import InstanceStarted
from domain.history import step_executions
from domain.state import State
from domain.times import rfc3339
from domain.undo_plan import REASON, undo_plan
from domain.why import Cause, unreadable, why

routes = Routes("insight")

MAX_EVENTS = 100
"""Events that a diff names; there may be more between its two ends."""


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/why",
    answers={200: examples.WHY},
    problems=(404,),
)
async def get_why(request: Request, instance_id: str) -> Response:
    """Ask why an instance is not moving.

    Every cause with a stable `code`, since when, and what would move it; the most blocking first. Who polls a queue is
    what this server has seen.
    """
    try:
        state = await state_of(request, instance_id)
    except CorruptHistoryError as error:
        return reply(await _of_unreadable(request, instance_id, error))
    engine = wiring_of(request).engine
    facts = engine.facts_of(state)
    causes = why(state, await happened_of(engine, state), await engine.program_of(state), facts)
    return reply(_answer(state, causes) | {"at": rfc3339(facts.at)}, 200, {"ETag": etag(state.version)})


def _answer(state: State, causes: list[Cause]) -> dict[str, Any]:
    return {
        "instanceId": state.id,
        "status": state.status,
        "paused": state.paused,
        "version": state.version,
        "summary": causes[0].message if causes else None,
        "causes": [msgspec.to_builtins(cause) for cause in causes],
    }


async def _of_unreadable(request: Request, instance_id: str, error: CorruptHistoryError) -> dict[str, Any]:
    """Its first event says whose it is, if that can be read."""
    wiring = wiring_of(request)
    (first,) = await wiring.engine.history(instance_id, limit=1)
    started = decode(first.topic, first.payload)
    if not isinstance(started, InstanceStarted) or started.namespace != namespace_of(request):
        raise UnknownInstanceError(instance_id=instance_id)
    version = (await wiring.store.versions([instance_id]))[instance_id]
    cause = unreadable(instance_id, f"version {error.details['version']}: {error.details['problem']}")
    answer = _answer(State(id=instance_id, version=version), [cause])
    return answer | {"status": None, "at": rfc3339(wiring.clock.now())}


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/undo-plan",
    answers={200: examples.UNDO_PLAN},
    problems=(404,),
)
async def get_undo_plan(
    request: Request,
    instance_id: str,
    *,
    reason: Annotated[
        str,
        Query(
            min_length=1, max_length=2_000, description="What the undos would hear.", examples=["she called"]
        ),
    ] = REASON,
) -> Response:
    """Read what a rollback would undo now.

    If it failed or were cancelled: `steps` in the order in which they would be undone, each with what its undo would be
    asked; `standing` has effects that nothing undoes, `mayJoin` what may still succeed and is undone then.
    """
    state = await state_of(request, instance_id)
    wiring = wiring_of(request)
    executions = step_executions(await happened_of(wiring.engine, state))
    program = await wiring.engine.program_of(state)
    plan = undo_plan(state, program, executions, wiring.clock.now(), reason)
    return reply(plan, 200, {"ETag": etag(state.version)})


@routes.add(
    "GET",
    "/v1/instances/{instance_id}/diff",
    answers={200: examples.DIFF},
    problems=(404,),
)
async def get_diff(
    request: Request,
    instance_id: str,
    *,
    begin: Annotated[
        str,
        Query(alias="from", max_length=100, description="A version, or a time (RFC 3339).", examples=["3"]),
    ],
    end: Annotated[
        str | None,
        Query(
            alias="to",
            max_length=100,
            description="A version, or a time; as it is now when left out.",
            examples=[examples.AT],
        ),
    ] = None,
) -> Response:
    """Compare an instance with itself at another time.

    `changes` of its view, each with its path and both sides, and the `events` that made them (a hundred at most).
    """
    past = await past_of(request, instance_id)
    first = past.named("from", begin)
    last = past.now if end is None else past.named("to", end)
    sides = [{**past.view(version)} for version in (first, last)]
    for side in sides:
        del side["version"]
    found, more = changes(*sides)
    between = past.history[min(first, last) : max(first, last)]
    events = [
        {"version": one.version, "type": type(one.event).__name__, "at": rfc3339(one.at)} for one in between
    ]
    return reply(
        {
            "from": {"version": first, "at": rfc3339(past.history[first - 1].at)},
            "to": {"version": last, "at": rfc3339(past.history[last - 1].at)},
            "changes": found,
            "moreChanges": more,
            "events": events[:MAX_EVENTS],
            "moreEvents": max(0, len(events) - MAX_EVENTS),
        }
    )
