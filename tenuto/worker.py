"""A worker: takes tasks from queues, runs activities, reports results.

    Worker(activities=[pack, order_confirmation]).run_forever()

Three kinds of loops share one state: `_poll` holds a long poll open for free slots, `_report` sends what has ended
(and asks for more work in the same round trip), `_beat` keeps the session alive while anything is in hand. A
result stays here until the server has answered for it: sending it twice is harmless, losing it is not. Next:
`job.py` (one task), `session.py` (the wire), `conversion.py` (values).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Self

from tenuto.activity import DEFAULT_QUEUE, Activity
from tenuto.conversion import Adapt, arguments_of
from tenuto.durations import to_seconds
from tenuto.errors import TenutoClientError
from tenuto.job import CANCELLED, LOST, WORKER_STOPS, Job, unknown_activity
from tenuto.session import NoAnswerError, Polled, RefusedError, Result, Session, Verdict
from tenuto.surroundings import chosen_server
from tenuto.wire import Task

log = logging.getLogger("tenuto.worker")

LARGEST_BATCH = 100  # results in one request
LARGEST_BATCH_CHARS = 512 * 1024  # of results in one request; the server takes bodies of 1 MiB
LONGEST_BACKOFF_S = 5.0
REPORTS_AT_ONCE = 2  # an answer takes a commit; what ends meanwhile need not wait for it


class Worker:
    """Runs `activities` for their queues; those that name no queue serve `queue`. Without `server_url` the server
    is the one that `TENUTO_SERVER` names, else the one on this machine.

    `concurrency` is how many run at once. `grace` is how long a stop waits for what is in hand. `session`
    names the lease holder: unique to this process (made up when absent). Durations are seconds or text such
    as `20s`.
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        activities: Iterable[Activity[..., Any]],
        queue: str = DEFAULT_QUEUE,
        name: str | None = None,
        session: str | None = None,
        concurrency: int = 16,
        poll_wait: float | str = "20s",
        grace: float | str = "30s",
        beat_every: float | str = "1s",
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.session = session or f"{self.name}-{secrets.token_hex(8)}"
        self._activities, self.queues = _bound(activities, queue)
        self._session = Session(
            chosen_server(server_url), worker=self.name, session=self.session, queues=self.queues
        )
        self._concurrency = concurrency
        self._poll_wait_s = to_seconds(poll_wait)
        self._grace_s = to_seconds(grace)
        self._beat_every_s = to_seconds(beat_every)
        self._jobs: dict[Job, asyncio.Task[None]] = {}
        self._results: list[Result] = []  # to be sent
        self._unanswered = 0  # results on their way
        self._reserved = 0
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._background: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until `stop()`, then drain: finish and report what is in hand, within the grace."""
        try:
            async with self._session, asyncio.TaskGroup() as loops:
                poller = loops.create_task(self._poll())
                reports = [loops.create_task(self._report()) for _ in range(REPORTS_AT_ONCE)]
                others = [*reports, loops.create_task(self._beat())]
                await self._stopping.wait()
                poller.cancel()
                await self._drain()
                for task in others:
                    task.cancel()
        finally:
            await self._abandon()

    def run_forever(self) -> None:
        """Work until SIGTERM or SIGINT, then drain; a second signal ends at once. Blocks."""
        second_signal = contextlib.suppress(asyncio.CancelledError)
        with second_signal, asyncio.Runner(loop_factory=_quick_loop()) as runner:
            runner.run(self._run_until_signal())

    def stop(self) -> None:
        """Begin to drain. Call it in the worker's event loop."""
        self._stopping.set()
        self._changed.set()

    async def __aenter__(self) -> Self:
        self._background = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._background is not None:
            await self._background

    async def _run_until_signal(self) -> None:
        loop, running = asyncio.get_running_loop(), asyncio.current_task()

        def on_signal() -> None:
            if self._stopping.is_set() and running is not None:
                running.cancel()
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await self.run()

    # --- the three loops

    async def _poll(self) -> None:
        failures = 0
        while True:
            # What has ended goes first: `_report` asks for work too, in the same round trip.
            await self._until(lambda: self._free > 0 and not self._results)
            try:
                await self._ask(self._free, self._poll_wait_s)
                failures = 0
            except TenutoClientError as error:
                failures += 1
                await self._back_off("poll", failures, error)

    async def _report(self) -> None:
        failures = 0
        while True:
            await self._until(lambda: bool(self._results))
            await asyncio.sleep(0)  # let the job that ended free its slot, and others that end now come along
            batch = self._take()
            self._unanswered += len(batch)
            try:
                if batch:  # Another loop of this kind may have been quicker.
                    await self._deliver(batch)
                failures = 0
            except RefusedError as error:
                await self._deliver_singly(batch, error)
            except NoAnswerError as error:
                failures += 1
                await self._back_off("report", failures, error)
                self._results[:0] = batch
            self._unanswered -= len(batch)  # If the loop is cancelled they stay, to be told of.
            self._changed.set()

    async def _beat(self) -> None:
        while True:
            await self._until(lambda: self._has_work)
            await asyncio.sleep(self._beat_every_s)
            pairs = [(job, beat) for job in self._jobs if (beat := job.beat()) is not None]
            try:
                verdicts = await self._session.beat([beat for _, beat in pairs])
            except TenutoClientError as error:
                log.warning("heartbeat: %s", error)
                for job, beat in pairs:
                    job.unbeat(beat)
                continue
            for (job, _), verdict in zip(pairs, verdicts, strict=True):
                if verdict.status in ("cancelled", "lost"):
                    log.warning("%s is to stop: %s", job.context.execution, verdict.status)
                    job.stop(CANCELLED if verdict.status == "cancelled" else LOST)

    # --- tasks in

    @property
    def _free(self) -> int:
        return self._concurrency - len(self._jobs) - self._reserved

    async def _ask(self, slots: int, wait_s: float, results: Sequence[Result] = ()) -> Sequence[Verdict]:
        """Poll for as many tasks as `slots`, which stay reserved meanwhile, and begin what comes."""
        self._reserved += slots
        try:
            polled = await self._session.poll(slots, wait_s, results)
            for task in polled.tasks:
                self._begin(task, polled)
        finally:
            self._reserved -= slots
            self._changed.set()
        return polled.verdicts

    def _begin(self, task: Task, polled: Polled) -> None:
        known = self._activities.get(task.get("activity", ""))
        if known is None:
            unknown_activity(task, self._ended)
            return
        job = Job(task, *known, report=self._ended)
        running = asyncio.create_task(job.run(_remaining_s(task.get("deadlineAt"), polled.server_time)))
        self._jobs[job] = running
        running.add_done_callback(lambda _: self._release(job))

    def _release(self, job: Job) -> None:
        self._jobs.pop(job, None)
        self._changed.set()

    # --- results out

    def _ended(self, result: Result) -> None:
        self._results.append(result)
        self._changed.set()

    @property
    def _has_work(self) -> bool:
        return bool(self._jobs or self._undelivered)

    @property
    def _undelivered(self) -> int:
        """Results that no server has answered for."""
        return len(self._results) + self._unanswered

    def _take(self) -> list[Result]:
        """The oldest of what is to be sent, as much as one request may carry."""
        batch: list[Result] = []
        chars = 0
        for result in self._results[:LARGEST_BATCH]:
            chars += len(result.text)
            if batch and chars > LARGEST_BATCH_CHARS:
                break
            batch.append(result)
        del self._results[: len(batch)]
        return batch

    async def _deliver(self, batch: Sequence[Result]) -> None:
        """Send results, with a poll when there is room for work; forget them once the server has answered for
        them.
        """
        if self._free > 0 and not self._stopping.is_set():
            verdicts = await self._ask(self._free, 0.0, batch)
        else:
            verdicts = await self._session.report(batch)
        for result, verdict in zip(batch, verdicts, strict=True):
            if verdict.status == "refused":
                self._fall_back(result, verdict.reason)
            elif verdict.status == "ignored":
                log.warning("a result came too late to count: %s", verdict.reason)

    async def _deliver_singly(self, batch: Sequence[Result], refusal: RefusedError) -> None:
        """A batch was refused whole: find the result that is to blame, so that the others do not suffer for
        it.
        """
        for number, result in enumerate(batch):
            try:
                verdicts = await self._session.report([result])
            except NoAnswerError as error:
                await self._back_off("report", 1, error)
                self._results[:0] = batch[number:]
                return
            except RefusedError as error:
                verdicts = [Verdict("refused", str(error))]
            if verdicts[0].status == "refused":
                self._fall_back(result, verdicts[0].reason or str(refusal))

    def _fall_back(self, result: Result, reason: str) -> None:
        """An output the server will not have (too large, for one) fails its step; a refused error is only
        logged.
        """
        log.error("the server refused a result: %s", reason)
        if result.kind == "output":
            error = {
                "type": "ActivityOutputError",
                "message": f"the server refused: {reason}",
                "retryable": False,
            }
            self._ended(Result(result.token, "error", json.dumps(error)))

    # --- waiting and ending

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _back_off(self, what: str, failures: int, error: Exception) -> None:
        """Doubling, with a spread of this session's own, so that workers do not come back in one herd."""
        spread = zlib.crc32(f"{self.session} {failures}".encode()) / 2**32
        seconds = min(0.1 * 2 ** min(failures - 1, 10), LONGEST_BACKOFF_S) * (0.5 + 0.5 * spread)
        log.warning("%s: %s; again in %.1f s", what, error, seconds)
        await asyncio.sleep(seconds)

    async def _drain(self) -> None:
        log.info("stopping: %d activities and %d results in hand", len(self._jobs), self._undelivered)
        try:
            async with asyncio.timeout(self._grace_s):
                await self._until(lambda: not self._has_work)
        except TimeoutError:
            log.error("the grace of %g s is over", self._grace_s)  # noqa: TRY400 - nothing to trace

    async def _abandon(self) -> None:
        """Give up what is left: its leases are lost with the session, and other workers try again."""
        if self._has_work:
            log.error("giving up %d activities and %d results", len(self._jobs), self._undelivered)
        running = dict(self._jobs)
        for job, task in running.items():
            job.stop(WORKER_STOPS)
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


