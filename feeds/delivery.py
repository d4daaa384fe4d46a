"""One webhook's deliveries: reads the log from its own position and posts what it wants, one event after the other.

An event that is refused is tried again, ever more slowly, and nothing after it is sent meanwhile: so each instance's
events come in their order, and an event may come twice, never late. After `MAX_ATTEMPTS` it is a dead letter, and the
ones after it go on. Each webhook has a task of its own, so none waits for another.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg

from domain.webhooks import Registration
from feeds.desk import Desk, Held, Lost
from feeds.messages import Filter, Message
from feeds.post import Outcome, Post
from feeds.tail import Slice, Tail
from feeds.waiting import Clock, first_of

log = logging.getLogger("tenuto.webhooks")

MAX_ATTEMPTS = 12
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 900.0
LONGEST_RETRY_AFTER_S = 3_600.0
"""A receiver may ask for no longer than this."""
LEASE_S = 30.0
"""How long a webhook is held without a sign of life: longer than one attempt takes."""
LOOK_S = 10.0
"""Seconds between two signs of life, or two looks whether another server has let go."""
BACK_OFF_S = 1.0
UNSAVED = 1_000
"""Positions that may pass by unsaved when none of their events is wanted."""


class Delivery:
    """`gone` is told of an answer 410. `position` and `attempts` are as last known here."""

    def __init__(
        self,
        registration: Registration,
        *,
        desk: Desk,
        tail: Tail,
        post: Post,
        clock: Clock,
        holder: str,
        gone: Callable[[Registration, str], Awaitable[None]],
    ) -> None:
        self.registration = registration
        self.position = registration.begins_at
        self.attempts = 0
        self.holds = False
        self._filter = filter_of(registration)
        self._desk = desk
        self._tail = tail
        self._post = post
        self._clock = clock
        self._holder = holder
        self._gone = gone

    @property
    def stream(self) -> str:
        return self.registration.stream

    async def run(self) -> None:
        """Until cancelled, or the receiver is gone."""
        try:
            while await self._round():
                pass
        finally:
            self.holds = False
            await self._let_go()

    async def _round(self) -> bool:
        try:
            return await self._advance()
        except Lost:
            log.warning("%s is delivered by another server now", self.stream)
            self.holds = False
        except (psycopg.Error, OSError) as error:
            log.warning("%s waits for the database: %s", self.stream, error)
            await self._clock.sleep(BACK_OFF_S)
        except Exception:
            log.exception("%s stands still, and is tried again", self.stream)
            await self._clock.sleep(BACK_OFF_S)
        return True

    async def _advance(self) -> bool:
        held = await self._hold()
        if held is None:
            await self._clock.sleep(LOOK_S)
            return True
        now = self._clock.now()
        if held.next_attempt_at is not None and held.next_attempt_at > now:
            pause = (held.next_attempt_at - now).total_seconds()
            await self._clock.sleep(min(pause, LOOK_S))
            return True
        found = await self._tail.read(self.position)
        if found.position > self.position:
            return await self._deliver(held, found)
        await first_of(self._tail.beyond(self.position), self._clock.sleep(LOOK_S))
        if self._tail.position <= self.position > held.position:
            await self._move("delivered", position=self.position, at=None)
        return True

    async def _hold(self) -> Held | None:
        now = self._clock.now()
        until = now + timedelta(seconds=LEASE_S)
        held = await self._desk.hold(
            self.stream,
            self.registration.webhook.since,
            self.registration.begins_at,
            self._holder,
            now=now,
            until=until,
        )
        if held is not None:
            self.position = max(self.position, held.position) if self.holds else held.position
            self.attempts = held.attempts
        self.holds = held is not None
        return held

    async def _deliver(self, held: Held, found: Slice) -> bool:
        """False when the receiver wants no more, or its registration has changed: then nothing after that is sent."""
        changed = next(filter(self._changes, found.messages), None)
        if changed is not None:
            found = Slice(found.messages[: found.messages.index(changed)], changed.position - 1)
        chosen = self._filter.chosen(found.messages)
        for message in chosen:
            outcome = await self.attempt(message)
            if outcome.gone:
                await self._gone(self.registration, f"it answered {outcome.error}")
                return False
            if outcome.error is not None:
                await self._failed(message, outcome)
                return True
            await self._move("delivered", position=message.position, at=self._clock.now())
            self.position, self.attempts = message.position, 0
        if chosen or found.position - held.position >= UNSAVED:
            await self._move("delivered", position=found.position, at=None)
        self.position = found.position
        return changed is None

    def _changes(self, message: Message) -> bool:
        return message.stream == self.stream and message.version > self.registration.version

    async def attempt(self, message: Message) -> Outcome:
        """One POST, whatever comes of it."""
        secret = await self._desk.secret(self.registration.webhook.secret_id)
        if secret is None:
            return Outcome("its secret is lost: register it again, with a secret")
        return await self._post.send(
            self.registration.webhook.url,
            secret,
            f"evt_{message.position}",
            self._filter.told(message),
            now=self._clock.now(),
        )

    async def _failed(self, message: Message, outcome: Outcome) -> None:
        attempts, now = self.attempts + 1, self._clock.now()
        if attempts >= MAX_ATTEMPTS:
            log.warning("%s: event %s is given up: %s", self.stream, message.position, outcome.error)
            await self._move(
                "bury", position=message.position, attempts=attempts, error=outcome.error, at=now
            )
            self.position, self.attempts = message.position, 0
            return
        pause = pause_after(attempts, outcome, self._clock.entropy())
        await self._move(
            "failed",
            attempts=attempts,
            error=outcome.error,
            at=now,
            next_attempt_at=now + timedelta(seconds=pause),
        )
        self.attempts = attempts

    async def _move(self, statement: str, **parameters: object) -> None:
        await self._desk.move(
            statement,
            webhook=self.stream,
            since=self.registration.webhook.since,
            holder=self._holder,
            until=self._clock.now() + timedelta(seconds=LEASE_S),
            **parameters,
        )

    async def _let_go(self) -> None:
        try:
            await self._desk.let_go(self.stream, self._holder)
        except (psycopg.Error, OSError) as error:
            log.warning("%s is let go when its time is over: %s", self.stream, error)


def pause_after(attempts: int, outcome: Outcome, entropy: float) -> float:
    """Seconds: doubled each time up to a bound, spread over the upper half; what the receiver asks is a minimum."""
    doubled: float = min(FIRST_PAUSE_S * 2 ** (attempts - 1), LONGEST_PAUSE_S)
    return max(doubled * (0.5 + entropy / 2), min(outcome.retry_after_s, LONGEST_RETRY_AFTER_S))


def filter_of(registration: Registration) -> Filter:
    webhook = registration.webhook
    return Filter(
        namespace=webhook.namespace,
        topics=frozenset(webhook.topics),
        definition=webhook.definition,
        labels=webhook.labels,
    )
