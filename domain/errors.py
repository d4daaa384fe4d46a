"""Every refusal the domain can give: one tree, each with its message as its docstring.

An exception's docstring is its message, with the named details filled in; its type decides the HTTP status
(one table, `api/problems.py`). Raising one changes nothing: no event has been appended when it is raised.
"""

from __future__ import annotations


class TenutoError(Exception):
    """Something was refused."""

    def __init__(self, **details: object) -> None:
        self.details = details
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(template.format(**details) if details else template)


class ExpressionError(TenutoError):
    """{message} (at character {position} of {expression!r})"""


class MappingError(TenutoError):
    """{path} is missing from the workflow's data; write {{$coalesce: [{path}, …]}} if that is expected."""


class UnusableValueError(TenutoError):
    """{subject} came out as {value!r}; {expected} is needed."""


class DurationError(TenutoError):
    """{text!r} is no duration: write a number and one unit (100ms, 1.5h) or ISO 8601 (PT30S), without years
    or months."""


class DefinitionInvalidError(TenutoError):
    """The definition was refused: {summary}"""


class UnknownDefinitionError(TenutoError):
    """No definition {name!r}{version} is deployed in namespace {namespace!r}; deploy it first."""


class VersionTakenError(TenutoError):
    """Version {version!r} of {name!r} is already deployed with other text; versions are immutable, so choose a
    new one."""


class InvalidTransitionError(TenutoError):
    """An instance that is {from_status} cannot become {to_status}: {reason}."""


class InstanceEndedError(TenutoError):
    """Instance {instance_id!r} has ended as {status}; it cannot {act} any more."""


class MigrationRefusedError(TenutoError):
    """Instance {instance_id!r} cannot move to version {to_version!r}: {summary}."""


class ForkRefusedError(TenutoError):
    """Instance {instance_id!r} cannot be forked at version {version}: {problem}."""


class NotStartedError(TenutoError):
    """Instance {instance_id!r} has not been started; it cannot {act}."""


class EndlessLoopError(TenutoError):
    """Step {step!r} was reached for the {limit}th time without anything to wait for: the definition loops for ever."""


class ChildDepthError(TenutoError):
    """Step {step!r} would start {definition!r} more than {limit} workflows deep: they start each other without end."""


class UnknownInstanceError(TenutoError):
    """No instance {instance_id!r} exists."""


class UnknownExecutionError(TenutoError):
    """Instance {instance_id!r} has no open execution {execution!r} that this act could apply to: {reason}."""


class UnknownSignalError(TenutoError):
    """Definition {definition!r} declares no signal {name!r} and no step waits for it."""


class SignalConflictError(TenutoError):
    """Signal id {signal_id!r} was already used with another payload; use a new id for a new signal."""


class SchemaMismatchError(TenutoError):
    """{subject} does not match the schema of {definition!r} at {path}: {problem}."""


class StaleTokenError(TenutoError):
    """The lease of {execution} attempt {attempt} is no longer held under this token: {reason}."""


class LimitExceededError(TenutoError):
    """{subject} is {actual}, more than the limit of {limit} {unit}."""


class BadJsonError(TenutoError):
    """{subject} is not acceptable JSON: {problem}."""


class CorruptHistoryError(TenutoError):
    """The history of {instance_id!r} cannot be folded at version {version}: {problem}."""
