"""A worker of the simulated world: it speaks the worker protocol over a bad network, crashes, and ignores its losses.

It renews its session every second, reports until it is told what became of a result, and begins a new session when it
does not know what a poll has handed to it: those leases are lost with the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Protocol

from msgspec import Struct

from domain.calls import Succeeded
from domain.errors import TenutoError
from engine.engine import Engine
from engine.messages import BeatReport, Poll, PollAnswer, ResultStatus, Task, TaskResult
from simulation.faults import Faults
from simulation.network import Network, NoAnswerError
from simulation.services import Services
from simulation.virtual_time import Process, VirtualClock

AGAIN_SECONDS = 0.3
BEAT_SECONDS = 1.0
ANSWER_WITHIN = 5.0
ROOM = 8


class Server(Protocol):
    """One engine as others see it: `engine` raises StoppedError while it is not up."""

    @property
    def process(self) -> Process: ...

    @property
    def engine(self) -> Engine: ...


class Job(Struct, kw_only=True, eq=False):
    """One task in hand, under the session that it was handed to."""

    task: Task
    session: str
    work: asyncio.Task[None] | None = None
    beats: int = 0


class Report(Struct, kw_only=True, eq=False):
    """A result, and everything that was answered to it."""

    token: str
    succeeded: bool
    statuses: list[ResultStatus] = []


class RemoteWorker:
    """`reports` go on the record of the world; they survive the worker."""

    def __init__(
        self,
        process: Process,
        clock: VirtualClock,
        random: Random,
        *,
        network: Network,
        services: Services,
        faults: Faults,
        choose: Callable[[], Server],
        queues: tuple[str, ...],
        reports: list[Report],
    ) -> None:
        self._process = process
        self._clock = clock
        self._random = random
        self._network = network
        self._services = services
        self._faults = faults
        self._choose = choose
        self._queues = queues
        self._reports = reports
        self._session = clock.new_id()
        self._jobs: dict[str, Job] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat_for_ever())
            while True:
                await self._poll()

    # Taking work --------------------------------------------------------------------

    async def _poll(self) -> None:
        session, server = self._session, self._choose()
        poll = Poll(
            worker=self._process.name,
            session=session,
            queues=self._queues,
            max_tasks=ROOM - len(self._jobs),
            wait_seconds=self._random.choice((0.0, 1.0, 3.0)),
        )
        if poll.max_tasks <= 0:
            await self._clock.sleep(AGAIN_SECONDS)
            return

        async def ask() -> PollAnswer:
            return await server.engine.poll(poll)

        within = poll.wait_seconds + ANSWER_WITHIN
        try:
            answer = await self._network.call(server.process, ask, within=within, held=True)
        except NoAnswerError:
            self._session = self._clock.new_id()
            await self._clock.sleep(AGAIN_SECONDS)
        except TenutoError:
            await self._clock.sleep(AGAIN_SECONDS)
        else:
            for task in answer.tasks:
                self._take(task, session)
            if not answer.tasks and not poll.wait_seconds:
                await self._clock.sleep(AGAIN_SECONDS)

    def _take(self, task: Task, session: str) -> None:
        self._services.dispatched(task.idempotency_key, task.attempt)
        job = self._jobs[task.token] = Job(task=task, session=session)
        job.work = asyncio.create_task(self._do(job))

    async def _do(self, job: Job) -> None:
        try:
            answer = await self._services.carry_out(job.task.idempotency_key)
            if isinstance(answer, Succeeded):
                result = TaskResult(token=job.task.token, output=answer.output)
            else:
                wait = answer.retry_after_ms
                result = TaskResult(token=job.task.token, error=answer.error, retry_after_ms=wait)
            await self._report(result)
        finally:
            self._jobs.pop(job.task.token, None)

    async def _report(self, result: TaskResult) -> None:
        """Until the answer is known; now and then once more."""
        report = Report(token=result.token, succeeded=result.error is None, statuses=[])
        self._reports.append(report)
        while True:
            server = self._choose()

            async def ask(server: Server = server) -> list[ResultStatus]:
                return await server.engine.report([result])

            try:
                report.statuses += await self._network.call(
                    server.process, ask, within=ANSWER_WITHIN, doubled=lambda: None
                )
            except TenutoError:
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                if not self._faults.strikes("client repeats"):
                    return

    # Signs of life --------------------------------------------------------------------

    async def _beat_for_ever(self) -> None:
        while True:
            sessions = dict.fromkeys([self._session, *(job.session for job in self._jobs.values())])
            await asyncio.gather(*(self._beat(session) for session in sessions))
            await self._clock.sleep(BEAT_SECONDS)

    async def _beat(self, session: str) -> None:
        jobs = [job for job in self._jobs.values() if job.session == session]
        beats = [BeatReport(token=job.task.token, progress=self._progress_of(job)) for job in jobs]
        server = self._choose()

        async def ask() -> list[ResultStatus]:
            return await server.engine.heartbeat(session, self._process.name, beats)

        try:
            statuses = await self._network.call(
                server.process, ask, within=BEAT_SECONDS * 2, doubled=lambda: None
            )
        except TenutoError:
            return
        for job, status in zip(jobs, statuses, strict=True):
            lost = status.status in ("lost", "cancelled")
            if lost and job.work is not None and not self._faults.strikes("worker ignores its loss"):
                job.work.cancel()

    def _progress_of(self, job: Job) -> int | None:
        job.beats += 1
        return job.beats if job.beats % 4 == 0 else None
