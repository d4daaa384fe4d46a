"""task: invokes an action of a service and waits for its result (S027)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from domain.calls import StepError
from domain.definition.fields import (
    RESERVED,
    Duration,
    DurationValue,
    Json,
    Name,
    Next,
    OnExhausted,
    PriorityValue,
    RetryPolicy,
    Value,
)
from domain.durations import parse_duration
from domain.errors import TenutoError, UnusableValueError
from domain.events import Priority, StepFailed, StepScheduled, Timeouts
from domain.expressions import compile_value
from domain.limits import MAX_DURATION_MS
from domain.steps.step import Evaluate, Step, StepModel, common, compile_next

if TYPE_CHECKING:
    from datetime import datetime

    from domain.definition.program import Compiler
    from domain.turn import Turn

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
Action = Annotated[str, Field(pattern=r"^(http:[A-Za-z0-9_.-]+/\S+|worker:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)$")]
"""`http:<service>/<path>` or `worker:<queue>/<activity>`."""


class TaskModel(StepModel):
    """A step that calls a service. Times without an expression are durations (`30s`)."""

    type: Literal["task"]
    action: Action
    service_type: str | None = None
    input: Value = "$.input"
    output: dict[Name, Value] | None = None
    timeout: DurationValue | None = None
    schedule_to_start: DurationValue | None = None
    schedule_to_close: DurationValue | None = None
    heartbeat: Duration | None = None
    alert_after: Duration | None = None
    retry_policy: RetryPolicy | None = None
    fallback: Name | None = None
    on_max_retries_exceeded: OnExhausted | None = None
    compensate_with: Name | None = None
    savepoint: Name | None = None
    read_only: bool = False
    priority: PriorityValue = None
    next: Next | None = None

    @model_validator(mode="after")
    def _outputs_are_not_reserved(self) -> TaskModel:
        if self.output is None and self.id in RESERVED:
            raise ValueError(f"the output of {self.id!r} would overwrite a reserved name")
        return self

    def compile(self, compiler: Compiler) -> Task:
        output = {self.id: "$"} if self.output is None else self.output
        return Task(
            **common(self, "task", compiler),
            next=compile_next(self.next),
            action=self.action,
            queue=queue_of(self.action),
            input=compile_value(self.input),
            output={name: compile_value(value) for name, value in output.items()},
            timeout=compile_duration(self.timeout),
            schedule_to_start=compile_duration(self.schedule_to_start),
            schedule_to_close=compile_duration(self.schedule_to_close),
            heartbeat_ms=self.heartbeat,
            alert_after_ms=self.alert_after,
            priority=None if self.priority is None else compile_value(self.priority),
            compensate_with=self.compensate_with,
            savepoint=self.savepoint,
            read_only=self.read_only,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Step):
    action: str
    queue: str
    input: Evaluate
    output: dict[str, Evaluate]
    timeout: Evaluate | None
    schedule_to_start: Evaluate | None
    schedule_to_close: Evaluate | None
    heartbeat_ms: int | None
    alert_after_ms: int | None
    priority: Evaluate | None
    compensate_with: str | None
    savepoint: str | None
    read_only: bool = False

    def enter(self, turn: Turn, execution: str) -> None:
        self.schedule(turn, execution)

    def schedule(self, turn: Turn, execution: str, number: int = 1, **local: Any) -> bool:
        """Schedules the first attempt; False when its input could not be made, which fails the step at once.

        Of an undo that was given up before, it is not number 1. `local` is what an undo sees besides
        (`domain/rollback.py`).
        """
        scope = turn.view(execution, **local)
        undoes = local["undo"]["execution"] if "undo" in local else None
        try:
            event = self.attempt(turn, execution, number, scope, undoes=undoes)
            event.input = self.input(scope)
        except TenutoError as error:
            self._cannot_be_asked(turn, execution, number, error, undoes)
            return False
        turn.emit(event)
        self.scheduled(turn, execution)
        return True

    def scheduled(self, turn: Turn, execution: str) -> None:
        """An attempt is scheduled: a worker will begin it."""

    def attempt(
        self,
        turn: Turn,
        execution: str,
        number: int,
        scope: Any,
        *,
        undoes: str | None = None,
        due_at: datetime | None = None,
        close_at: datetime | None = None,
    ) -> StepScheduled:
        """The event that schedules attempt `number`; `close_at` is the limit that the first attempt set."""
        ready_at = due_at or turn.at
        return StepScheduled(
            execution=execution,
            step=self.id,
            name=self.name,
            attempt=number,
            action=self.action,
            queue=self.queue,
            priority=self._priority(turn, scope),
            due_at=due_at,
            timeouts=self._timeouts(scope, ready_at, close_at),
            compensate_with=self.compensate_with if undoes is None else None,
            undoes=undoes,
        )

    def patch(self, output: Json) -> dict[str, Json]:
        """What `output` changes in the instance's data."""
        return {name: value(output) for name, value in self.output.items()}

    def _timeouts(self, scope: Any, ready_at: datetime, close_at: datetime | None) -> Timeouts | None:
        if close_at is None and self.schedule_to_close is not None:
            close_at = ready_at + timedelta(milliseconds=self.schedule_to_close(scope))
        start_by = self.schedule_to_start
        limits = Timeouts(
            schedule_to_start_at=ready_at + timedelta(milliseconds=start_by(scope)) if start_by else None,
            schedule_to_close_at=close_at,
            start_to_close_ms=self.timeout(scope) if self.timeout else None,
            heartbeat_ms=self.heartbeat_ms,
            alert_after_ms=self.alert_after_ms,
        )
        return None if limits == Timeouts() else limits

    def _priority(self, turn: Turn, scope: Any) -> Priority:
        """One of PRIORITIES itself: a default is left out of what is stored by identity, so that a text that was
        read from the log would make another event of the same decision."""
        priority = turn.state.priority if self.priority is None else self.priority(scope)
        if priority not in PRIORITIES:
            raise UnusableValueError(
                subject=f"the priority of {self.id!r}", value=priority, expected=" or ".join(PRIORITIES)
            )
        return PRIORITIES[PRIORITIES.index(priority)]

    def _cannot_be_asked(
        self, turn: Turn, execution: str, number: int, error: TenutoError, undoes: str | None
    ) -> None:
        turn.emit(
            StepScheduled(
                execution=execution,
                step=self.id,
                name=self.name,
                attempt=number,
                action=self.action,
                queue=self.queue,
                compensate_with=self.compensate_with if undoes is None else None,  # An operator may retry it.
                undoes=undoes,
            )
        )
        problem = StepError(type=type(error).__name__, message=str(error), retryable=False)
        turn.emit(StepFailed(execution=execution, attempt=number, error=problem))
        turn.attempts_over(self, execution, problem, undoes=undoes)


def queue_of(action: str) -> str:
    """Who takes it: workers poll a queue by its name; `http:<service>` is served by the engine's own dispatcher."""
    kind, _, rest = action.partition(":")
    place, _, _ = rest.partition("/")
    return place if kind == "worker" else f"{kind}:{place}"


def compile_duration(value: Json) -> Evaluate | None:
    """→ milliseconds. The value may be a duration, or an expression that gives one or a number of milliseconds."""
    if value is None:
        return None
    if isinstance(value, str) and not value.startswith("$"):
        fixed = parse_duration(value)
        return lambda _: fixed
    evaluate = compile_value(value)

    def milliseconds(scope: Any) -> int:
        result = evaluate(scope)
        if isinstance(result, str):
            return parse_duration(result)
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise UnusableValueError(subject="a duration", value=result, expected="text or milliseconds")
        return min(max(0, round(result)), MAX_DURATION_MS)

    return milliseconds
