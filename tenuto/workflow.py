"""Definitions written in Python: builders that emit the same data as the YAML (one language, two spellings).

    order = (
        workflow.define("order", version="1", timeout="48h")
        .task("charge", action="http:payments/charge", compensate_with="refund", next="done")
        .succeed("done", result={"paymentId": "$.charge.paymentId"})
        .task("refund", action="http:payments/refund")
    )
    Client().deploy(order)

Field names are snake_case here and camelCase in the data; what stands inside `input`, `output`, `result` and
other values is yours and is left alone. Nothing is judged here but names: verification is the server's, at
deploy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, ParamSpec, Self, TypedDict, Unpack, overload

from tenuto.activity import Activity

P = ParamSpec("P")

Step = dict[str, Any]
Transition = dict[str, str]
Next = str | Sequence[Transition]
Duration = str  # such as "30s" or "24h"; only where a Value may stand can it be computed
Value = Any  # a literal, a singular query such as "$.input.amount", or a function such as {"$ms": "5m"}
OnFailure = Literal["compensate", "fail"]


@dataclass(frozen=True, kw_only=True)
class _Fields:
    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {_camel(name): value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class RetryPolicy(_Fields):
    """How often and how fast a step is tried again. Intervals are durations; `jitter` is a share of the
    interval.
    """

    max_attempts: int | None = None
    initial_interval: str | None = None
    backoff_coefficient: float | None = None
    max_interval: str | None = None
    non_retryable_errors: Sequence[str] | None = None
    jitter: float | None = None


@dataclass(frozen=True, kw_only=True)
class Deadline(_Fields):
    """`reach` must complete `within` a duration of the completion of the step `after` (or of the `start`)."""

    after: str
    within: Duration
    reach: str
    escalate: Sequence[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        after = self.after if self.after == "start" else {"step": self.after}
        return super().to_dict() | {"after": after, "reach": {"step": self.reach}}


@dataclass(frozen=True, kw_only=True)
class Signal(_Fields):
    """What a signal does whatever step is running: `do` cancel or buffer, or `set` data from its payload."""

    do: Literal["buffer", "cancel"] | None = None
    reason: Value = None
    set: Mapping[str, Value] | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorHandler(_Fields):
    """Where a failure goes when its step has no fallback: on to `next`, or `do` one of three things."""

    errors: Sequence[str]
    steps: Sequence[str] | None = None
    next: str | None = None
    do: Literal["compensate", "pause", "fail"] | None = None


class TaskFields(TypedDict, total=False):
    """What a task takes beside its id."""

    name: str
    action: str | Activity[..., Any]
    service_type: str
    business_status: str
    input: Value
    output: Value
    timeout: Value
    schedule_to_start: Value
    schedule_to_close: Value
    heartbeat: Duration
    alert_after: Duration
    priority: Value
    retry_policy: RetryPolicy
    compensate_with: str
    savepoint: str
    fallback: str
    on_max_retries_exceeded: Literal["compensate", "pause", "fail"]
    read_only: bool
    next: Next


class WaitFields(TypedDict, total=False):
    """What a wait takes beside its id: `signal`, a duration `for_`, or both."""

    name: str
    signal: str
    correlation_key: Value
    for_: Value
    business_status: str
    output: Value
    on_timeout: str
    next: Next


class ParallelFields(TypedDict, total=False):
    """What a parallel takes beside its id and branches. It has no output: its branches' steps have theirs."""

    name: str
    join: Literal["all", "any"] | int
    on_branch_failure: Literal["cancel", "wait"]
    business_status: str
    next: Next


class EachFields(TypedDict, total=False):
    """What a map takes beside its id, items and steps."""

    name: str
    max_concurrency: int
    join: Literal["all", "any"] | int
    on_branch_failure: Literal["cancel", "wait"]
    business_status: str
    output: Value
    next: Next


class ChildFields(TypedDict, total=False):
    """What a child takes beside its id and definition; without `version` the newest runs."""

    name: str
    version: str
    business_status: str
    input: Value
    output: Mapping[str, Value]
    correlation_id: Value
    labels: Mapping[str, Value]
    timeout: Value
    priority: Value
    retry_policy: RetryPolicy
    savepoint: str
    fallback: str
    on_max_retries_exceeded: Literal["compensate", "pause", "fail"]
    on_parent_close: Literal["cancel", "terminate", "abandon"]
    next: Next


class CompensateFields(TypedDict, total=False):
    """What a compensate step takes beside its id; without `to` and `steps` everything is undone.

    `reason` is kept as it is written: text, never a query.
    """

    name: str
    to: str
    steps: Sequence[str]
    reason: str
    outcome: Literal["cancelled", "compensated"]
    business_status: str
    next: Next


class DefinitionFields(TypedDict, total=False):
    """What a definition takes beside its name, version and steps."""

    description: str
    timeout: Duration
    on_timeout: Literal["fail", "compensate"]
    labels: Mapping[str, Value]
    input_schema: Mapping[str, Any]
    retry_policies: Mapping[str, RetryPolicy]
    deadlines: Mapping[str, Deadline]
    signals: Mapping[str, Signal]
    error_handlers: Sequence[ErrorHandler]
    results: Mapping[str, Value]
    business_status: Mapping[str, str]
    on_failure: OnFailure


def on(condition: str, then: str) -> Transition:
    """Go to `then` when `condition` (an RFC 9535 logical expression over `$`) is true; the first true one
    wins.
    """
    return {"condition": condition, "next": then}


def otherwise(then: str) -> Transition:
    """Go to `then` when no earlier condition was true."""
    return {"next": then}


