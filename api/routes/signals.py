"""Signals: to one instance, or to whatever listens under a correlation key. The same `signalId` counts once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import KeyedSignalBody, SignalBody
from api.errors import InvalidParameterError
from api.reading import state_of
from api.routes import examples
from api.routing import ACTOR, Routes
from api.wiring import caller_of, reply, wiring_of
from domain.commands import SendSignal
from domain.durations import parse_duration
from domain.errors import LimitExceededError
from domain.kept_signals import MAX_TTL_MS
from engine.messages import Envelope

routes = Routes("signals")

EXAMPLE = {"signalId": "s-1", "payload": {"decision": "approved"}}


@routes.add(
    "POST",
    "/v1/instances/{instance_id}/signals/{name}",
    answers={200: examples.SIGNALLED},
    body=SignalBody,
    example=EXAMPLE,
    problems=(404, 409, 413, 415),
    headers=ACTOR,
)
async def send_signal(request: Request, instance_id: str, name: str) -> Response:
    """Send a signal to an instance.

    It is always stored, and consumed by the earliest wait for it, also one that begins later. `status` is `duplicate`
    when this `signalId` was there already; with another payload it is 409.
    """
    body, raw = await bodies.read(request, SignalBody)
    bodies.check_payload(body.payload, "The payload", raw)
    await state_of(request, instance_id)
    caller = caller_of(request, body.actor)

    def command(env: Envelope) -> SendSignal:
        return SendSignal(
            at=env.at,
            command_id=env.command_id,
            entropy=env.entropy,
            actor=caller.actor,
            request_id=caller.request_id,
            signal_id=body.signal_id,
            name=name,
            payload=body.payload,
        )

    answer = await wiring_of(request).engine.act(instance_id, command)
    status = "accepted" if answer.events else "duplicate"
    return reply({"signalId": body.signal_id, "status": status, "instances": [instance_id]})


@routes.add(
    "POST",
    "/v1/signals/{name}",
    answers={200: examples.SIGNALLED},
    body=KeyedSignalBody,
    example=EXAMPLE | {"correlationId": "order-17"},
    problems=(404, 409, 413, 415),
    headers=ACTOR,
)
async def send_signal_by_key(
    request: Request,
    name: str,
    *,
    all: Annotated[bool, Query(description="Deliver it to every instance that listens.")] = False,
    ttl: Annotated[
        str | None,
        Query(description="When none listens: keep it so long for the first that does.", examples=["1h"]),
    ] = None,
) -> Response:
    """Send a signal by correlation key.

    To the instance that listens for it under `correlationId`. None is 404, unless asked with `ttl`: then the signal is
    `kept`, and handed to the first instance that listens before its time is over. Several are 409, unless asked with
    `all`. The same `signalId` again yields nothing; of one that was kept, it says what became of it.
    """
    body, raw = await bodies.read(request, KeyedSignalBody)
    bodies.check_payload(body.payload, "The payload", raw)
    caller = caller_of(request, body.actor)
    engine = wiring_of(request).engine
    if ttl is not None:
        signal = SendSignal(
            at=wiring_of(request).clock.now(),
            actor=caller.actor,
            request_id=caller.request_id,
            signal_id=body.signal_id,
            name=name,
            payload=body.payload,
        )
        done = await engine.keeper.signal(
            caller.namespace, body.correlation_id, signal, ttl_ms=_ttl_ms(ttl), all=all
        )
        return reply({"signalId": body.signal_id, **done._asdict()})
    answers = await engine.signal_by_key(
        caller.namespace,
        name,
        body.correlation_id,
        body.signal_id,
        body.payload,
        all=all,
        actor=caller.actor,
        request_id=caller.request_id,
    )
    status = "accepted" if any(answer.events for answer in answers) else "duplicate"
    ids = [answer.instance_id for answer in answers]
    return reply({"signalId": body.signal_id, "status": status, "instances": ids})


def _ttl_ms(text: str) -> int:
    """Raises DurationError, LimitExceededError, and InvalidParameterError for no time at all."""
    ttl_ms = parse_duration(text)
    if ttl_ms == 0:
        raise InvalidParameterError(place="query", name="ttl", value=text, expected="longer than nothing")
    if ttl_ms > MAX_TTL_MS:
        raise LimitExceededError(subject="The ttl", actual=ttl_ms, limit=MAX_TTL_MS, unit="ms")
    return ttl_ms
