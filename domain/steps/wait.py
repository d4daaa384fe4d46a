"""wait: for a signal, for a time, or for whichever comes first (S030, S179)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from domain.calls import StepError
from domain.definition.fields import DurationValue, Json, Name, Next, Value
from domain.errors import TenutoError
from domain.events import WaitEnded, WaitStarted
from domain.expressions import compile_value
from domain.jsonvalues import as_text
from domain.state import BufferedSignal
from domain.steps.step import Evaluate, Step, StepModel, common, compile_next
from domain.steps.task import compile_duration

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.turn import Turn


class WaitModel(StepModel):
    type: Literal["wait"]
    signal: Name | None = None
    correlation_key: Value = None
    for_: DurationValue | None = Field(default=None, alias="for")  # `for` is a keyword in Python.
    output: dict[Name, Value] | None = None
    on_timeout: Name | None = None
    next: Next | None = None

    @model_validator(mode="after")
    def _waits_for_something(self) -> WaitModel:
        if self.signal is None and self.for_ is None:
            raise ValueError("a wait needs `signal`, `for`, or both")
        if self.signal is None and self.on_timeout is not None:
            raise ValueError(
                "a wait without `signal` goes on to `next` when its time is over, not to `onTimeout`"
            )
        return self

    def compile(self, compiler: Compiler) -> Wait:
        output = {self.id: "$.payload"} if self.output is None and self.signal else self.output or {}
        return Wait(
            **common(self, "wait", compiler),
            next=compile_next(self.next),
            signal=self.signal,
            correlation_key=None if self.correlation_key is None else compile_value(self.correlation_key),
            duration=compile_duration(self.for_),
            output={name: compile_value(value) for name, value in output.items()},
            on_timeout=self.on_timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Step):
    signal: str | None
    correlation_key: Evaluate | None
    duration: Evaluate | None
    output: dict[str, Evaluate]
    on_timeout: str | None

    def enter(self, turn: Turn, execution: str) -> None:
        scope = turn.view(execution)
        try:
            until = None if self.duration is None else turn.at + timedelta(milliseconds=self.duration(scope))
            key = None if self.correlation_key is None else as_text(self.correlation_key(scope))
        except TenutoError as error:
            turn.fail(self, execution, error)
            return
        turn.emit(
            WaitStarted(
                execution=execution, step=self.id, signal=self.signal, correlation_key=key, until=until
            )
        )
        came_before = next((signal for signal in turn.state.buffer if signal.name == self.signal), None)
        if came_before is not None:
            self.receive(turn, execution, came_before)

    def receive(self, turn: Turn, execution: str, signal: BufferedSignal) -> None:
        try:
            data = self.patch(signal.payload)
        except TenutoError as error:
            turn.emit(WaitEnded(execution=execution, by="signal", signal_id=signal.signal_id))
            turn.fail(self, execution, error)
            return
        turn.emit(WaitEnded(execution=execution, by="signal", signal_id=signal.signal_id, data=data or None))
        turn.proceed(self, execution)

    def time_over(self, turn: Turn, execution: str) -> None:
        turn.emit(WaitEnded(execution=execution, by="timer"))
        if self.signal is None:
            turn.proceed(self, execution)
        elif self.on_timeout is not None:
            turn.enter_beside(execution, self.on_timeout)
        else:
            message = f"no signal {self.signal!r} came in time"
            turn.fail(self, execution, StepError(type="TimeoutError", message=message, code="waitTimeout"))

    def patch(self, payload: Json) -> dict[str, Json]:
        return {name: value({"payload": payload}) for name, value in self.output.items()}

    def successors(self) -> list[str]:
        after = super(Wait, self).successors()
        return after if self.on_timeout is None else [*after, self.on_timeout]
