"""The worker protocol: poll, complete, fail, heartbeat, each in batches. The hot part of the API, so it is lean.

One bad item never fails its batch: it is answered in its place. Any call that names a session renews it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.bodies import CompleteBody, ErrorItem, FailBody, HeartbeatBody, OutputItem, PollBody, ResultItem
from api.routes import examples
from api.routing import Routes, refuse_others
from api.wiring import reply, seconds_of, while_connected, wiring_of
from domain.errors import TenutoError
from engine.errors import StoppedError
from engine.messages import Poll, ResultStatus, TaskResult

routes = Routes("tasks")

RESULT = {"token": "…", "output": {"packed": True}}
FAILURE = {
    "token": "…",
    "error": {"type": "CarrierDownError", "message": "no answer", "retryable": True, "retryAfter": "5s"},
}
ACCEPTED = {"results": [{"status": "accepted"}]}


@routes.add(
    "POST",
    "/v1/tasks/poll",
    answers={200: {"tasks": [examples.TASK], "results": []}},
    body=PollBody,
    example={"worker": "w1", "session": "5f2c", "queues": ["warehouse"], "maxTasks": 16, "wait": "20s"},
    problems=(413, 415),
    headers=(),
    fast=True,
)
async def poll_tasks(request: Request) -> Response:
    """Ask for work.

    Held up to `wait` until there is some. `results` of finished tasks may come along; they are answered in their order.
    A poll whose connection drops gives back what it was about to be handed.
    """
    _no_parameters(request)
    body, raw = await bodies.read(request, PollBody)
    seconds = seconds_of(body.wait)
    engine = wiring_of(request).engine
    results, refused = _results(body.results, raw)
    poll = Poll(
        worker=body.worker,
        session=body.session,
        queues=tuple(body.queues),
        max_tasks=body.max_tasks,
        wait_seconds=seconds,
        results=results,
    )
    answer = (
        await while_connected(request, engine.poll(poll), None, unheard=engine.give_back)
        if seconds
        else await engine.poll(poll)
    )
    if answer is None and results:
        raise StoppedError  # What became of them is not known: they may be sent again, and count once.
    tasks, statuses = (answer.tasks, answer.results) if answer is not None else ([], [])
    return reply({"tasks": tasks, "results": _in_place(refused, statuses)})


@routes.add(
    "POST",
    "/v1/tasks/complete",
    answers={200: ACCEPTED},
    body=CompleteBody,
    example={"results": [RESULT]},
    problems=(413, 415),
    headers=(),
    fast=True,
)
async def complete_tasks(request: Request) -> Response:
    """Report outputs.

    `accepted`; `duplicate` when it was there already; `ignored` when it came too late to count (that is recorded);
    `refused` when the token is not ours or the output cannot be stored.
    """
    return await _report(request, CompleteBody)


@routes.add(
    "POST",
    "/v1/tasks/fail",
    answers={200: ACCEPTED},
    body=FailBody,
    example={"results": [FAILURE]},
    problems=(413, 415),
    headers=(),
    fast=True,
)
async def fail_tasks(request: Request) -> Response:
    """Report failures.

    Answered as outputs are. `retryAfter` is the least time before the next attempt.
    """
    return await _report(request, FailBody)


@routes.add(
    "POST",
    "/v1/tasks/heartbeat",
    answers={200: {"results": [{"status": "ok"}]}},
    body=HeartbeatBody,
    example={"session": "5f2c", "worker": "w1", "beats": [{"token": "…", "progress": {"packed": 3}}]},
    problems=(413, 415),
    headers=(),
    fast=True,
)
async def heartbeat(request: Request) -> Response:
    """Say that work goes on.

    Renews the session and the attempts named. `cancelled` and `lost` mean: stop, the result will not count. `progress`
    is kept, and given to the next attempt.
    """
    _no_parameters(request)
    body, raw = await bodies.read(request, HeartbeatBody)
    for beat in body.beats:
        bodies.check_payload(beat.progress, "The progress", raw)
    beats = [bodies.beat_of(beat) for beat in body.beats]
    return reply({"results": await wiring_of(request).engine.heartbeat(body.session, body.worker, beats)})


async def _report(request: Request, kind: type[CompleteBody | FailBody]) -> Response:
    _no_parameters(request)
    body, raw = await bodies.read(request, kind)
    engine = wiring_of(request).engine
    if body.session is not None:
        await engine.heartbeat(body.session, body.worker, [])
    results, refused = _results(body.results, raw)
    return reply({"results": _in_place(refused, await engine.report(results))})


Refused = list[ResultStatus | None]
"""By item: why it was refused at the door; None for one that went to the engine."""


def _results(
    items: Iterable[OutputItem | ErrorItem | ResultItem], raw: bytes
) -> tuple[list[TaskResult], Refused]:
    taken: list[TaskResult] = []
    refused: Refused = []
    for item in items:
        try:
            result = bodies.result_of(item)
            bodies.check_payload(result.output, "The output", raw)
        except TenutoError as refusal:
            refused.append(ResultStatus("refused", str(refusal)))
        else:
            refused.append(None)
            taken.append(result)
    return taken, refused


def _in_place(refused: Refused, answered: Sequence[ResultStatus]) -> list[ResultStatus]:
    """Every item's status, in the order of the request."""
    rest = iter(answered)
    return [status or next(rest) for status in refused]


def _no_parameters(request: Request) -> None:
    if request.scope["query_string"]:
        refuse_others(request.query_params, [])
