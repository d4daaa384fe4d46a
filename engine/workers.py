"""The worker protocol: poll, report, heartbeat. Leases are tokens; what counts is decided by the instance."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from domain.commands import Beat, Command, CompleteStep, FailStep
from domain.errors import StaleTokenError, TenutoError, UnknownExecutionError, UnknownInstanceError
from domain.events import ResultIgnored
from domain.state import State
from engine.board import Poller
from engine.draft import Request
from engine.errors import NOT_NOW, ForgedTokenError
from engine.handout import loses_lease
from engine.loop import Loop
from engine.messages import Answer, BeatReport, Envelope, Poll, PollAnswer, ResultStatus, Task, TaskResult
from engine.ports import Clock, OwedRow, Store
from engine.sessions import Sessions
from engine.tokens import Lease, Tokens
from engine.waits import within

MAX_WAIT_SECONDS = 60.0
MAX_POLLS = 10_000
"""Queues, and prefixes, of which it is remembered when they were last polled."""
LATE_COMMIT = timedelta(seconds=30)
"""So long a commit of which nobody heard may be on its way: until then a lease that is not there may yet come."""
MAX_PULSES = 100_000
"""Bare heartbeats remembered, one per token."""


class Workers:
    """`undelivered` are leases that were stored, or may be, for a worker that never hears of them: since when, by
    token."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        sessions: Sessions,
        tokens: Tokens,
        clock: Clock,
        state_of: Callable[[str], Awaitable[State]],
    ) -> None:
        self.undelivered: dict[str, datetime] = {}
        self._loop = loop
        self._store = store
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._state_of = state_of
        self.started_at = clock.now()
        self.polls: OrderedDict[str, datetime] = OrderedDict()  # Last poll, by queue or prefix.
        self._pulses: OrderedDict[str, datetime] = OrderedDict()  # Last bare heartbeat, by token.
        loop.hooks.undelivered.append(self._doubt)

    # Poll ------------------------------------------------------------------------

    async def poll(self, poll: Poll) -> PollAnswer:
        """Waits for tasks; results that came along are stored first, in the same batch as what they lead to."""
        await self._sessions.touch(poll.session, poll.worker)
        self._polled(poll)
        reports = [self._submit(result) for result in poll.results]
        poller = self._loop.wait_for_tasks(poll) if poll.max_tasks > 0 else None
        try:
            statuses = [await _status(report) for report in reports]
            tasks = [] if poller is None else await self._tasks_for(poller)
            if tasks:
                await self._sessions.touch(poll.session, poll.worker)  # Its leases begin now.
        except BaseException:
            if poller is not None:
                self._loop.board.withdraw(poller)
                poller.future.add_done_callback(self._not_delivered)
            raise
        return PollAnswer(tasks, statuses)

    def _polled(self, poll: Poll) -> None:
        """Remembers when each queue was last asked for."""
        now = self._clock.now()
        for name in (*poll.queues, *filter(None, [poll.prefix])):
            self.polls[name] = now
            self.polls.move_to_end(name)
        while len(self.polls) > MAX_POLLS:
            self.polls.popitem(last=False)

    async def _tasks_for(self, poller: Poller) -> list[Task]:
        if poller.poll.wait_seconds > 0:
            await within(self._clock, min(poller.poll.wait_seconds, MAX_WAIT_SECONDS), poller.future)
            self._loop.board.dismiss([poller])
        if not poller.future.done():
            await asyncio.wait([poller.future])  # A batch under way may still have something for it.
        return poller.future.result()

    async def keep_sessions(self) -> None:
        """A worker that waits for tasks says nothing meanwhile; what it is handed must not be lost at once."""
        for poller in self._loop.board.everyone():
            await self._sessions.keep(poller.poll.session, poller.poll.worker)

    def _not_delivered(self, future: asyncio.Future[list[Task]]) -> None:
        """The connection dropped while tasks were on their way: their leases end at once."""
        if future.exception() is None:
            for task in future.result():
                self.give_back(task.token)

    def give_back(self, token: str) -> None:
        """Ends a lease that nobody heard of. Until that is stored it stays in `undelivered`, to be tried again."""
        self._doubt(token)
        lease = self._tokens.read(token)
        try:
            future = self._loop.submit(Request(stream=lease.instance, make=loses_lease(lease, token)))
        except NOT_NOW:
            return
        future.add_done_callback(lambda done: self._given_back(token, done))

    def _given_back(self, token: str, done: asyncio.Future[Answer]) -> None:
        """Ended now; or it was not there to be ended, and will not come any more."""
        if done.cancelled() or isinstance(done.exception(), NOT_NOW):
            return
        ended = done.exception() is None and bool(done.result().events)
        since = self.undelivered.get(token)
        if ended or since is None or self._clock.now() - since > LATE_COMMIT:
            self.undelivered.pop(token, None)

    def _doubt(self, token: str) -> None:
        self.undelivered.setdefault(token, self._clock.now())

    # Report ----------------------------------------------------------------------

    async def report(self, results: Sequence[TaskResult]) -> list[ResultStatus]:
        reports = [self._submit(result) for result in results]
        return [await _status(report) for report in reports]

    def _submit(self, result: TaskResult) -> asyncio.Future[Answer] | ForgedTokenError:
        try:
            lease = self._tokens.read(result.token)
        except ForgedTokenError as forged:
            return forged
        self._pulses.pop(result.token, None)
        return self._loop.submit(Request(stream=lease.instance, make=_result(lease, result)))

    # Heartbeat -------------------------------------------------------------------

    async def heartbeat(self, session: str, worker: str, beats: Sequence[BeatReport]) -> list[ResultStatus]:
        """One status per beat; a bare beat moves a time, one with details is an event."""
        await self._sessions.touch(session, worker)
        leases = [self._lease_of(beat.token) for beat in beats]
        told = [
            None if lease is None or beat.progress is None else self._tell_progress(lease, beat)
            for lease, beat in zip(leases, beats, strict=True)
        ]
        refusals = [None if report is None else await _refusal(report) for report in told]
        sessions = list({lease.session: None for lease in leases if lease is not None})
        rows = await self._store.owed_under(sessions) if sessions else []
        held = {row.token for row in rows}
        return [
            await self._beat_status(beat.token, lease, refusal, held=beat.token in held)
            for beat, lease, refusal in zip(beats, leases, refusals, strict=True)
        ]

    def last_sign_of(self, row: OwedRow) -> datetime | None:
        """When the holder of a lease was last known to be alive by a bare beat, for its heartbeat timeout.

        A worker that speaks to another server is not silent because this one does not hear it; if no server does, its
        session ends. One that spoke to this server before a restart has its time anew.
        """
        if row.token is None:
            return None
        if not self._sessions.hears(row.session or ""):
            return self._clock.now()
        return self._pulses.get(row.token, self.started_at)

    def last_bare_beat(self, token: str) -> datetime | None:
        """When the holder of a lease last said that it is alive, with no details: those are events."""
        return self._pulses.get(token)

    def _lease_of(self, token: str) -> Lease | None:
        try:
            return self._tokens.read(token)
        except ForgedTokenError:
            return None

    def _tell_progress(self, lease: Lease, beat: BeatReport) -> asyncio.Future[Answer]:
        return self._loop.submit(Request(stream=lease.instance, make=_progress(lease, beat)))

    async def _beat_status(
        self, token: str, lease: Lease | None, refusal: TenutoError | None, *, held: bool
    ) -> ResultStatus:
        if lease is None:
            return ResultStatus("refused", str(ForgedTokenError()))
        if held:
            self._pulses[token] = self._clock.now()
            self._pulses.move_to_end(token)
            if len(self._pulses) > MAX_PULSES:
                self._pulses.popitem(last=False)
            return ResultStatus("ok") if refusal is None else ResultStatus("refused", str(refusal))
        self._pulses.pop(token, None)
        try:
            over = lease.execution not in (await self._state_of(lease.instance)).open
        except UnknownInstanceError as unknown:
            return ResultStatus("refused", str(unknown))
        if over:
            return ResultStatus("cancelled", "the execution is over")
        return ResultStatus("lost", "the lease is held under another token, or by nobody")