def task(step_id: str, **fields: Unpack[TaskFields]) -> Step:
    """Invoke an action: `http:<service>/<path>`, `worker:<queue>/<activity>`, or an `@activity` itself."""
    return _step(step_id, "task", TaskFields, fields)


def decision(
    step_id: str, *transitions: Transition, name: str | None = None, business_status: str | None = None
) -> Step:
    """Choose the next step by conditions: `decision("paid", on("$.p.ok == true", "ship"),
    otherwise("stop"))`.
    """
    return _ordinary(step_id, "decision", name, business_status) | {"next": list(transitions)}


def wait(step_id: str, **fields: Unpack[WaitFields]) -> Step:
    """Wait for a signal, for a time, or for whichever comes first."""
    return _step(step_id, "wait", WaitFields, fields)


def parallel(step_id: str, branches: Mapping[str, Sequence[Step]], **fields: Unpack[ParallelFields]) -> Step:
    """Run named branches at once, then join."""
    blocks = {name: list(steps) for name, steps in branches.items()}
    return _step(step_id, "parallel", ParallelFields, fields) | {"branches": blocks}


def each(step_id: str, items: Value, steps: Sequence[Step], **fields: Unpack[EachFields]) -> Step:
    """Run `steps` once for every item (type `map`); inside, `$.item` and `$.index`."""
    return _step(step_id, "map", EachFields, fields) | {"items": items, "steps": list(steps)}


def child(step_id: str, definition: str, **fields: Unpack[ChildFields]) -> Step:
    """Run another definition as a child and wait for its end (type `workflow`); it is its own undo."""
    return _step(step_id, "workflow", ChildFields, fields) | {"definition": definition}


def compensate(step_id: str, **fields: Unpack[CompensateFields]) -> Step:
    """Undo everything, named steps, or back `to` a savepoint; without `next` the instance then ends."""
    return _step(step_id, "compensate", CompensateFields, fields)


def succeed(
    step_id: str, *, result: Value = None, name: str | None = None, business_status: str | None = None
) -> Step:
    """End well, with a result."""
    return _ordinary(step_id, "succeed", name, business_status) | _given({"result": result})


def fail(
    step_id: str,
    *,
    error: Mapping[str, Value],
    result: Value = None,
    name: str | None = None,
    business_status: str | None = None,
) -> Step:
    """End badly, with an error `{type, message, code}` and perhaps a result."""
    return _ordinary(step_id, "fail", name, business_status) | _given({"error": error, "result": result})


class _Appends(Generic[P]):
    """A method of `Workflow` that builds a step and appends it."""

    def __init__(self, build: Callable[P, Step]) -> None:
        self.build = build

    @overload
    def __get__(self, workflow: None, owner: type[Workflow]) -> Self: ...
    @overload
    def __get__(self, workflow: Workflow, owner: type[Workflow]) -> Callable[P, Workflow]: ...
    def __get__(self, workflow: Workflow | None, owner: type[Workflow]) -> Self | Callable[P, Workflow]:
        if workflow is None:
            return self

        def append(*args: P.args, **kwargs: P.kwargs) -> Workflow:
            return workflow.steps(self.build(*args, **kwargs))

        append.__doc__ = self.build.__doc__
        return append


class Workflow:
    """A definition under construction. Each method returns a new one, so a stem can be shared; the first step
    is the entry.
    """

    def __init__(self, head: Mapping[str, Any], steps: Sequence[Step] = ()) -> None:
        self._head = head
        self._steps = tuple(steps)

    def steps(self, *steps: Step) -> Workflow:
        """This definition with `steps` at its end."""
        return Workflow(self._head, (*self._steps, *steps))

    task = _Appends(task)
    decision = _Appends(decision)
    wait = _Appends(wait)
    parallel = _Appends(parallel)
    each = _Appends(each)
    child = _Appends(child)
    compensate = _Appends(compensate)
    succeed = _Appends(succeed)
    fail = _Appends(fail)

    def to_dict(self) -> dict[str, Any]:
        """The definition's data, a copy of its own."""
        data: dict[str, Any] = json.loads(self.to_yaml())
        return data

    def to_yaml(self) -> str:
        """The definition's text: JSON, which is YAML 1.2. NaN and what JSON cannot hold are refused
        (ValueError, TypeError).
        """
        return json.dumps({**self._head, "steps": self._steps}, indent=2, ensure_ascii=False, allow_nan=False)


def define(name: str, version: str | None = None, **fields: Unpack[DefinitionFields]) -> Workflow:
    """Begin a definition. Without `version` the server gives the next integer."""
    return Workflow(_given({"name": name, "version": version}) | _data(DefinitionFields, fields))


def _step(step_id: str, kind: str, known: type, given: Mapping[str, Any]) -> Step:
    return {"id": step_id, "type": kind, **_data(known, given)}


def _ordinary(step_id: str, kind: str, name: str | None, business_status: str | None) -> Step:
    """What every step has."""
    return _given({"id": step_id, "type": kind, "name": name, "businessStatus": business_status})


def _data(known: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields given, in camelCase. A name that is not known is a TypeError, as for any function."""
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown field {', '.join(sorted(unknown))}; known are {', '.join(known.__annotations__)}"
        )
    return {_camel(name): _plain(value) for name, value in given.items() if value is not None}


def _plain(value: Any) -> Any:
    """Builders inside a field made data; anything else is a value of the user's and stays as it is."""
    match value:
        case _Fields():
            return value.to_dict()
        case Activity():
            return value.action
        case Mapping():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return value


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _camel(name: str) -> str:
    """snake_case to camelCase; a trailing underscore only avoids a keyword of Python (`for_`)."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)
