"""Webhooks: registered through an event-sourced stream each, so that who told whom of what is audited.

    webhook/<namespace>/<name>: WebhookRegistered, WebhookRegistered, WebhookDisabled, …, WebhookRemoved

Secrets are not in the log, which is for ever and for many eyes. How events are delivered: `feeds/`.
"""

from __future__ import annotations

from collections.abc import Callable

from domain.codec import decode, encode, topic_of
from domain.events import Event
from domain.other_events import WebhookDisabled, WebhookRegistered, WebhookRemoved
from domain.webhooks import Registration, UnknownWebhookError, Webhook, admit, evolve, wanted
from engine.ports import Batch, Clock, Recorded, Store, VersionConflictError

PREFIX = "webhook/"

Make = Callable[[Webhook | None], Event | None]


class Webhooks:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def register(self, event: WebhookRegistered) -> bool:
        """Registers it, or changes it; whether it is new. The same again yields no event."""
        namespace, known = event.namespace, await self.find(event.namespace, event.name)
        if known is None:
            admit(namespace, len([one for one in await self.all() if one.webhook.namespace == namespace]))

        def registered(now: Webhook | None) -> Event | None:
            return event if wanted(now, event) else None

        await self._append(stream_of(namespace, event.name), registered)
        return known is None

    async def remove(self, namespace: str, name: str, event: WebhookRemoved) -> None:
        """Raises UnknownWebhookError."""
        await self.get(namespace, name)
        await self._append(stream_of(namespace, name), lambda now: None if now is None else event)

    async def disable(self, namespace: str, name: str, event: WebhookDisabled) -> None:
        def disabled(now: Webhook | None) -> Event | None:
            return None if now is None or now.disabled is not None else event

        await self._append(stream_of(namespace, name), disabled)

    async def get(self, namespace: str, name: str) -> Registration:
        """Raises UnknownWebhookError."""
        found = await self.find(namespace, name)
        if found is None:
            raise UnknownWebhookError(namespace=namespace, name=name)
        return found

    async def find(self, namespace: str, name: str) -> Registration | None:
        stream = stream_of(namespace, name)
        return _registration(stream, await self._store.read(stream))

    async def all(self) -> list[Registration]:
        """Of all namespaces, by stream."""
        found, after = [], ""
        while streams := await self._store.streams(PREFIX, after=after):
            loaded = await self._store.load(streams)
            registrations = [_registration(stream, loaded[stream].events) for stream in streams]
            found += [one for one in registrations if one is not None]
            after = streams[-1]
        return found

    async def _append(self, stream: str, make: Make) -> None:
        while True:
            events = await self._store.read(stream)
            event = make(_folded(events))
            if event is None:
                return
            event.at, event.command_id = self._clock.now(), self._clock.new_id()
            recorded = Recorded(stream, len(events) + 1, topic_of(event), encode(event))
            try:
                await self._store.append(Batch(events=[recorded]))
            except VersionConflictError:
                continue  # Somebody changed it at the same moment: look at what they did.
            return


def stream_of(namespace: str, name: str) -> str:
    return f"{PREFIX}{namespace}/{name}"


def _folded(events: list[Recorded]) -> Webhook | None:
    webhook: Webhook | None = None
    for recorded in events:
        webhook = evolve(webhook, decode(recorded.topic, recorded.payload), recorded.version)
    return webhook


def _registration(stream: str, events: list[Recorded]) -> Registration | None:
    webhook = _folded(events)
    if webhook is None:
        return None
    return Registration(stream, webhook, len(events), events[webhook.since - 1].position)
