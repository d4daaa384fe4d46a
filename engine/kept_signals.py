"""Signals that are kept until somebody listens, and how each gets to exactly one instance.

    signals/<namespace>/<correlation key>: SignalKept, SignalForwarded, SignalDelivered | SignalReturned | SignalExpired

A start and a signal that come at the same moment cannot miss each other: appends are serialised, both look for the
other after their commit, and whoever commits second sees it. What a crash leaves half done is found by `sweep`, in the
table: forwarded again it is the same signal to the same instance, which takes each id once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, NamedTuple

from domain.codec import decode, encode, topic_of
from domain.commands import SendSignal
from domain.errors import TenutoError
from domain.events import Event
from domain.kept_signals import Kept, KeptSignals, evolve, is_known, keep
from domain.other_events import SignalDelivered, SignalExpired, SignalForwarded, SignalKept, SignalReturned
from domain.times import MILLISECOND
from engine.errors import NOT_NOW, NoListenerError, SeveralListenersError
from engine.messages import Answer, Envelope
from engine.ports import Batch, Clock, Key, OwedRow, Recorded, Store, VersionConflictError

log = logging.getLogger("tenuto.signals")

PREFIX = "signals/"
SWEEP_PAGE = 500
MAX_TRIES = 8
"""How often a stream is read again because another server was quicker."""

Act = Callable[[str, Callable[[Envelope], SendSignal]], Awaitable[Answer]]
ByKey = Callable[..., Awaitable[list[Answer]]]
Knows = Callable[[str, str], Awaitable[bool]]


class Signalled(NamedTuple):
    """What became of a signal: `instances` took it; `duplicate`: before."""

    status: Literal["accepted", "kept", "expired", "duplicate"]
    instances: list[str]


class Keeper:
    """`act` sends to an instance, `by_key` to whoever listens now; `knows` says whether an instance's definition has
    to do with signals of that name."""

    def __init__(self, store: Store, clock: Clock, *, act: Act, by_key: ByKey, knows: Knows) -> None:
        self._store = store
        self._clock = clock
        self._act = act
        self._by_key = by_key
        self._knows = knows
        self._heard: dict[str, None] = {}
        self._woken = asyncio.Event()

    def listens(self, row: OwedRow) -> None:
        """Somebody listens since the last commit: `attend` looks whether something is kept for them."""
        if row.correlation_key is not None:
            self._heard[stream_of(row.namespace, row.correlation_key)] = None
            self._woken.set()

    async def signal(
        self, namespace: str, key: str, signal: SendSignal, *, ttl_ms: int, all: bool = False
    ) -> Signalled:
        """To the one that listens now; when nobody does it is kept for the first that will, until its time is over.

        It is kept in any case, if only for a moment: else the same request, come twice, might reach who listens now and
        leave a second one for whoever is next. With `all`, those who listen get it directly. Raises
        SeveralListenersError, SignalConflictError, LimitExceededError.
        """
        state = await self._load(stream_of(namespace, key))
        if is_known(state, signal.signal_id, signal.name, signal.payload):
            return _told(state, signal.signal_id, known=True)
        kept = _kept(namespace, key, signal, self._clock.now() + ttl_ms * MILLISECOND)
        if all:
            return await self._to_all(kept)
        listeners = await self._store.listeners(namespace, key, signal.name)
        if len(listeners) > 1:
            raise SeveralListenersError(correlation_key=key, signal=signal.name, count=len(listeners))
        return await self.keep(kept)

    async def _to_all(self, signal: SignalKept) -> Signalled:
        try:
            answers = await self._by_key(
                signal.namespace,
                signal.name,
                signal.correlation_id,
                signal.signal_id,
                signal.payload,
                all=True,
                actor=signal.actor,
                request_id=signal.request_id,
            )
        except NoListenerError:
            return await self.keep(signal)
        accepted = any(answer.events for answer in answers)
        return Signalled("accepted" if accepted else "duplicate", [one.instance_id for one in answers])

    async def keep(self, event: SignalKept) -> Signalled:
        """Stores it, and hands it over if somebody listens by now. Raises SignalConflictError, LimitExceededError."""
        stream = stream_of(event.namespace, event.correlation_id)
        new = True
        for _ in range(MAX_TRIES):
            state = await self._load(stream)
            kept = keep(state, event)
            new = kept is not None
            if kept is None or await self._append(stream, state, kept):
                break
        else:
            raise VersionConflictError(streams=[stream])
        try:
            await self.settle(stream)
            return _told(await self._load(stream), event.signal_id, known=not new)
        except TenutoError as error:  # It is kept, whatever cannot be done now.
            log.info("%s is kept, and settled later: %s", event.signal_id, error)
            return Signalled("kept", [])

    async def attend(self) -> None:
        """Waits until somebody new listens, and settles what is kept for them: one question for all of them."""
        await self._woken.wait()
        self._woken.clear()
        heard, self._heard = list(self._heard), {}
        rows = await self._store.owed_of(heard)  # If it cannot answer now, the sweep finds what is kept.
        for stream in dict.fromkeys(row.instance for row in rows):
            await self._settled(stream)

    async def sweep(self) -> None:
        """Whatever is over, was left half done, or somebody listens for."""
        after: Key | None = None
        while rows := await self._store.kept(self._clock.now(), SWEEP_PAGE, after):
            for stream in dict.fromkeys(row.instance for row in rows):
                await self._settled(stream)
            after = (rows[-1].instance, rows[-1].key)

    async def _settled(self, stream: str) -> None:
        try:
            await self.settle(stream)
        except TenutoError as error:
            log.warning("%s is settled later: %s", stream, error)

    async def settle(self, stream: str) -> None:
        """Every signal of the stream as far as it can go now, in the order in which they came."""
        for _ in range(MAX_TRIES):
            state = await self._load(stream)
            if await self._settle_all(stream, state):
                return
        raise VersionConflictError(streams=[stream])

    async def _settle_all(self, stream: str, state: KeptSignals) -> bool:
        """False when another server was quicker, and all must be read again."""
        for signal_id in list(state.waiting):
            kept = state.waiting[signal_id]
            if kept.target is None:
                event = await self._next(state, kept)
                if event is None:
                    continue
                if not await self._append(stream, state, event):
                    return False
            kept = state.waiting.get(signal_id, kept)
            if kept.target is not None and not await self._append(stream, state, await self._sent(kept)):
                return False
        return True

    async def _next(self, state: KeptSignals, kept: Kept) -> Event | None:
        if kept.expires_at <= self._clock.now():
            return SignalExpired(signal_id=kept.signal_id)
        for instance in await self._store.listeners(state.namespace, state.correlation_id, kept.name):
            if instance not in kept.returned and await self._knows(instance, kept.name):
                return SignalForwarded(signal_id=kept.signal_id, instance_id=instance)
        return None

    async def _sent(self, kept: Kept) -> Event:
        """Raises what says "not now": then it is sent again later, as the same signal."""
        assert kept.target is not None

        def signal(env: Envelope) -> SendSignal:
            return SendSignal(
                at=env.at,
                command_id=env.command_id,
                actor=kept.actor,
                request_id=kept.request_id,
                signal_id=kept.signal_id,
                name=kept.name,
                payload=kept.payload,
            )

        try:
            await self._act(kept.target, signal)
        except NOT_NOW:
            raise
        except TenutoError as refusal:
            return SignalReturned(signal_id=kept.signal_id, instance_id=kept.target, problem=str(refusal))
        return SignalDelivered(signal_id=kept.signal_id, instance_id=kept.target)

    async def _load(self, stream: str) -> KeptSignals:
        state = KeptSignals()
        for recorded in await self._store.read(stream):
            evolve(state, decode(recorded.topic, recorded.payload))
        return state

    async def _append(self, stream: str, state: KeptSignals, event: Event) -> bool:
        """Stores and folds it; False, and nothing done, when another server was quicker."""
        event.at, event.command_id = self._clock.now(), self._clock.new_id()
        signal_id: str = event.signal_id  # type: ignore[attr-defined]
        recorded = Recorded(stream, state.version + 1, topic_of(event), encode(event))
        after = evolve(state, event).waiting.get(signal_id)
        owe = [] if after is None else [row_of(stream, state, after)]
        withdraw = [(stream, signal_id)] if after is None else []
        try:
            await self._store.append(Batch(events=[recorded], owe=owe, withdraw=withdraw))
        except VersionConflictError:
            return False
        return True


def stream_of(namespace: str, key: str) -> str:
    return f"{PREFIX}{namespace}/{key}"


def row_of(stream: str, state: KeptSignals, kept: Kept) -> OwedRow:
    """Of one that waits. `due_at` is when its time is over, `token` the instance that it belongs to."""
    return OwedRow(
        namespace=state.namespace,
        instance=stream,
        key=kept.signal_id,
        kind="kept",
        due_at=kept.expires_at,
        token=kept.target,
        signal=kept.name,
        correlation_key=state.correlation_id,
    )


def _kept(namespace: str, key: str, signal: SendSignal, expires_at: datetime) -> SignalKept:
    return SignalKept(
        actor=signal.actor,
        request_id=signal.request_id,
        namespace=namespace,
        correlation_id=key,
        signal_id=signal.signal_id,
        name=signal.name,
        expires_at=expires_at,
        payload=signal.payload,
    )


def _told(state: KeptSignals, signal_id: str, *, known: bool) -> Signalled:
    if signal_id in state.waiting:
        return Signalled("kept", [])
    instance = state.ended[signal_id]
    if instance is None:
        return Signalled("expired", [])
    return Signalled("duplicate" if known else "accepted", [instance])
