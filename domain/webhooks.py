"""Who is told of which events, by HTTP: one webhook, folded from its own stream. How it is told: `feeds/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import LimitExceededError, TenutoError
from domain.events import Event
from domain.other_events import WebhookDisabled, WebhookRegistered, WebhookRemoved

MAX_WEBHOOKS = 100
"""Of one namespace: each of them reads the whole log."""


class UnknownWebhookError(TenutoError):
    """Namespace {namespace!r} has no webhook {name!r}."""


class Webhook(Struct, frozen=True, kw_only=True):
    """As registered last. `since` is the version of the event that began it: a removed one begins anew."""

    namespace: str
    name: str
    url: str
    secret_id: str
    topics: Sequence[str] = ()
    definition: str | None = None
    labels: Mapping[str, str] = {}
    since: int = 1
    disabled: str | None = None


class Registration(NamedTuple):
    """As it is at `version` of its stream. `begins_at` is the position of the event that began it: what comes after
    that, is delivered."""

    stream: str
    webhook: Webhook
    version: int
    begins_at: int


def evolve(webhook: Webhook | None, event: Event, version: int) -> Webhook | None:
    """None: there is none, or no more."""
    match event:
        case WebhookRegistered():
            return Webhook(
                namespace=event.namespace,
                name=event.name,
                url=event.url,
                secret_id=event.secret_id,
                topics=tuple(event.topics),
                definition=event.definition,
                labels=event.labels or {},
                since=version if webhook is None else webhook.since,
            )
        case WebhookDisabled() if webhook is not None:
            return replace(webhook, disabled=event.why)
        case WebhookRemoved():
            return None
        case _:
            return webhook


def wanted(webhook: Webhook | None, event: WebhookRegistered) -> bool:
    """Whether the registration changes anything."""
    return webhook is None or evolve(webhook, event, webhook.since) != webhook


def admit(namespace: str, others: int) -> None:
    """Raises LimitExceededError when the namespace has as many as it may have."""
    if others >= MAX_WEBHOOKS:
        raise LimitExceededError(
            subject=f"The number of webhooks of namespace {namespace!r}",
            actual=others + 1,
            limit=MAX_WEBHOOKS,
            unit="webhooks",
        )
