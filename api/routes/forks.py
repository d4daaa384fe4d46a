"""Forks: a new instance that goes on from a point of an old one, which stays as it is."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import ActBody, ForkBody
from api.errors import InvalidBodyError
from api.reading import state_of, view_now
from api.routes import examples
from api.routes.instances import idempotency_key
from api.routing import ACTOR, Routes
from api.wiring import caller_of, etag, reply, wiring_of
from domain.digest import digest
from engine.messages import ForkRequest

routes = Routes("forks")


@routes.add(
    "POST",
    "/v1/instances/{instance_id}/fork",
    answers={201: examples.FORK, 200: examples.FORK},
    body=ForkBody,
    example=examples.REASON | {"fromExecution": "ship#1", "data": {"shippingAddress": {"city": "Bremen"}}},
    problems=(404, 409, 413, 415),
    headers=(*ACTOR, "Idempotency-Key"),
)
async def fork_instance(request: Request, instance_id: str) -> Response:
    """Go on from a point of an instance, as a new one.

    The point is `fromVersion`, or the nearest one before it at which a command's events end (`forkedFrom` says which),
    or right after `fromExecution` was first scheduled, or began to wait; with neither, where a step failed for good.
    With an `Idempotency-Key` it happens once.
    """
    body, raw = await bodies.read(request, ForkBody)
    for value, subject in ((body.input, "The input"), (body.data, "The data")):
        if value is not msgspec.UNSET:
            bodies.check_payload(value, subject, raw)
    if body.from_version is not None and body.from_execution is not None:
        raise InvalidBodyError(problem="give `fromVersion` or `fromExecution`, not both", path="$", errors=[])
    await state_of(request, instance_id)
    asked = ForkRequest(
        instance_id=instance_id,
        version=body.from_version,
        execution=body.from_execution,
        input=body.input,
        data=body.data,
    )
    return await forked(request, body, asked)


async def forked(request: Request, body: ActBody, asked: ForkRequest) -> Response:
    """The new instance: 201, or 200 when its key had made it already."""
    caller, key = caller_of(request, body.actor), idempotency_key(request)
    answer = await wiring_of(request).engine.fork(
        msgspec.structs.replace(
            asked,
            idempotency_key=key,
            body_hash="" if key is None else digest([asked.instance_id, msgspec.to_builtins(body)]),
            actor=caller.actor,
            reason=body.reason,
            request_id=caller.request_id,
        )
    )
    view = await view_now(request, answer.instance_id)
    headers = {"Location": f"/v1/instances/{answer.instance_id}", "ETag": etag(view["version"])}
    if answer.position is not None:
        headers["Tenuto-Position"] = str(answer.position)
    return reply(view, 201 if answer.created else 200, headers)
