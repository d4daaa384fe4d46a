"""succeed and fail: the two ways to end on purpose. Inside a branch or a map they end that block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from domain.calls import StepError
from domain.deadlines import step_completed
from domain.definition.fields import Model, Value
from domain.errors import TenutoError
from domain.events import BlockEnded
from domain.expressions import compile_value
from domain.paths import index_of, scope_of
from domain.steps.step import Evaluate, Step, StepModel, common

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.turn import Turn


class SucceedModel(StepModel):
    type: Literal["succeed"]
    result: Value = None

    def compile(self, compiler: Compiler) -> Succeed:
        result = None if self.result is None else compile_value(self.result)
        return Succeed(**common(self, "succeed", compiler), result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed(Step):
    result: Evaluate | None

    def enter(self, turn: Turn, execution: str) -> None:
        scope, item = scope_of(execution), index_of(execution)
        if scope and item is None:
            turn.proceed(self, execution)  # A branch puts nothing out.
            return
        try:
            result = None if self.result is None else self.result(turn.view(execution))
        except TenutoError as error:
            turn.fail(self, execution, error)
            return
        if item is not None:
            turn.emit(BlockEnded(execution=scope, block=item, output=result))
            turn.proceed(self, execution)
            return
        step_completed(turn, self.id)
        turn.succeed(f"reached {self.id}", result)


class ErrorModel(Model):
    type: Value
    message: Value = ""
    code: str | None = None


class FailModel(StepModel):
    type: Literal["fail"]
    error: ErrorModel
    result: Value = None

    def compile(self, compiler: Compiler) -> Fail:
        return Fail(
            **common(self, "fail", compiler),
            error_type=compile_value(self.error.type),
            message=compile_value(self.error.message),
            code=self.error.code,
            result=None if self.result is None else compile_value(self.result),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(Step):
    error_type: Evaluate
    message: Evaluate
    code: str | None
    result: Evaluate | None

    def enter(self, turn: Turn, execution: str) -> None:
        error = self.error(turn, execution)
        if self.result is not None and not scope_of(execution):
            try:
                turn.fail_with(self.result(turn.view()))
            except TenutoError as problem:
                error = StepError(type=type(problem).__name__, message=str(problem), retryable=False)
        turn.fail(self, execution, error)

    def error(self, turn: Turn, execution: str) -> StepError:
        """As written; a message whose data is missing says so instead of hiding the failure."""
        scope = turn.view(execution)
        try:
            kind, message = str(self.error_type(scope)), str(self.message(scope))
        except TenutoError as problem:
            kind, message = type(problem).__name__, str(problem)
        return StepError(type=kind, message=message, code=self.code, retryable=False)
