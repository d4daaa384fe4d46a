"""What a person may do to an instance. Each act needs a reason, is an event, and is answered with the instance.

An act repeated changes nothing; an impossible one is 409. `If-Match` refuses to act on an instance that has changed
since it was read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.acting import Make, asked_by, execution_meant
from api.bodies import ActBody, DataBody, ResolveBody, StepActBody
from api.errors import UnknownAlertError
from api.reading import expected_version, state_of, view_now
from api.routes import examples
from api.routes.forks import forked
from api.routing import ACTOR, Routes
from api.wiring import caller_of, etag, reply, wiring_of
from domain.commands import (
    AcknowledgeAlert,
    CancelInstance,
    ChangeData,
    Command,
    FailStuckStep,
    PauseInstance,
    ResolveStep,
    ResumeInstance,
    RetryStep,
    SkipStep,
    TerminateInstance,
    UndoInstance,
)
from domain.state import State, Stuck
from engine.messages import ForkRequest

routes = Routes("acts")

HEADERS = (*ACTOR, "If-Match")
STEP_EXAMPLE = examples.REASON | {"execution": "ship#1"}


def _act(
    name: str,
    *,
    body: type[ActBody] = ActBody,
    example: Any = None,
    forks: bool = False,
) -> Callable[[Callable[[Request, str], Awaitable[Response]]], Callable[[Request, str], Awaitable[Response]]]:
    return routes.add(
        "POST",
        f"/v1/instances/{{instance_id}}/{name}",
        answers={200: examples.INSTANCE} | ({201: examples.FORK} if forks else {}),
        body=body,
        example=example or examples.REASON,
        problems=(404, 409, 412, 413, 415),
        headers=(*HEADERS, "Idempotency-Key") if forks else HEADERS,
    )


@_act("cancel")
async def cancel_instance(request: Request, instance_id: str) -> Response:
    """Cancel an instance.

    What was done is undone, in reverse order; then it ends as cancelled.
    """
    return await _plainly(request, instance_id, CancelInstance)


@_act("terminate")
async def terminate_instance(request: Request, instance_id: str) -> Response:
    """End an instance at once.

    Nothing is undone: the effects of completed steps stand, and `standing` names them.
    """
    return await _plainly(request, instance_id, TerminateInstance)


@_act("compensate")
async def compensate_instance(request: Request, instance_id: str) -> Response:
    """Undo everything, then end.

    As after a failure: the steps that completed are undone in reverse order.
    """
    return await _plainly(request, instance_id, UndoInstance)


@_act("pause")
async def pause_instance(request: Request, instance_id: str) -> Response:
    """Pause an instance.

    Nothing new is handed out; timers run on.
    """
    return await _plainly(request, instance_id, PauseInstance)


@_act("resume")
async def resume_instance(request: Request, instance_id: str) -> Response:
    """Go on after a pause."""
    return await _plainly(request, instance_id, ResumeInstance)


@_act("retry", body=StepActBody, example=STEP_EXAMPLE, forks=True)
async def retry_step(request: Request, instance_id: str) -> Response:
    """Try a step again.

    One that waits for a person (so may an undo), with a fresh budget of attempts. `execution` may be left out when only
    one waits. An instance that has ended is forked instead, from that step or from the one that failed: 201 with the
    new one.
    """
    body, _ = await bodies.read(request, StepActBody)
    state = await state_of(request, instance_id)
    if state.ended and not any(isinstance(open, Stuck) for open in state.open.values()):
        return await forked(request, body, ForkRequest(instance_id=instance_id, execution=body.execution))
    execution = execution_meant(state, body.execution, undo=None)
    return await _do(request, state, body, lambda envelope: RetryStep(**envelope, execution=execution))


@_act("skip", body=StepActBody, example=STEP_EXAMPLE)
async def skip_step(request: Request, instance_id: str) -> Response:
    """Go on without a step.

    As if the step that waits for a person had nothing to do.
    """
    return await _on_step(request, instance_id, SkipStep, undo=False)


@_act("give-up", body=StepActBody, example=examples.REASON | {"execution": "ship#1/undo"})
async def give_up_undo(request: Request, instance_id: str) -> Response:
    """Give up an undo.

    The undo that waits for a person is not tried again; the effect stands, and the rollback goes on.
    """
    return await _on_step(request, instance_id, SkipStep, undo=True)


@_act("fail", body=StepActBody, example=STEP_EXAMPLE)
async def fail_step(request: Request, instance_id: str) -> Response:
    """Let a step that waits for a person fail for good.

    What follows is what follows any failure for good: its block has failed, or what was done is undone, unless the
    definition says `onFailure: fail`. To end at once and undo nothing, `terminate`.
    """
    return await _on_step(request, instance_id, FailStuckStep, undo=False)


@_act("resolve", body=ResolveBody, example=STEP_EXAMPLE | {"output": {"trackingNumber": "T-1"}})
async def resolve_step(request: Request, instance_id: str) -> Response:
    """Say what a step should have answered.

    The step that waits for a person completes with `output`.
    """
    body, raw = await bodies.read(request, ResolveBody)
    bodies.check_payload(body.output, "The output", raw)
    state = await state_of(request, instance_id)
    return await _do(
        request,
        state,
        body,
        lambda envelope: ResolveStep(
            **envelope, execution=execution_meant(state, body.execution, undo=None), output=body.output
        ),
    )


@_act("data", body=DataBody, example=examples.REASON | {"data": {"shippingAddress": {"city": "Bremen"}}})
async def change_data(request: Request, instance_id: str) -> Response:
    """Change an instance's data.

    `data` is merged into it, key by key at the top level.
    """
    body, raw = await bodies.read(request, DataBody)
    bodies.check_payload(body.data, "The data", raw)
    state = await state_of(request, instance_id)
    return await _do(request, state, body, lambda envelope: ChangeData(**envelope, data=body.data))


@routes.add(
    "POST",
    "/v1/alerts/{alert_id:path}/acknowledge",
    answers={200: examples.INSTANCE},
    body=ActBody,
    example=examples.REASON,
    problems=(404, 409, 412, 413, 415),
    headers=HEADERS,
)
async def acknowledge_alert(request: Request, alert_id: str) -> Response:
    """Acknowledge an alert.

    An alert's id here is `<instance>/<alertId>`, for example `0-0193…/ship%231/failed`. Answered with its instance.
    """
    instance_id, _, name = alert_id.partition("/")
    body, _ = await bodies.read(request, ActBody)
    state = await state_of(request, instance_id)
    if name not in state.alerts:
        raise UnknownAlertError(instance_id=instance_id, alert_id=name)
    return await _do(request, state, body, lambda envelope: AcknowledgeAlert(**envelope, alert_id=name))


async def _plainly(request: Request, instance_id: str, kind: type[Command]) -> Response:
    """An act on the whole instance, which needs a reason and no more."""
    body, _ = await bodies.read(request, ActBody)
    state = await state_of(request, instance_id)
    return await _do(request, state, body, lambda envelope: kind(**envelope))


async def _on_step(
    request: Request, instance_id: str, kind: type[SkipStep | FailStuckStep], *, undo: bool | None
) -> Response:
    body, _ = await bodies.read(request, StepActBody)
    state = await state_of(request, instance_id)
    execution = execution_meant(state, body.execution, undo=undo)
    return await _do(request, state, body, lambda envelope: kind(**envelope, execution=execution))


async def _do(request: Request, state: State, body: ActBody, make: Make) -> Response:
    """Acts, and answers the instance as it is after it. `make` is given the envelope, actor and reason included."""
    command = asked_by(caller_of(request, body.actor), body.reason, make)
    await wiring_of(request).engine.act(state.id, command, expected_version=expected_version(request))
    view = await view_now(request, state.id)
    return reply(view, 200, {"ETag": etag(view["version"])})
