"""The process manager's own worker: takes `http:` tasks like any worker does, and calls services by connectors.

It holds leases under a session of its own, so a crash of this process is the loss of a session, nothing special.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from domain.calls import Answer, Connector, Failed, ServiceCall, StepError
from domain.errors import TenutoError
from engine.messages import BeatReport, Poll, PollAnswer, ResultStatus, Task, TaskResult
from engine.ports import Clock
from engine.sessions import ENGINE_PREFIX
from engine.waits import within

log = logging.getLogger("tenuto.dispatcher")

CONCURRENCY = 256
POLL_SECONDS = 20.0
RETRY_SECONDS = 0.5


class Dispatcher:
    """`poll` and `report` are the engine's, as workers use them. One per kind of connector (`http`)."""

    def __init__(
        self,
        kind: str,
        connector: Connector,
        clock: Clock,
        *,
        poll: Callable[[Poll], Awaitable[PollAnswer]],
        report: Callable[[list[TaskResult]], Awaitable[list[ResultStatus]]],
    ) -> None:
        self.session = f"{ENGINE_PREFIX}{clock.new_id()}"
        self.worker = f"dispatcher/{kind}"
        self._kind = kind
        self._connector = connector
        self._clock = clock
        self._poll = poll
        self._report = report
        self._calls: set[asyncio.Task[None]] = set()
        self._beating: set[str] = set()  # Tokens of calls under way whose step wants heartbeats.
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Calls under way are not waited for: see `drain`."""
        while True:
            self._room.clear()
            if len(self._calls) >= CONCURRENCY:
                await self._room.wait()
                continue
            for task in await self._next_tasks():
                call = asyncio.create_task(self._call(task))
                self._calls.add(call)
                call.add_done_callback(self._done)

    async def drain(self, seconds: float) -> None:
        """Waits for the calls under way, and gives up what is left: their leases are lost and tried again."""
        if self._calls:
            await within(self._clock, seconds, asyncio.gather(*self._calls, return_exceptions=True))
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._connector.close()

    def beats(self) -> list[BeatReport]:
        """A service that is called does not beat: that its connection stands is the sign of life."""
        return [BeatReport(token=token) for token in sorted(self._beating)]

    async def _next_tasks(self) -> list[Task]:
        poll = Poll(
            worker=self.worker,
            session=self.session,
            prefix=f"{self._kind}:",
            max_tasks=CONCURRENCY - len(self._calls),
            wait_seconds=POLL_SECONDS,
        )
        try:
            return (await self._poll(poll)).tasks
        except TenutoError as error:
            log.warning("no tasks to be had for now: %s", error)
            await self._clock.sleep(RETRY_SECONDS)
            return []

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._room.set()

    async def _call(self, task: Task) -> None:
        if task.heartbeat_ms is not None:
            self._beating.add(task.token)
        try:
            answer = await self._connector.call(_service_call(task))
        except Exception as error:
            log.exception("the connector for %s failed", task.action)
            answer = Failed(StepError(type="ConnectorError", message=f"{type(error).__name__}: {error}"))
        finally:
            self._beating.discard(task.token)
        await self._say(_result_of(task, answer))

    async def _say(self, result: TaskResult) -> None:
        """Until it is stored: a result is never lost while this process lives."""
        while True:
            try:
                [status] = await self._report([result])
            except TenutoError as error:
                log.warning("a result could not be stored yet: %s", error)
                await self._clock.sleep(RETRY_SECONDS)
                continue
            if status.status == "refused" and result.error is None:
                log.error("an output was refused: %s", status.reason)
                problem = f"its answer cannot be stored: {status.reason}"
                failure = StepError(type="BadResponseError", message=problem, retryable=False)
                result = TaskResult(token=result.token, error=failure)
                continue
            return


def _service_call(task: Task) -> ServiceCall:
    return ServiceCall(
        instance_id=task.instance_id,
        execution=task.execution,
        step=task.step,
        attempt=task.attempt,
        action=task.action,
        input=task.input,
        idempotency_key=task.idempotency_key,
        timeout_ms=task.timeout_ms,
        deadline_at=None if task.deadline_at is None else datetime.fromisoformat(task.deadline_at),
        traceparent=task.traceparent,
        retry_policy=task.retry_policy,
    )


def _result_of(task: Task, answer: Answer) -> TaskResult:
    if isinstance(answer, Failed):
        return TaskResult(token=task.token, error=answer.error, retry_after_ms=answer.retry_after_ms)
    return TaskResult(token=task.token, output=answer.output)
