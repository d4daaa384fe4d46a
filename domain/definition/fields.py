"""What the fields of a definition are made of: names, durations, transitions, retry policies.

Keys are camelCase; snake_case is accepted. Unknown fields are refused, types are exact (a version is a text).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic.alias_generators import to_camel

from domain.durations import parse_duration
from domain.errors import TenutoError
from domain.expressions import compile_condition, compile_value

RESERVED = frozenset(
    {
        "input",
        "instance",
        "now",
        "deadlines",
        "lastError",
        "signal",
        "undo",
        "item",
        "index",
        "compensation",
        "end",
    }
)
"""What `$` offers besides the instance's own data; no step or output may take these names."""

MAX_STEPS = 10_000
MAX_ATTEMPTS = 1_000_000


class Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )


def _refused_as_value_error(check: Any) -> Any:
    def checked(value: Any) -> Any:
        try:
            check(value)
        except TenutoError as error:
            raise ValueError(str(error)) from error
        return value

    return checked


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name!r} is reserved: `$.{name}` already means something else")
    return name


def _duration(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("write a duration as text, for example 30s, 5m, 24h")  # noqa: TRY004 - pydantic reads these
    try:
        return parse_duration(value)
    except TenutoError as error:
        raise ValueError(str(error)) from error


def _literal_duration_or_expression(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith("$"):
        _duration(value)
    elif not isinstance(value, str | dict):
        raise ValueError("write a duration (30s, 5m, 24h) or an expression that gives one")
    return value


Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
"""Of a definition: letters, digits, `_`, `-`."""

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")]

Name = Annotated[Identifier, AfterValidator(_not_reserved)]
"""Of a step, an output, a signal: the same, less what `$` already offers."""

Duration = Annotated[int, PlainValidator(_duration)]
"""Written as `30s`, kept as milliseconds."""

Json = Any
Value = Annotated[Any, AfterValidator(_refused_as_value_error(compile_value))]
"""A literal, a path (`$.input.amount`) or a function (`{$coalesce: […]}`): see docs/reference/language.md."""

DurationValue = Annotated[Value, AfterValidator(_literal_duration_or_expression)]
"""A duration, or an expression whose value is one: text like `30s`, or a number of milliseconds."""

Condition = Annotated[str, AfterValidator(_refused_as_value_error(compile_condition))]
"""One RFC 9535 logical expression over the instance's data, for example `$.payment.status == 'declined'`."""

PriorityValue = Value
"""`high`, `normal` or `low`, or an expression whose value is one of them."""


class Transition(Model):
    """Taken when `condition` holds; without a condition, the default."""

    next: Name
    condition: Condition | None = None


Next = Name | Annotated[list[Transition], Field(min_length=1, max_length=1000)]


class RetryPolicy(Model):
    """`interval(n) = min(initialInterval · backoffCoefficient^(n−1), maxInterval)` before attempt n + 1 (S143)."""

    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = 3
    initial_interval: Duration = 1_000
    backoff_coefficient: Annotated[float, Field(ge=1, le=100, strict=False)] = 2.0
    max_interval: Duration = 60_000
    non_retryable_errors: list[str] = []
    jitter: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.0

    def interval_ms(self, failures: int, entropy: float = 0.5) -> int:
        """How long to wait after failure number `failures`; `entropy` in [0, 1) places it within the jitter."""
        try:
            grown = self.initial_interval * self.backoff_coefficient ** (failures - 1)
        except OverflowError:
            grown = float(self.max_interval)
        interval = min(grown, self.max_interval)
        return round(interval * (1 + self.jitter * (2 * entropy - 1)))


DEFAULT_RETRY_POLICY = RetryPolicy()
OnExhausted = Literal["compensate", "pause", "fail"]
