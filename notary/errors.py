"""What the notary refuses, and why it stops signing."""

from __future__ import annotations

from domain.errors import TenutoError


class LogInconsistentError(TenutoError):
    """The log is not the one whose checkpoints were exported: {problem}. Nothing is signed while that is so; `tenuto
    audit verify` says where the two part."""


class NotExportedError(TenutoError):
    """No checkpoint could be exported to {folder}: {problem}"""


class KeyUnusableError(TenutoError):
    """The signing key {path} cannot be used: {problem}"""


class NoNotaryError(TenutoError):
    """This server keeps no notary, so nothing here is signed or proved."""


class UnknownEventError(TenutoError):
    """There is no event {event} in the log."""


class NotCoveredError(TenutoError):
    """Event {event} is not covered by the checkpoint of {size} events: make a new one (POST /v1/audit/checkpoints)."""


class SizeOutOfRangeError(TenutoError):
    """{name} is {value}; it must be {expected}."""


class HistoryTooLongError(TenutoError):
    """Instance {instance_id!r} has {count} events; evidence is given of at most {limit}. Export the log instead."""
