"""parallel: runs its branches at once and goes on when enough of them have ended well (S029)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from domain.definition.fields import Name
from domain.events import Json, ScopeOpened
from domain.steps.scope import ScopeModel, ScopeStep

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.state import Scope
    from domain.steps import AnyStep
    from domain.turn import Turn


class ParallelModel(ScopeModel):
    type: Literal["parallel"]
    branches: Annotated[dict[Name, Annotated[list[AnyStep], Field(min_length=1)]], Field(min_length=1)]

    def blocks(self) -> Iterator[tuple[str, list[Any]]]:
        yield from self.branches.items()

    @model_validator(mode="after")
    def _join_can_be_reached(self) -> ParallelModel:
        if isinstance(self.join, int) and self.join > len(self.branches):
            raise ValueError(f"join waits for {self.join} branches, but there are only {len(self.branches)}")
        return self

    def compile(self, compiler: Compiler) -> Parallel:
        return Parallel(
            **self.compiled("parallel", compiler),
            entries={block: steps[0].id for block, steps in self.branches.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(ScopeStep):
    entries: dict[str, str]

    def enter(self, turn: Turn, execution: str) -> None:
        turn.emit(ScopeOpened(execution=execution, step=self.id, blocks=list(self.entries)))
        for entry in self.entries.values():
            turn.enter(entry, scope=execution)

    def begin(self, turn: Turn, execution: str, scope: Scope) -> None:
        """They all begin when it is entered."""

    def begun(self, turn: Turn, execution: str, scope: Scope) -> int:
        return len(scope.blocks)

    def data(self, turn: Turn, execution: str, scope: Scope) -> dict[str, Json]:
        """Its branches have written theirs."""
        return {}
