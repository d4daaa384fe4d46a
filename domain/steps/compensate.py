"""compensate: undoes what was done, as a step: all of it, named steps, or back to a savepoint (S031)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from domain.definition.fields import Name, Next
from domain.steps.step import Step, StepModel, common, compile_next

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.turn import Turn


class CompensateModel(StepModel):
    """With `next` it is partial and the instance goes on; without, it is the final rollback and an end follows."""

    type: Literal["compensate"]
    reason: str = "compensation step"
    to: Name | None = None
    steps: list[Name] | None = None
    outcome: Literal["cancelled", "compensated"] = "compensated"
    next: Next | None = None

    @model_validator(mode="after")
    def _one_extent(self) -> CompensateModel:
        if self.to is not None and self.steps is not None:
            raise ValueError("give `to` (a savepoint) or `steps`, not both")
        return self

    def compile(self, compiler: Compiler) -> Compensate:
        return Compensate(
            **common(self, "compensate", compiler),
            next=compile_next(self.next),
            reason=self.reason,
            to=self.to,
            steps=None if self.steps is None else frozenset(self.steps),
            outcome=self.outcome,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensate(Step):
    reason: str
    to: str | None
    steps: frozenset[str] | None
    outcome: Literal["cancelled", "compensated"]

    def enter(self, turn: Turn, execution: str) -> None:
        turn.roll_back(execution, self.reason, self._chosen(turn), final=self.next is None)

    def _chosen(self, turn: Turn) -> list[str]:
        """The executions to undo, newest first."""
        done = reversed(turn.state.undo.values())
        if self.steps is not None:
            return [entry.execution for entry in done if entry.step in self.steps]
        if self.to is not None:
            since = turn.state.savepoints.get(self.to, 0)
            return [entry.execution for entry in done if entry.version > since]
        return [entry.execution for entry in done]
