"""The worker protocol: poll, report, heartbeat. Leases are tokens; what counts is decided by the instance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from domain.commands import Beat, Command, CompleteStep, FailStep, LoseLease
from domain.errors import StaleTokenError, UnknownExecutionError, UnknownInstanceError
from domain.events import ResultIgnored
from domain.state import Running, State
from engine.board import Poller
from engine.draft import Request
from engine.errors import ForgedTokenError
from engine.loop import Loop
from engine.messages import Answer, BeatReport, Envelope, Poll, PollAnswer, ResultStatus, Task, TaskResult
from engine.ports import Clock
from engine.sessions import Sessions
from engine.tokens import Lease, Tokens

REFUSALS = (StaleTokenError, UnknownExecutionError, UnknownInstanceError, ForgedTokenError)
"""About one token: told to its item; everything else is about the whole call."""

MAX_WAIT_SECONDS = 60.0


class Workers:
    def __init__(
        self,
        loop: Loop,
        sessions: Sessions,
        tokens: Tokens,
        clock: Clock,
        state_of: Callable[[str], Awaitable[State]],
    ) -> None:
        self._loop = loop
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._state_of = state_of
        self.alive_at: dict[str, datetime] = {}  # Last bare heartbeat, by token.

    async def poll(self, poll: Poll) -> PollAnswer:
        """Waits for tasks; results that came along are stored first, in the same batch as what they lead to."""
        await self._sessions.touch(poll.session, poll.worker)
        reports = [self._submit(result) for result in poll.results]
        tasks = await self._wait_for_tasks(poll)
        return PollAnswer(tasks, [await _status(report) for report in reports])

    async def report(self, results: Sequence[TaskResult]) -> list[ResultStatus]:
        reports = [self._submit(result) for result in results]
        return [await _status(report) for report in reports]

    async def heartbeat(self, session: str, worker: str, beats: Sequence[BeatReport]) -> list[ResultStatus]:
        """One status per beat; a bare beat moves a time, one with details is an event."""
        await self._sessions.touch(session, worker)
        return [await self._beat(beat) for beat in beats]

    async def _wait_for_tasks(self, poll: Poll) -> list[Task]:
        if poll.max_tasks <= 0:
            return []
        poller = Poller(poll, asyncio.get_running_loop().create_future())
        self._loop.board.wait(poller)
        self._loop.wake()
        try:
            # A first turn of the loop is always waited for: a poll without `wait` takes what is there.
            await asyncio.wait([poller.future], timeout=min(max(poll.wait_seconds, 0.05), MAX_WAIT_SECONDS))
            self._loop.board.withdraw(poller)
            return await poller.future if poller.reserved or poller.future.done() else []
        except asyncio.CancelledError:
            self._loop.board.withdraw(poller)
            poller.future.add_done_callback(self._give_back)
            raise

    def _give_back(self, future: asyncio.Future[list[Task]]) -> None:
        """The connection dropped while tasks were on their way: their leases end at once."""
        if future.cancelled():
            return
        for task in future.result():
            lease = self._tokens.read(task.token)
            self._loop.submit(Request(stream=lease.instance, make=loses_lease(lease, task.token)))

    def _submit(self, result: TaskResult) -> asyncio.Future[Answer] | ForgedTokenError:
        try:
            lease = self._tokens.read(result.token)
        except ForgedTokenError as forged:
            return forged
        self.alive_at.pop(result.token, None)
        return self._loop.submit(Request(stream=lease.instance, make=_result(lease, result)))

    async def _beat(self, beat: BeatReport) -> ResultStatus:
        try:
            lease = self._tokens.read(beat.token)
            if beat.progress is not None:
                await self._loop.submit(Request(stream=lease.instance, make=_progress(lease, beat)))
            state = await self._state_of(lease.instance)
        except REFUSALS as refusal:
            if isinstance(refusal, StaleTokenError):
                return await self._why_lost(beat)
            return ResultStatus("refused", str(refusal))
        return self._lease_status(state, lease, beat.token)

    async def _why_lost(self, beat: BeatReport) -> ResultStatus:
        lease = self._tokens.read(beat.token)
        return self._lease_status(await self._state_of(lease.instance), lease, beat.token)

    def _lease_status(self, state: State, lease: Lease, token: str) -> ResultStatus:
        execution = state.open.get(lease.execution)
        if isinstance(execution, Running) and execution.token == token:
            self.alive_at[token] = self._clock.now()
            return ResultStatus("ok")
        self.alive_at.pop(token, None)
        if execution is None:
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


def loses_lease(lease: Lease, token: str) -> Callable[[Envelope], Command]:
    return lambda env: LoseLease(
        at=env.at,
        command_id=env.command_id,
        execution=lease.execution,
        attempt=lease.attempt,
        token=token,
    )


async def _status(report: asyncio.Future[Answer] | ForgedTokenError) -> ResultStatus:
    if isinstance(report, ForgedTokenError):
        return ResultStatus("refused", str(report))
    try:
        answer = await report
    except REFUSALS as refusal:
        return ResultStatus("refused", str(refusal))
    if not answer.events:
        return ResultStatus("duplicate", "this result is already recorded")
    first = answer.events[0]
    if isinstance(first, ResultIgnored):
        return ResultStatus(
            "ignored", f"it came {first.why}: another attempt counts, or the execution is over"
        )
    return ResultStatus("accepted")