def _result(lease: Lease, result: TaskResult) -> Callable[[Envelope], Command]:
    def make(env: Envelope) -> Command:
        if result.error is None:
            return CompleteStep(
                at=env.at,
                command_id=env.command_id,
                execution=lease.execution,
                attempt=lease.attempt,
                token=result.token,
                output=result.output,
            )
        return FailStep(
            at=env.at,
            command_id=env.command_id,
            entropy=env.entropy,
            execution=lease.execution,
            attempt=lease.attempt,
            token=result.token,
            error=result.error,
            retry_after_ms=result.retry_after_ms,
        )

    return make


def _progress(lease: Lease, beat: BeatReport) -> Callable[[Envelope], Command]:
    return lambda env: Beat(
        at=env.at,
        command_id=env.command_id,
        execution=lease.execution,
        attempt=lease.attempt,
        token=beat.token,
        progress=beat.progress,
    )


async def _refusal(report: asyncio.Future[Answer]) -> TenutoError | None:
    """What is wrong with this one item; what is about the moment concerns the whole call, and is raised."""
    try:
        await report
    except NOT_NOW:
        raise
    except (StaleTokenError, UnknownExecutionError):
        return None  # The status says what became of the lease.
    except TenutoError as refusal:
        return refusal
    return None


async def _status(report: asyncio.Future[Answer] | ForgedTokenError) -> ResultStatus:
    if isinstance(report, ForgedTokenError):
        return ResultStatus("refused", str(report))
    try:
        answer = await report
    except NOT_NOW:
        raise
    except TenutoError as refusal:
        return ResultStatus("refused", str(refusal))
    if not answer.events:
        return ResultStatus("duplicate", "this result is already recorded")
    first = answer.events[0]
    if isinstance(first, ResultIgnored):
        return ResultStatus(
            "ignored", f"it came {first.why}: another attempt counts, or the execution is over"
        )
    return ResultStatus("accepted")
