"""Signals that came before anybody listened: kept under a correlation key, each for one instance, for a time.

    keep(state, SignalKept) -> SignalKept | None     None: it is there already
    evolve(state, event) -> state

A signal is forwarded before it is sent: from then on it belongs to that instance, whatever is lost in between. An
instance that cannot take it gives it back, and is not asked again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from domain.digest import digest
from domain.errors import LimitExceededError, SignalConflictError
from domain.events import Event
from domain.other_events import SignalDelivered, SignalExpired, SignalForwarded, SignalKept, SignalReturned

MAX_KEPT = 100
"""Under one correlation key."""
MAX_TTL_MS = 366 * 24 * 60 * 60 * 1000


class Kept(Struct, frozen=True, kw_only=True):
    """One that waits. `target` is the instance that it belongs to; `returned` are those that could not take it."""

    signal_id: str
    name: str
    payload: Any
    expires_at: datetime
    actor: str | None
    request_id: str | None
    target: str | None = None
    returned: frozenset[str] = frozenset()


class KeptSignals(Struct, kw_only=True):
    """Of one correlation key. `known` has a digest of every signal there ever was, `ended` what became of it: the
    instance that it was delivered to, or None when it expired."""

    version: int = 0
    namespace: str = ""
    correlation_id: str = ""
    waiting: dict[str, Kept] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str | None] = field(default_factory=dict)


def keep(state: KeptSignals, event: SignalKept) -> SignalKept | None:
    """Raises SignalConflictError (the id is another signal's) or LimitExceededError."""
    if is_known(state, event.signal_id, event.name, event.payload):
        return None
    if len(state.waiting) >= MAX_KEPT:
        raise LimitExceededError(
            subject=f"The number of signals kept under {event.correlation_id!r}",
            actual=len(state.waiting) + 1,
            limit=MAX_KEPT,
            unit="signals",
        )
    return event


def is_known(state: KeptSignals, signal_id: str, name: str, payload: Any) -> bool:
    """Raises SignalConflictError when the id is another signal's."""
    known = state.known.get(signal_id)
    if known is not None and known != digest([name, payload]):
        raise SignalConflictError(signal_id=signal_id)
    return known is not None


def evolve(state: KeptSignals, event: Event) -> KeptSignals:
    """Changes the state in place."""
    state.version += 1
    match event:
        case SignalKept():
            state.namespace, state.correlation_id = event.namespace, event.correlation_id
            state.known[event.signal_id] = digest([event.name, event.payload])
            state.waiting[event.signal_id] = Kept(
                signal_id=event.signal_id,
                name=event.name,
                payload=event.payload,
                expires_at=event.expires_at,
                actor=event.actor,
                request_id=event.request_id,
            )
        case SignalForwarded():
            kept = state.waiting[event.signal_id]
            state.waiting[event.signal_id] = replace(kept, target=event.instance_id)
        case SignalReturned():
            kept = state.waiting[event.signal_id]
            returned = kept.returned | {event.instance_id}
            state.waiting[event.signal_id] = replace(kept, target=None, returned=returned)
        case SignalDelivered():
            del state.waiting[event.signal_id]
            state.ended[event.signal_id] = event.instance_id
        case SignalExpired():
            del state.waiting[event.signal_id]
            state.ended[event.signal_id] = None
    return state
