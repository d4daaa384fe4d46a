"""All webhooks of one shard at one server: registered, listed, and delivered as long as they are registered.

Registrations are events in streams of their own, which every server looks at again and again. Next: `delivery.py` (one
webhook), `desk.py` (positions, leases, dead letters).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import NamedTuple, Protocol

from domain.other_events import WebhookDisabled, WebhookRegistered, WebhookRemoved
from domain.webhooks import Registration
from feeds.delivery import Delivery
from feeds.desk import DeadLetter, Desk, Progress
from feeds.errors import UnknownDeadLetterError
from feeds.post import Post, check_url
from feeds.signing import key_of, new_secret
from feeds.tail import Tail
from feeds.waiting import Clock, first_of

log = logging.getLogger("tenuto.webhooks")

LOOK_S = 1.0
"""Seconds between two looks at what other servers have registered."""
REDELIVERED_AT_ONCE = 100
ACTOR = "tenuto"


class Registry(Protocol):
    """Where registrations are kept: `engine.webhooks`."""

    async def register(self, event: WebhookRegistered) -> bool: ...

    async def remove(self, namespace: str, name: str, event: WebhookRemoved) -> None: ...

    async def disable(self, namespace: str, name: str, event: WebhookDisabled) -> None: ...

    async def find(self, namespace: str, name: str) -> Registration | None: ...

    async def get(self, namespace: str, name: str) -> Registration: ...

    async def all(self) -> list[Registration]: ...


class Registered(NamedTuple):
    """`secret` is told when it is new, and never again."""

    registration: Registration
    created: bool
    secret: str | None


class Redelivered(NamedTuple):
    delivered: int
    remaining: int
    error: str | None


class Webhooks:
    def __init__(self, registry: Registry, desk: Desk, tail: Tail, post: Post, clock: Clock) -> None:
        self._registry = registry
        self._desk = desk
        self._tail = tail
        self._post = post
        self._clock = clock
        self._holder = clock.new_id()
        self._deliveries: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self) -> None:
        await self._desk.prepare()
        self._watching = asyncio.create_task(self._watch(), name="webhooks")

    async def stop(self) -> None:
        """An attempt under way is cut short: the server that takes over makes it again."""
        tasks = [task for _, task in self._deliveries.values()]
        if self._watching is not None:
            tasks.append(self._watching)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def deliveries(self) -> list[Delivery]:
        """What this server delivers now."""
        return [delivery for delivery, _ in self._deliveries.values() if delivery.holds]

    def lag(self, position: int) -> int:
        return max(0, self._tail.position - position)

    # What is asked ------------------------------------------------------------------

    async def register(self, wish: WebhookRegistered, secret: str | None) -> Registered:
        """Its `secret_id` is filled in here. Raises BadWebhookUrlError, BadSecretError, LimitExceededError."""
        check_url(wish.url)
        if secret is not None:
            key_of(secret)
        known = await self._registry.find(wish.namespace, wish.name)
        told = None
        if known is not None and await self._keeps(known, secret):
            wish.secret_id = known.webhook.secret_id
        else:
            told = secret or new_secret()
            wish.secret_id = self._clock.new_id()
            await self._desk.keep_secret(wish.secret_id, told)
        created = await self._registry.register(wish)
        self._changed.set()
        return Registered(await self._registry.get(wish.namespace, wish.name), created, told)

    async def _keeps(self, known: Registration, secret: str | None) -> bool:
        kept = await self._desk.secret(known.webhook.secret_id)
        return kept is not None and (secret is None or hmac.compare_digest(secret.encode(), kept.encode()))

    async def remove(self, namespace: str, name: str, event: WebhookRemoved) -> None:
        """Raises UnknownWebhookError."""
        known = await self._registry.get(namespace, name)
        await self._registry.remove(namespace, name, event)
        self._changed.set()
        await self._desk.forget(known.stream)

    async def of(self, namespace: str) -> list[tuple[Registration, Progress | None]]:
        mine = [one for one in await self._registry.all() if one.webhook.namespace == namespace]
        progress = await self._desk.status([one.stream for one in mine])
        return [(one, progress.get(one.stream)) for one in mine]

    async def get(self, namespace: str, name: str) -> tuple[Registration, Progress | None]:
        """Raises UnknownWebhookError."""
        one = await self._registry.get(namespace, name)
        return one, (await self._desk.status([one.stream])).get(one.stream)

    # Dead letters ---------------------------------------------------------------------

    async def dead_letters(self, namespace: str, name: str, after: int, limit: int) -> list[DeadLetter]:
        """Raises UnknownWebhookError."""
        one = await self._registry.get(namespace, name)
        return await self._desk.dead_letters(one.stream, after, limit)

    async def redeliver(self, namespace: str, name: str, position: int | None) -> Redelivered:
        """One dead letter, or all in their order (a hundred at a time), until one is refused again.

        Raises UnknownWebhookError, UnknownDeadLetterError.
        """
        one = await self._registry.get(namespace, name)
        letters = await self._desk.dead_letters(one.stream, 0, REDELIVERED_AT_ONCE)
        if position is not None:
            letter = await self._desk.dead_letter(one.stream, position)
            if letter is None:
                raise UnknownDeadLetterError(name=name, position=position)
            letters = [letter]
        delivery, delivered, error = self._delivery(one), 0, None
        for letter in letters:
            message = await self._tail.log.one(letter.position)
            outcome = None if message is None else await delivery.attempt(message)
            if outcome is not None and outcome.error is not None:
                error = outcome.error
                await self._desk.again_failed(one.stream, letter.position, error, self._clock.now())
                break
            await self._desk.redelivered(one.stream, letter.position)
            delivered += 1
        progress = (await self._desk.status([one.stream])).get(one.stream)
        return Redelivered(delivered, 0 if progress is None else progress.dead_letters, error)

    # Delivering -----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Starts and stops deliveries as the registrations say: those made here at once, others' in a moment."""
        while True:
            self._changed.clear()
            try:
                await self._refresh()
            except Exception as error:  # noqa: BLE001 - whatever it is, what is delivered goes on
                log.warning("the registrations of webhooks cannot be read, tried again: %r", error)
            await first_of(self._changed.wait(), self._clock.sleep(LOOK_S))

    async def _refresh(self) -> None:
        wanted = {one.stream: one for one in await self._registry.all() if one.webhook.disabled is None}
        ended = [
            task
            for stream, (delivery, task) in self._deliveries.items()
            if wanted.get(stream) != delivery.registration or task.done()
        ]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        self._deliveries = {stream: kept for stream, kept in self._deliveries.items() if kept[1] not in ended}
        for stream, one in wanted.items():
            if stream not in self._deliveries:
                delivery = self._delivery(one)
                task = asyncio.create_task(delivery.run(), name=stream)
                self._deliveries[stream] = (delivery, task)

    def _delivery(self, one: Registration) -> Delivery:
        return Delivery(
            one,
            desk=self._desk,
            tail=self._tail,
            post=self._post,
            clock=self._clock,
            holder=self._holder,
            gone=self._disable,
        )

    async def _disable(self, one: Registration, why: str) -> None:
        event = WebhookDisabled(actor=ACTOR, reason=why, why=why)
        await self._registry.disable(one.webhook.namespace, one.webhook.name, event)
