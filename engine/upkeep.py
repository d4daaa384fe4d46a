"""What the engine does by the clock: fires timers, hears of lost sessions, looks for work it does not know of.

Polling finds everything that memory has forgotten or never knew; what memory knows only makes it quicker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import islice

from domain.commands import FireTimer
from domain.errors import TenutoError
from domain.state import Running
from engine.alarms import HORIZON
from engine.children import Children
from engine.draft import Request
from engine.errors import NOT_NOW, ForgedTokenError
from engine.handout import loses_lease
from engine.kept_signals import Keeper
from engine.loop import Loop
from engine.messages import Answer, Envelope
from engine.ports import Clock, Key, OwedRow, Store
from engine.sessions import Sessions
from engine.tokens import Tokens
from engine.waits import within
from engine.workers import Workers

log = logging.getLogger("tenuto.upkeep")

SCAN_SECONDS = 10.0
SCAN_PAGE = 1_000
SWEEP_SECONDS = 2.0
"""How often kept signals are looked through for those whose time is over, or that a crash left behind."""
SEARCH_SECONDS = 0.5
"""How often work is looked for in the table, for workers that wait while this server knows of none."""
LONGEST_NAP = 1.0
AGAIN = timedelta(seconds=1)
TIMERS_AT_ONCE = 1_000
"""Of a storm of timers, only so many wait in the inbox at a time: other commands come in between."""
BREATH_SECONDS = 0.01


class Upkeep:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        loop: Loop,
        *,
        sessions: Sessions,
        workers: Workers,
        tokens: Tokens,
        keeper: Keeper,
        children: Children,
    ) -> None:
        self._store = store
        self._clock = clock
        self._loop = loop
        self._sessions = sessions
        self._workers = workers
        self._tokens = tokens
        self._keeper = keeper
        self._children = children

    async def run(self, beat: Callable[[], Awaitable[None]]) -> None:
        """All of it, until cancelled. A fault of one round is logged, and the next round comes."""
        renewal = min(1.0, self._sessions.lease.total_seconds() / 5)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(renewal, beat))
            group.create_task(self._every(renewal, self._sessions.save))
            group.create_task(self._every(max(renewal, 0.1), self.end_lost_leases))
            group.create_task(self._every(SEARCH_SECONDS, self.search))
            group.create_task(self._every(SCAN_SECONDS, self.scan))
            group.create_task(self._every(SWEEP_SECONDS, self._keeper.sweep))
            group.create_task(self._every(0.0, self._keeper.attend))
            group.create_task(self._every(0.0, self._fire_timers))
            group.create_task(self._every(SCAN_SECONDS, self._children.scan))
            group.create_task(self._every(0.0, self._children.attend))

    async def scan(self) -> None:
        """Everything in the table that is due, or will be soon."""
        after: Key | None = None
        while rows := await self._store.owed_by(self._clock.now() + HORIZON, SCAN_PAGE, after):
            for row in rows:
                self._loop.look_after(row)
            after = (rows[-1].instance, rows[-1].key)

    async def search(self) -> None:
        """Work that other servers have scheduled, for workers that wait at this one."""
        self._loop.wake()  # What could not be handed out while the store was away is tried again.
        queues = self._loop.board.queues_without_work()
        if queues:
            for row in await self._store.claimable(queues, self._clock.now(), SCAN_PAGE):
                self._loop.board.add(row)
            self._loop.wake()

    async def end_lost_leases(self) -> None:
        """Those of sessions that are not heard of any more, and those that nobody has ever heard of."""
        for token in sorted(self._workers.undelivered):
            self._workers.give_back(token)
        lost = await self._sessions.lost()
        for row in await self._store.owed_under(lost) if lost else ():
            token = row.token or ""
            try:
                lease = self._tokens.read(token)
            except ForgedTokenError:
                log.warning("%s of %s holds a token that is not ours", row.key, row.instance)
                continue
            self._loop.submit(Request(stream=row.instance, make=loses_lease(lease, token)))

    # Timers ----------------------------------------------------------------------

    async def _fire_timers(self) -> None:
        """What is due now; then sleeps until the next is, or until an earlier one is armed."""
        alarms = self._loop.alarms
        alarms.earlier.clear()
        now = self._clock.now()
        room = max(0, TIMERS_AT_ONCE - self._loop.backlog)
        for what, row in list(islice(alarms.due(now), room)):
            if what == "timer":
                self._fire(row)
            else:
                self._loop.look_after(row)
        coming = alarms.next_at()
        if coming is not None and coming <= now:
            await self._clock.sleep(BREATH_SECONDS)
        else:
            nap = LONGEST_NAP if coming is None else (coming - now).total_seconds()
            await within(self._clock, min(nap, LONGEST_NAP), alarms.earlier)

    def _fire(self, row: OwedRow) -> None:
        alive_at = self._workers.last_sign_of(row)

        def fire(env: Envelope) -> FireTimer:
            return FireTimer(
                at=env.at,
                command_id=env.command_id,
                entropy=env.entropy,
                key=row.key,
                alive_at=alive_at,
            )

        try:
            future = self._loop.submit(Request(stream=row.instance, make=fire))
        except NOT_NOW:
            self._loop.alarms.again(row, self._clock.now() + AGAIN)
        else:
            future.add_done_callback(lambda done: self._fired(row, alive_at, done))

    def _fired(self, row: OwedRow, alive_at: datetime | None, done: asyncio.Future[Answer]) -> None:
        """A timer that found nothing due is looked at again: a heartbeat has moved what it was for."""
        if done.cancelled():
            return
        error, now = done.exception(), self._clock.now()
        if error is not None:
            self._loop.alarms.again(row, now + (AGAIN if isinstance(error, NOT_NOW) else HORIZON))
        elif not done.result().events:
            entry = self._loop.decider.cache.get(row.instance)
            execution = None if entry is None else entry.state.open.get(row.key)
            if isinstance(execution, Running) and execution.token == row.token:
                self._loop.alarms.again(row, _next_look(execution, alive_at, now))

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            pause = seconds
            try:
                await do()
            except TenutoError as error:
                log.warning("%s: %s", do.__name__, error)
                pause = max(seconds, BREATH_SECONDS)
            except Exception:
                log.exception("%s failed; it will be tried again", do.__name__)
                pause = max(seconds, BREATH_SECONDS)
            if pause:
                await self._clock.sleep(pause)


def _next_look(running: Running, alive_at: datetime | None, now: datetime) -> datetime:
    """When a running attempt may next be overdue, given its last sign of life."""
    silent_at = running.silent_at
    if silent_at is not None and alive_at is not None and alive_at > running.beat_at:
        silent_at += alive_at - running.beat_at
    coming = [
        at
        for at in (running.closes_at, running.timeouts.schedule_to_close_at, silent_at, running.slow_at)
        if at is not None and at > now
    ]
    return min(coming, default=now + HORIZON)
