"""Refusals that come from the engine's side of it, not from an instance's own state."""

from __future__ import annotations

from domain.errors import TenutoError
from engine.ports import CommitUnknownError, StoreUnavailableError, VersionConflictError


class ForgedTokenError(TenutoError):
    """The token was not given out by this shard."""


class OverloadedError(TenutoError):
    """The engine has as much to do as it can do in good time ({moving} are waiting or in motion); try again in
    {retry_after} s."""


class IdempotencyConflictError(TenutoError):
    """Idempotency key {key!r} was already used for another request; use a new key for a new request."""


class WrongVersionError(TenutoError):
    """Instance {instance_id!r} is at version {actual}, not at {expected} as was expected of it; read it again."""


class NoListenerError(TenutoError):
    """No open instance with correlation key {correlation_key!r} listens for signal {signal!r}."""


class SeveralListenersError(TenutoError):
    """{count} instances with correlation key {correlation_key!r} listen for signal {signal!r}; say all=true
    to reach all of them."""


class IncidentError(TenutoError):
    """Deciding {command} for {instance_id!r} failed inside Tenuto; nothing was stored. It is reported as an
    incident."""


class StoppedError(TenutoError):
    """The server is shutting down; nothing was stored. Try again, another server or this one will answer."""


NOT_NOW = (
    StoreUnavailableError,
    CommitUnknownError,
    VersionConflictError,
    OverloadedError,
    StoppedError,
)
"""About the moment, not about what was asked: worth trying again. Everything else would be refused again."""
