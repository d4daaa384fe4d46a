"""What the feed and the webhooks refuse."""

from __future__ import annotations

from domain.errors import TenutoError


class TooManyConsumersError(TenutoError):
    """This server feeds {limit} consumers already, as many as it takes; ask again in {retry_after} s, or ask another
    server."""


class TooManyConsumersOfOneError(TenutoError):
    """Namespace {namespace!r} has {limit} consumers at this server already, as many as one may have; ask again in
    {retry_after} s."""


class UnknownPositionError(TenutoError):
    """The log ends at position {head}; there is no position {position} in it. Was the id given by another server?"""


class UnknownDeadLetterError(TenutoError):
    """Webhook {name!r} has no dead letter {position}."""
