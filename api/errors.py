"""Refusals that come from HTTP itself: what was sent does not fit the address it was sent to."""

from __future__ import annotations

from domain.errors import TenutoError


class InvalidBodyError(TenutoError):
    """The body does not fit: {problem} (at {path})."""


class InvalidParameterError(TenutoError):
    """{place} {name} is {value!r}; it must be {expected}."""


class OutOfRangeError(TenutoError):
    """{name} is {value}; of instance {instance_id!r} there is {first} to {last}."""


class InvalidCursorError(TenutoError):
    """{cursor!r} is no cursor of this list; pass the `next` of an earlier page, or none."""


class UnknownParameterError(TenutoError):
    """There is no query parameter {name!r} here; there are: {known}."""


class UnsupportedMediaTypeError(TenutoError):
    """The body is {content_type!r}; send {accepted}."""


class NameMismatchError(TenutoError):
    """The definition is named {name!r} and the address says {address!r}; they must be the same."""


class UnknownServicesError(TenutoError):
    """The definition calls services that this server has no URL for: {services} (asked with strict)."""


class AmbiguousExecutionError(TenutoError):
    """Instance {instance_id!r} has {count} executions that wait for a person; say which: {named}."""


class NothingWaitsError(TenutoError):
    """Nothing of instance {instance_id!r} waits for a person."""


class UnknownAlertError(TenutoError):
    """Instance {instance_id!r} has no open alert {alert_id!r}."""


class NotFreshError(TenutoError):
    """The lists have not reached position {position} within {seconds} s; ask again, or without minPosition."""


class NotReadyError(TenutoError):
    """The server is not ready: {problem}"""
