"""The engine's heart: one loop over one inbox. Take what has come, decide it, append it all at once, then answer.

    inbox ─► load (cache) ─► decide (pure) ─► append (one transaction) ─► answer, hand out, arm timers

Nothing leaves before the COMMIT of the state that it was decided on: no answer, no refusal, no task. Under load the
batch grows by itself; when idle, a command costs one commit. What the loop does not know: HTTP, connectors, sessions.
Next: `deciding.py` (instances and decisions), `draft.py` (a batch), `board.py` (tasks and workers), `alarms.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from domain.errors import TenutoError
from domain.state import Running
from engine.alarms import Alarms
from engine.board import Board, Poller, Ready
from engine.client_keys import ClientKeys
from engine.deciding import Decider
from engine.draft import Changes, Decided, Draft, Request
from engine.errors import NOT_NOW, OverloadedError, StoppedError
from engine.handout import claims, task_of
from engine.hooks import Hooks, tell
from engine.messages import Answer, Poll, Task
from engine.onlookers import Onlookers
from engine.options import EngineOptions
from engine.ports import (
    Clock,
    CommitUnknownError,
    DuplicateCommandError,
    OwedRow,
    Store,
    VersionConflictError,
)
from engine.pressure import Pressure
from engine.registry import Registry
from engine.tokens import Lease, Tokens

log = logging.getLogger("tenuto.engine")

MAX_BATCH = 512
MAX_INBOX = 20_000
MAX_TRIES = 8
"""How often a request is decided again after conflicts, before its caller hears of one."""
MAX_DOUBTS = 3
"""How often one batch may be appended without a word on what became of it."""

Said = TypeVar("Said")


class Loop:
    """`hooks` tell of what is stored; `onlookers` keep what is stored of the instances that somebody waits for."""

    def __init__(
        self, store: Store, clock: Clock, registry: Registry, tokens: Tokens, options: EngineOptions
    ) -> None:
        self.board = Board()
        self.alarms = Alarms()
        self.decider = Decider(store, clock, registry)
        self.onlookers = Onlookers()
        self.pressure = Pressure()
        self.hooks = Hooks()
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._lease = timedelta(seconds=options.lease_seconds)
        self._gather = options.gather_seconds
        self._client_keys = ClientKeys(store)
        self._inbox: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._stopped = False

    # The inbox -------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        return len(self._inbox)

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Puts a request in the inbox. The future answers after the commit, or raises the refusal.

        Raises OverloadedError or StoppedError at once: then nothing was taken.
        """
        if self._stopped:
            raise StoppedError
        if len(self._inbox) >= MAX_INBOX:
            raise OverloadedError(moving=len(self._inbox), retry_after=1)
        if request.future is None:
            request.future = asyncio.get_running_loop().create_future()
        if request.program is not None:
            self.pressure.starts()
            request.future.add_done_callback(self.pressure.started)
        self._inbox.append(request)
        self._wake.set()
        return request.future

    def wait_for_tasks(self, poll: Poll) -> Poller:
        """Its future answers with tasks; at the end of the next turn if the poll does not want to wait. The caller
        ends the wait by `board.withdraw`. Raises StoppedError."""
        if self._stopped:
            raise StoppedError
        future: asyncio.Future[list[Task]] = asyncio.get_running_loop().create_future()
        poller = Poller(poll, future)
        self.board.wait(poller)
        self._wake.set()
        return poller

    def wake(self) -> None:
        """There may be tasks and workers to match."""
        self._wake.set()

    def look_after(self, row: OwedRow) -> None:
        """Remembers what the row says will be due: a task at once on the board, the rest as alarms."""
        now = self._clock.now()
        self.alarms.arm(row, now)
        tell(self.hooks.owed[row.kind], row)
        if row.is_ready(now):
            self.board.add(row)
            self._wake.set()

    async def run(self) -> None:
        while not self._stopped:
            await self._wake.wait()
            if self.pressure.busy:
                await self._clock.sleep(self._gather)
            self._wake.clear()
            await self._turn()
            if self._inbox:
                self._wake.set()
        while self._inbox:
            self._inbox.popleft().refuse(StoppedError())
        self.board.dismiss(self.board.everyone())

    def stop(self) -> None:
        """After the batch under way; nothing new is taken from now on."""
        self._stopped = True
        self._wake.set()

    # One turn --------------------------------------------------------------------

    async def _turn(self) -> None:
        hasty = self.board.hasty()
        requests = [self._inbox.popleft() for _ in range(min(len(self._inbox), MAX_BATCH))]
        claims = list(islice(self._claims(), MAX_BATCH))
        if len(claims) == MAX_BATCH:
            self._wake.set()  # There may be more.
        if requests or claims:
            began = self._clock.monotonic()
            await self._transact([*requests, *claims])
            now = self._clock.monotonic()
            self.pressure.turned(len(requests) + len(claims), now - began, now)
        self.board.dismiss(hasty)
        self.decider.cache.trim()

    async def _transact(self, requests: list[Request], *, whole: bool = True) -> None:
        """One batch. Whatever goes wrong is told to those who asked; the loop goes on."""
        draft = Draft(self._clock.now())
        try:
            await self._decide_all(draft, requests)
            changes = draft.changes()
            if whole:
                await self._hand_out(draft, changes)
            changes, positions = await self._append(draft, changes)
        except NOT_NOW as error:
            self._give_up(draft, requests, error)
        except Exception as error:  # noqa: BLE001 - the loop outlives every fault, and tells it to whom it is about
            await self._transact_in_parts(draft, requests, error, whole=whole)
        else:
            self._committed(draft, changes, positions)
            await self._save_snapshots(draft)
        self._inbox.extendleft(reversed(draft.later))

    async def _transact_in_parts(
        self, draft: Draft, requests: list[Request], error: Exception, *, whole: bool
    ) -> None:
        """Something in this batch cannot be stored: by halves, until it is alone with what is wrong with it."""
        self.decider.cache.drop(draft.entries)
        self._wake.set()
        later = {id(request) for request in draft.later}
        asked = [request for request in requests if not request.over and id(request) not in later]
        if whole or len(asked) > 1:
            for item in draft.decided:
                if item.request.ready is None:
                    self._release(item.request)  # Handed out with what led to it: both in their turn.
            for request in asked:
                request.tries += 1
            half = len(asked) // 2
            for part in filter(None, (asked[:half], asked[half:])):
                await self._transact(part, whole=False)
            return
        for request in asked:
            refused = isinstance(error, TenutoError)
            problem = error if refused else self.decider.incident(request, error)
            if refused and request.poller is not None:
                request.over = True
                self.board.refuse(request.poller, problem)  # What a claim would store comes from its poll.
            else:
                request.refuse(problem)
                self._release(request)

    async def _decide_all(self, draft: Draft, requests: Iterable[Request]) -> None:
        new, later = await self._client_keys.sort(requests)
        draft.later += later
        await self.decider.load(draft, new)
        for request in new:
            if request.poller is not None and (request.poller.withdrawn or request.poller.future.done()):
                self._release(request, again=True)
                self._wake.set()
            else:
                await self.decider.decide(draft, request)

    # Handing out -----------------------------------------------------------------

    def _claims(self) -> Iterator[Request]:
        """Of tasks that are ready, for polls that wait."""
        for poller, ready in self.board.matches():
            yield self._claim(poller, ready.instance, ready.key, ready.attempt, ready)

    def _claim(
        self, poller: Poller, instance: str, key: str, attempt: int, ready: Ready | None = None
    ) -> Request:
        self.board.reserve(poller)
        lease = Lease(attempt, poller.poll.session, instance, key)
        token = self._tokens.mint(lease)
        make = claims(lease, token, poller.poll.worker)
        return Request(stream=instance, poller=poller, make=make, ready=ready, token=token)

    async def _hand_out(self, draft: Draft, changes: Changes) -> None:
        """What this very batch makes ready goes to workers that wait for it, in the same commit."""
        rows = [row for changed in changes.values() for row in changed.values() if row is not None]
        for row in sorted((row for row in rows if row.is_ready(draft.at)), key=OwedRow.urgency):
            poller = self.board.waiter_for(row.queue or "")
            if poller is not None:
                await self.decider.decide(draft, self._claim(poller, row.instance, row.key, row.attempt))
                changes[row.instance] |= draft.changed_under(row.instance, row.key)

    # The commit ------------------------------------------------------------------

    async def _append(self, draft: Draft, changes: Changes) -> tuple[Changes, list[int]]:
        """Appends the draft. After a conflict only what is stale is decided again; the rest stays as it is.

        A batch of which nobody knows whether it is stored is appended once more as it is: the store's lock makes the
        second wait for the first, and if the second conflicts, reading tells whether it is with the first.
        """
        doubts: list[CommitUnknownError] = []
        while True:
            try:
                if not doubts:
                    await self._prove(draft)
                batch = draft.batch(changes)
                return changes, await self._store.append(batch) if batch.events else []
            except (VersionConflictError, DuplicateCommandError) as conflict:
                if doubts and (positions := await self._stored_before(draft, doubts[-1])):
                    return changes, positions
                doubts.clear()
                await self._decide_again(draft, draft.losers(conflict))
                changes = draft.changes()
            except CommitUnknownError as doubt:
                doubts.append(doubt)
                if len(doubts) == MAX_DOUBTS:
                    raise
            except Exception:
                if doubts:
                    raise doubts[-1] from None
                raise

    async def _prove(self, draft: Draft) -> None:
        """What was decided without events is checked by no append: a refusal must not rest on a stale cache."""
        unproven = draft.unproven
        versions = await self._store.versions(unproven) if unproven else {}
        stale = [name for name, version in versions.items() if version != draft.entries[name].committed]
        if stale:
            raise VersionConflictError(streams=stale)

    async def _decide_again(self, draft: Draft, streams: set[str]) -> None:
        versions = await self._store.versions(list(draft.entries))
        streams |= {name for name, version in versions.items() if version != draft.entries[name].committed}
        requests = draft.without(streams)
        self.decider.cache.drop(streams)
        again = []
        for request in requests:
            request.tries += 1
            if request.poller is not None:
                self._release(request, again=True)
            elif request.tries > MAX_TRIES:
                request.refuse(VersionConflictError(streams=[request.stream]))
            else:
                again.append(request)
        self._wake.set()  # For the tasks and workers that were released.
        await self._decide_all(draft, again)

    async def _stored_before(self, draft: Draft, doubt: CommitUnknownError) -> list[int]:
        """A batch is stored wholly or not at all, so its last command tells of all. → its last position."""
        last = [item for item in draft.decided if item.events][-1]
        stream = last.request.stream
        try:
            found = await self._store.read(stream, after=draft.entries[stream].committed, upto=last.version)
        except Exception:  # noqa: BLE001 - whatever it is, the doubt remains
            raise doubt from None
        mark = f'"commandId":"{last.command_id}"'.encode()
        return [found[-1].position] if any(mark in recorded.payload for recorded in found) else []

    def _committed(self, draft: Draft, changes: Changes, positions: list[int]) -> None:
        ended = []
        self.pressure.moves(changes, self._clock.monotonic())
        for stream, changed in changes.items():
            entry = draft.entries[stream]
            for key, row in changed.items():
                if row is None:
                    entry.rows.pop(key, None)
                    self.alarms.disarm((stream, key))
                else:
                    entry.rows[key] = row
                    self.look_after(row)
            entry.committed = entry.state.version
            if entry.state.ended:
                self.decider.cache.drop([stream])
                self.pressure.ends(stream)
                ended.append(entry.state)
        self.decider.cache.drop(stream for stream, entry in draft.entries.items() if not entry.committed)
        position = positions[-1] if positions else None
        self._answer_all(draft, position)
        self.onlookers.saw(draft.decided)
        for state in ended:
            self.onlookers.saw_end(state)
            tell(self.hooks.end, state)
        if changes:
            tell(self.hooks.commit, position or 0)

    async def _save_snapshots(self, draft: Draft) -> None:
        if snapshots := [made for entry in draft.entries.values() if (made := entry.snapshot())]:
            try:
                await self._store.save_snapshots(snapshots)
            except Exception as error:  # noqa: BLE001 - what they are of is stored; no answer waits for them
                log.warning("snapshots were not saved, loads will be slower: %r", error)

    # Answers ---------------------------------------------------------------------

    def _answer_all(self, draft: Draft, position: int | None) -> None:
        pollers: dict[Poller, None] = {}
        for item in draft.decided:
            request = item.request
            if request.poller is not None:
                self._deliver(draft, item, request.poller)
                pollers[request.poller] = None
            elif item.refusal is not None:
                request.refuse(item.refusal)
            else:
                request.answer(item.answer(draft.entries[request.stream].state, position))
        for poller in pollers:
            if poller.tasks:
                self.board.answer(poller)

    def _deliver(self, draft: Draft, item: Decided, poller: Poller) -> None:
        """A claim that was stored is a task for its worker; one that was refused leaves its room to another."""
        entry = draft.entries[item.request.stream] if item.events else None
        execution = item.events[0].execution if item.events else ""  # type: ignore[attr-defined]  # StepStarted
        running = None if entry is None else entry.state.open.get(execution)
        if entry is not None and isinstance(running, Running):
            item.request.over = True
            poller.tasks.append(task_of(entry, execution, running, item.at, self._lease))
        else:
            self._release(item.request)
            self._wake.set()  # Something else may be ready for it.

    def _release(self, request: Request, *, again: bool = False) -> None:
        """A claim comes to nothing; with `again` its task is still there to be claimed."""
        if request.over or request.poller is None:
            return
        request.over = True
        if again and request.ready is not None:
            self.board.put_back(request.ready)
        self.board.release(request.poller)

    def _give_up(self, draft: Draft, requests: Iterable[Request], error: Exception) -> None:
        """Nothing is known to be stored: all who asked hear of it, and no state of the batch is kept.

        Tasks go back to the board, and are matched again when something wakes the loop: not at once, in vain.
        """
        self.decider.cache.drop(draft.entries)
        later = {id(request) for request in draft.later}
        everyone = {id(request): request for request in requests if id(request) not in later}
        everyone.update((id(item.request), item.request) for item in draft.decided)
        for request in everyone.values():
            if request.poller is None:
                request.refuse(error)
                continue
            if isinstance(error, CommitUnknownError) and request.token is not None:
                tell(self.hooks.undelivered, request.token)
            self._release(request, again=True)
