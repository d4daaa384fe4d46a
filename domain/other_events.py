"""What can have happened beside the instances: to a webhook, and to signals that are kept until somebody listens.

As in `domain/events.py`: THESE NAMES AND FIELDS ARE STORED FOR EVER. What they mean is folded in
`domain/webhooks.py` and `domain/kept_signals.py`.
"""

from __future__ import annotations

from datetime import datetime

from domain.events import Event, Json

# The stream of one webhook ----------------------------------------------------


class WebhookRegistered(Event):
    """Also each later change of it. The secret itself stands outside of the log, under `secret_id`."""

    namespace: str
    name: str
    url: str
    secret_id: str
    topics: list[str] = []
    definition: str | None = None
    labels: dict[str, str] | None = None


class WebhookDisabled(Event):
    why: str


class WebhookRemoved(Event):
    pass


# The stream of the signals that are kept under one correlation key --------------


class SignalKept(Event):
    namespace: str
    correlation_id: str
    signal_id: str
    name: str
    expires_at: datetime
    payload: Json = None


class SignalForwarded(Event):
    """From now on it belongs to this instance, whatever is lost in between."""

    signal_id: str
    instance_id: str


class SignalDelivered(Event):
    signal_id: str
    instance_id: str


class SignalReturned(Event):
    signal_id: str
    instance_id: str
    problem: str


class SignalExpired(Event):
    signal_id: str


OF_OTHER_STREAMS: tuple[type[Event], ...] = (
    WebhookRegistered,
    WebhookDisabled,
    WebhookRemoved,
    SignalKept,
    SignalForwarded,
    SignalDelivered,
    SignalReturned,
    SignalExpired,
)
