"""workflow: runs another definition as a child, waits for its end, and undoes it as a whole.

A child is a service command like any other, its action `workflow:<definition>`: retries, fallback, handlers and the
list to undo are those of a task. No worker takes it: an attempt begins by itself, under the id of the child as its
token, and ends when the child does. It is its own undo: a child that runs is cancelled, one that has ended undoes
what it did. How the order reaches the child: `engine/children.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec.structs import replace
from pydantic import Field, model_validator

from domain.definition.fields import (
    RESERVED,
    DurationValue,
    Identifier,
    Name,
    Next,
    OnExhausted,
    PriorityValue,
    RetryPolicy,
    Value,
    Version,
)
from domain.digest import digest
from domain.errors import ChildDepthError
from domain.events import ChildOrder, StepScheduled, StepStarted
from domain.executions import CHILD
from domain.expressions import compile_value
from domain.jsonvalues import as_text
from domain.limits import MAX_CHILD_DEPTH
from domain.state import Queued, Undoable
from domain.steps.step import StepModel, common, compile_next
from domain.steps.task import Task, TaskModel, compile_duration

if TYPE_CHECKING:
    from datetime import datetime

    from domain.definition.program import Compiler
    from domain.steps.step import Evaluate
    from domain.turn import Turn

QUEUE = "workflow"
WORKER = "engine"
ONE_ATTEMPT = RetryPolicy(max_attempts=1)
"""A child has retried its own steps: unless the step says otherwise, its failure is final."""


class WorkflowModel(StepModel):
    """A step that is a workflow itself. Without `version` the newest one at its start runs."""

    type: Literal["workflow"]
    definition: Identifier
    version: Version | None = None
    input: Value = "$.input"
    output: dict[Name, Value] | None = None
    correlation_id: Value = None
    labels: Annotated[dict[str, Value], Field(max_length=100)] | None = None
    timeout: DurationValue | None = None
    retry_policy: RetryPolicy = ONE_ATTEMPT
    fallback: Name | None = None
    on_max_retries_exceeded: OnExhausted | None = None
    on_parent_close: Literal["cancel", "abandon", "terminate"] = "cancel"
    savepoint: Name | None = None
    priority: PriorityValue = None
    next: Next | None = None

    @model_validator(mode="after")
    def _outputs_are_not_reserved(self) -> WorkflowModel:
        if self.output is None and self.id in RESERVED:
            raise ValueError(f"the output of {self.id!r} would overwrite a reserved name")
        return self

    def compile(self, compiler: Compiler) -> Workflow:
        output = {self.id: "$"} if self.output is None else self.output
        labels = None if self.labels is None else list(self.labels.items())
        return Workflow(
            **common(self, "workflow", compiler),
            next=compile_next(self.next),
            action=CHILD + self.definition,
            queue=QUEUE,
            input=_unless_undoing(compile_value(self.input)),
            output={name: compile_value(value) for name, value in output.items()},
            timeout=compile_duration(self.timeout),
            schedule_to_start=None,
            schedule_to_close=None,
            heartbeat_ms=None,
            alert_after_ms=None,
            priority=None if self.priority is None else compile_value(self.priority),
            compensate_with=None if self.on_parent_close == "abandon" else self.id,
            savepoint=self.savepoint,
            definition=self.definition,
            version=self.version,
            correlation_id=None if self.correlation_id is None else compile_value(self.correlation_id),
            labels=None if labels is None else [(name, compile_value(value)) for name, value in labels],
            terminates=self.on_parent_close == "terminate",
        )


CallModel = TaskModel | WorkflowModel
"""What is attempted, and may fail, be retried and undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow(Task):
    definition: str
    version: str | None
    correlation_id: Evaluate | None
    labels: list[tuple[str, Evaluate]] | None
    terminates: bool

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
        if undoes is None:
            order = self._order(turn, scope, due_at or turn.at)
        else:
            order = self._undo(turn.state.undo[undoes], scope)
        return StepScheduled(
            execution=execution,
            step=self.id,
            name=self.name,
            attempt=number,
            action=self.action,
            queue=self.queue,
            priority=self._priority(turn, scope),
            due_at=due_at,
            compensate_with=self.compensate_with if undoes is None else None,
            undoes=undoes,
            child=order,
        )

    def scheduled(self, turn: Turn, execution: str) -> None:
        """Begins at once, if it is time; else a timer will (`begin_child`)."""
        begin_child(turn, execution)

    def _order(self, turn: Turn, scope: Any, starts_at: datetime) -> ChildOrder:
        parent = turn.state.parent
        depth = 1 if parent is None else parent.depth + 1
        if depth > MAX_CHILD_DEPTH:
            raise ChildDepthError(step=self.id, definition=self.definition, limit=MAX_CHILD_DEPTH)
        labels = None if self.labels is None else {name: as_text(text(scope)) for name, text in self.labels}
        return ChildOrder(
            definition=self.definition,
            version=self.version,
            correlation_id=None if self.correlation_id is None else as_text(self.correlation_id(scope)),
            labels=(turn.state.labels if labels is None else labels) or None,
            timeout_at=starts_at + timedelta(milliseconds=self.timeout(scope)) if self.timeout else None,
            depth=depth,
        )

    def _undo(self, entry: Undoable, scope: Any) -> ChildOrder:
        """As it was ordered, so that one that nobody has started yet can be started, and ended."""
        assert entry.order is not None
        do = "terminate" if self.terminates else "cancel"
        return replace(entry.order, do=do, reason=scope["undo"]["reason"])


def begin_child(turn: Turn, execution: str, *, at_once: bool = False) -> None:
    """The attempt begins: from now on its child exists, or will. One that is paused, or not due yet, does not.

    `at_once`: though the instance is paused. A child that is given up would go on otherwise.
    """
    state, queued = turn.state, turn.state.open.get(execution)
    if not isinstance(queued, Queued) or queued.work.order is None:
        return
    if queued.due_at > turn.at or (state.paused and not state.ended and not at_once):
        return
    undoes = queued.work.undoes
    child = child_of(state.id, execution, queued.attempt) if undoes is None else state.undo[undoes].child
    assert child is not None
    turn.emit(StepStarted(execution=execution, attempt=queued.attempt, worker=WORKER, token=child))


def child_of(parent: str, execution: str, attempt: int) -> str:
    """The id of the instance that runs as this attempt: always the same, and on its parent's shard."""
    shard = parent.partition("-")[0]
    return f"{shard}-{digest([parent, execution, attempt])[:32]}"


def _unless_undoing(input: Evaluate) -> Evaluate:
    """An undo tells its child the reason, and nothing else."""
    return lambda scope: None if "undo" in scope else input(scope)
