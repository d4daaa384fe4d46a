"""The engine's heart: one loop over one inbox. Take what has come, decide it, append it all at once, then answer.

    inbox ─► load (cache) ─► decide (pure) ─► append (one transaction) ─► answer, hand out, arm timers

Nothing leaves before the COMMIT of the state that it was decided on: no answer, no refusal, no task. Under load the
batch grows by itself; when idle, a command costs one commit. What the loop does not know: HTTP, connectors, sessions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from domain.commands import ClaimStep
from domain.errors import NotStartedError, TenutoError, UnknownInstanceError
from domain.evolve import evolve
from domain.instance import advance
from domain.state import Running, State
from engine.alarms import Alarms
from engine.board import Board, Poller
from engine.cache import Cache, Entry, fold, fold_all
from engine.client_keys import ClientKeys
from engine.draft import Decided, Draft, Request
from engine.errors import IncidentError, OverloadedError, StoppedError
from engine.handout import task_of
from engine.messages import Answer, Envelope
from engine.ports import (
    Clock,
    CommitUnknownError,
    DuplicateCommandError,
    OwedRow,
    Store,
    StoreUnavailableError,
    VersionConflictError,
)
from engine.registry import Registry
from engine.tokens import Lease, Tokens

log = logging.getLogger("tenuto.engine")

MAX_BATCH = 512
MAX_INBOX = 20_000
MAX_TRIES = 8
"""How often a request is decided again after conflicts, before its caller hears of one."""

Rows = dict[str, dict[str, OwedRow]]


class Loop:
    """`on_commit` hears of the last position of each commit, `on_end` of each instance that has ended."""

    def __init__(
        self, store: Store, clock: Clock, registry: Registry, tokens: Tokens, *, lease: timedelta
    ) -> None:
        self.board = Board()
        self.alarms = Alarms()
        self.cache = Cache()
        self.on_commit: list[Callable[[int], None]] = []
        self.on_end: list[Callable[[str], None]] = []
        self.incidents: deque[str] = deque(maxlen=100)
        self._store = store
        self._clock = clock
        self._registry = registry
        self._tokens = tokens
        self._lease = lease
        self._client_keys = ClientKeys(store)
        self._inbox: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._commands = 0
        self._prefix = clock.new_id()[-12:]
        self._stopped = False

    # The inbox -------------------------------------------------------------------

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Puts a request in the inbox. The future answers after the commit, or raises the refusal.

        Raises OverloadedError or StoppedError at once: then nothing was taken.
        """
        if self._stopped:
            raise StoppedError
        if len(self._inbox) >= MAX_INBOX:
            raise OverloadedError(waiting=len(self._inbox), retry_after=1)
        if request.future is None:
            request.future = asyncio.get_running_loop().create_future()
        self._inbox.append(request)
        self._wake.set()
        return request.future

    def wake(self) -> None:
        """A poll has come, or a task has become ready: there may be something to match."""
        self._wake.set()

    async def run(self) -> None:
        while not self._stopped:
            await self._wake.wait()
            self._wake.clear()
            await self.turn()
            if self._inbox:
                self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        while self._inbox:
            self._inbox.popleft().refuse(StoppedError())
        self._wake.set()

    # One turn --------------------------------------------------------------------

    async def turn(self) -> None:
        """One batch. Whatever goes wrong is told to those who asked; the loop goes on."""
        requests = [self._inbox.popleft() for _ in range(min(len(self._inbox), MAX_BATCH))]
        requests += self._claims()
        if not requests:
            return
        draft = Draft()
        try:
            await self._decide_all(draft, requests)
            await self._commit(draft, self._hand_out(draft))
        except Exception as error:  # noqa: BLE001 - the loop outlives every fault, and tells it to all who asked
            self._give_up(draft, requests, error)
        await self._save_snapshots(draft)
        self.cache.trim()

    async def _decide_all(self, draft: Draft, requests: Iterable[Request]) -> None:
        new, later = await self._client_keys.sort(requests)
        if later:
            self._inbox.extendleft(
                reversed(later)
            )  # They repeat one of this batch: in the next, it is known.
        await self._load(draft, new)
        for request in new:
            if request.wanted:
                await self._decide(draft, request)

    async def _load(self, draft: Draft, requests: Iterable[Request]) -> None:
        """The entries of all instances asked for; what is not in the cache comes in one query."""
        missing: dict[str, None] = {}
        for request in requests:
            entry = self.cache.get(request.stream)
            if entry is None and request.program is not None:
                entry = Entry(State(id=request.stream), request.program)
                self.cache.put(entry)
            if entry is None:
                missing[request.stream] = None
            else:
                draft.entries[request.stream] = entry
        if missing:
            for stream, state in fold_all(await self._store.load(list(missing))).items():
                draft.entries[stream] = Entry(state)
                self.cache.put(draft.entries[stream])
        for entry in draft.entries.values():
            if entry.program is None and entry.state.version:
                entry.program = await self._registry.program(
                    entry.state.namespace, entry.state.definition, entry.state.definition_version
                )

    async def _decide(self, draft: Draft, request: Request) -> None:
        item = self._begin(draft, request)
        try:
            self._fold(draft, item)
        except Exception as error:  # noqa: BLE001 - a poison instance leaves the batch alone, as an incident
            item.refusal = await self._incident(draft, item, error)
        draft.decided.append(item)

    def _begin(self, draft: Draft, request: Request) -> Decided:
        """A command is never dated before its stream's last event."""
        now, last = self._clock.now(), draft.entries[request.stream].state.now
        self._commands += 1
        at = now if last is None else max(now, last)
        return Decided(request=request, at=at, command_id=f"{self._prefix}-{self._commands:x}")

    def _fold(self, draft: Draft, item: Decided) -> None:
        request, entry = item.request, draft.entries[item.request.stream]
        try:
            if entry.program is None:
                raise UnknownInstanceError(instance_id=request.stream)
            command = request.make(Envelope(item.at, item.command_id, self._clock.entropy()))
            item.events = advance(command, entry.state, entry.program)
        except NotStartedError:
            item.refusal = UnknownInstanceError(instance_id=request.stream)
        except TenutoError as refusal:
            item.refusal = refusal
        item.version = entry.state.version

    async def _incident(self, draft: Draft, item: Decided, error: Exception) -> IncidentError:
        """Deciding it raised: its instance is folded anew, with what this batch has decided on it so far."""
        stream = item.request.stream
        name = getattr(item.request.make, "__qualname__", "a command")
        log.error("deciding %s on %s failed", name, stream, exc_info=error)
        self.incidents.append(f"{name} on {stream}: {error!r}")
        program = draft.entries[stream].program
        entry = Entry(fold(stream, (await self._store.load([stream]))[stream]), program)
        for earlier in draft.decided:
            if earlier.request.stream == stream:
                for event in earlier.events:
                    evolve(entry.state, event)
        draft.entries[stream] = entry
        self.cache.put(entry)
        return IncidentError(command=name, instance_id=stream)

    # Handing out -----------------------------------------------------------------

    def _claims(self) -> Iterator[Request]:
        """Of tasks that are ready, for polls that wait."""
        for poller, ready in self.board.matches():
            yield self._claim(poller, ready.instance, ready.key, ready.attempt)

    def _claim(self, poller: Poller, instance: str, key: str, attempt: int) -> Request:
        poller.reserved += 1
        token = self._tokens.mint(Lease(attempt, poller.poll.session, instance, key))
        worker = poller.poll.worker

        def claim(env: Envelope) -> ClaimStep:
            return ClaimStep(
                at=env.at,
                command_id=env.command_id,
                execution=key,
                attempt=attempt,
                worker=worker,
                token=token,
            )

        return Request(stream=instance, poller=poller, make=claim)

    def _hand_out(self, draft: Draft) -> Rows:
        """What this very batch makes ready goes to workers that wait for it, in the same commit. → what is owed."""
        rows, now = draft.rows(), self._clock.now()
        for stream, after in rows.items():
            before = draft.entries[stream].rows
            for key, row in list(after.items()):
                is_new = row.kind == "invoke" and before.get(key) != row
                poller = self.board.waiter_for(row.queue or "") if is_new and _due(row, now) else None
                if poller is not None:
                    item = self._begin(draft, self._claim(poller, stream, key, row.attempt))
                    self._fold(draft, item)
                    draft.decided.append(item)
                    after.update(draft.rows_under(stream, key))
        return rows

    # The commit ------------------------------------------------------------------

    async def _commit(self, draft: Draft, rows: Rows) -> None:
        """Appends the draft. After a conflict only what is stale is decided again; the rest stays as it is."""
        while True:
            batch = draft.batch(rows)
            try:
                positions = await self._store.append(batch) if batch.events else []
            except VersionConflictError as conflict:
                await self._decide_again(draft, set(conflict.details["streams"]))  # type: ignore[call-overload]
            except DuplicateCommandError:
                await self._decide_again(draft, set(draft.entries))
            except CommitUnknownError as unknown:
                if await self._was_stored(draft, unknown):
                    self._committed(draft, rows, [])
                    return
                await self._decide_again(draft, set(draft.entries))
            else:
                self._committed(draft, rows, positions)
                return
            rows = draft.rows()

    async def _decide_again(self, draft: Draft, streams: set[str]) -> None:
        versions = await self._store.versions(list(draft.entries))
        streams |= {name for name, version in versions.items() if version != draft.entries[name].committed}
        requests = draft.without(streams)
        self.cache.drop(streams)
        again = []
        for request in requests:
            request.tries += 1
            if request.poller is not None:
                self._release(request.poller)  # Another server was quicker: the task is its, or comes back.
            elif request.tries > MAX_TRIES:
                request.refuse(VersionConflictError(streams=[request.stream]))
            else:
                again.append(request)
        await self._decide_all(draft, again)

    async def _was_stored(self, draft: Draft, unknown: CommitUnknownError) -> bool:
        """A batch is stored wholly or not at all, so one of its commands tells of all."""
        item = next(item for item in draft.decided if item.events)
        stream = item.request.stream
        try:
            found = await self._store.read(stream, after=draft.entries[stream].committed)
        except StoreUnavailableError:
            raise unknown from None
        return any(f'"commandId":"{item.command_id}"'.encode() in recorded.payload for recorded in found)

    def _committed(self, draft: Draft, rows: Rows, positions: list[int]) -> None:
        for stream, after in rows.items():
            entry = draft.entries[stream]
            for key in entry.rows.keys() - after.keys():
                self.alarms.disarm((stream, key))
            for key, row in after.items():
                if entry.rows.get(key) != row:
                    self.look_after(row)
            entry.rows = after
            entry.committed = entry.state.version
            if entry.state.ended:
                self.cache.drop([stream])
                for callback in self.on_end:
                    callback(stream)
        self._answer_all(draft, positions[-1] if positions else None)
        for notify in self.on_commit if rows else ():
            notify(positions[-1] if positions else 0)

    def look_after(self, row: OwedRow) -> None:
        """Remembers what the row says will be due: a task at once on the board, the rest as alarms."""
        now = self._clock.now()
        self.alarms.arm(row, now)
        if row.kind == "invoke" and _due(row, now):
            self.board.add(row)

    async def _save_snapshots(self, draft: Draft) -> None:
        snapshots = [
            snapshot for entry in draft.entries.values() if (snapshot := entry.snapshot()) is not None
        ]
        if snapshots:
            try:
                await self._store.save_snapshots(snapshots)
            except StoreUnavailableError as error:
                log.warning("snapshots were not saved, loads will be slower: %s", error)

    # Answers ---------------------------------------------------------------------

    def _answer_all(self, draft: Draft, position: int | None) -> None:
        pollers: dict[int, Poller] = {}
        for item in draft.decided:
            request = item.request
            if request.poller is not None:
                self._deliver(draft, item, request.poller)
                pollers[id(request.poller)] = request.poller
            elif item.refusal is not None:
                request.refuse(item.refusal)
            else:
                request.answer(_answer_of(item, draft.entries[request.stream].state, position))
        for poller in pollers.values():
            if poller.tasks and not poller.future.done():
                poller.future.set_result(poller.tasks)

    def _deliver(self, draft: Draft, item: Decided, poller: Poller) -> None:
        """A claim that was stored is a task for its worker; one that was refused leaves its room to another."""
        if not item.events:
            self._release(poller)
            return
        state = draft.entries[item.request.stream].state
        execution = item.events[0].execution  # type: ignore[attr-defined]  # Of a StepStarted.
        running = state.open.get(execution)
        if isinstance(running, Running):
            poller.tasks.append(task_of(state, execution, running, item.at, self._lease))

    def _release(self, poller: Poller) -> None:
        poller.reserved -= 1
        if poller.withdrawn and not poller.reserved and not poller.future.done():
            poller.future.set_result(poller.tasks)

    def _give_up(self, draft: Draft, requests: Iterable[Request], error: Exception) -> None:
        """Nothing is known to be stored: all who asked hear of it, and no state of the batch is kept."""
        if not isinstance(error, StoreUnavailableError | CommitUnknownError):
            log.error("a batch failed", exc_info=error)
        self.cache.drop(draft.entries)
        everyone = {id(request): request for request in requests}
        everyone.update((id(item.request), item.request) for item in draft.decided)
        for request in everyone.values():
            if request.poller is not None:
                self._release(request.poller)
            else:
                request.refuse(error)


def _due(row: OwedRow, now: datetime) -> bool:
    return row.due_at is not None and row.due_at <= now


def _answer_of(item: Decided, state: State, position: int | None) -> Answer:
    return Answer(
        instance_id=state.id,
        version=item.version,
        position=position if item.events else None,
        created=bool(item.events) and item.version == len(item.events),
        events=item.events,
        status=state.status,
        outcome=state.outcome,
    )