def _bound(
    activities: Iterable[Activity[..., Any]], queue: str
) -> tuple[dict[str, tuple[Activity[..., Any], Adapt]], list[str]]:
    """Activities by name, ready to be called, and the queues they serve. A task names its activity, not its
    queue.
    """
    bound: dict[str, tuple[Activity[..., Any], Adapt]] = {}
    for activity in activities:
        if not isinstance(activity, Activity):
            raise TypeError(f"{activity!r} is no activity: decorate it with @activity")
        if activity.name in bound:
            raise ValueError(
                f"two activities are named {activity.name!r}; give one another name, or another Worker"
            )
        bound[activity.name] = (activity, arguments_of(activity))
    if not bound:
        raise ValueError("a worker needs at least one activity: Worker(activities=[…])")
    return bound, sorted({activity.queue or queue for activity, _ in bound.values()})


def _quick_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one (not on Windows): a sixth less CPU for each task."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _remaining_s(deadline_at: str | None, server_time: datetime | None) -> float | None:
    """Seconds to a deadline by the server's clock (its Date header, whole seconds): never early, up to 1 s
    late.

    The server enforces deadlines exactly; here they only free the slot. This machine's clock is not asked, it
    may be off.
    """
    if deadline_at is None or server_time is None:
        return None
    return max((datetime.fromisoformat(deadline_at) - server_time).total_seconds(), 0.0)
