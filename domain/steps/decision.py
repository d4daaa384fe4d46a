"""decision: chooses the way on by its conditions, and calls nothing (S028, S036)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from domain.definition.fields import Transition
from domain.steps.step import Step, StepModel, common, compile_next

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.turn import Turn


class DecisionModel(StepModel):
    """The first transition whose condition holds is taken; one without a condition always does."""

    type: Literal["decision"]
    next: Annotated[list[Transition], Field(min_length=1, max_length=1000)]

    def compile(self, compiler: Compiler) -> Decision:
        return Decision(**common(self, "decision", compiler), next=compile_next(self.next))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Step):
    def enter(self, turn: Turn, execution: str) -> None:
        turn.proceed(self, execution)
