"""parallel: runs its branches at once and goes on when enough of them have ended well (S029)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from domain.calls import StepError
from domain.definition.fields import Name, Next
from domain.events import BlockFailed, ScopeClosed, ScopeOpened
from domain.state import Scope
from domain.steps.compensate import CompensateModel
from domain.steps.step import Step, StepModel, common, compile_next

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.steps import AnyStep
    from domain.turn import Turn


class ParallelModel(StepModel):
    type: Literal["parallel"]
    branches: Annotated[dict[Name, Annotated[list[AnyStep], Field(min_length=1)]], Field(min_length=1)]
    join: Literal["all", "any"] | Annotated[int, Field(ge=1)] = "all"
    on_branch_failure: Literal["cancel", "wait"] = "cancel"
    next: Next | None = None

    @model_validator(mode="after")
    def _join_can_be_reached(self) -> ParallelModel:
        if isinstance(self.join, int) and self.join > len(self.branches):
            raise ValueError(f"join waits for {self.join} branches, but there are only {len(self.branches)}")
        return self

    @model_validator(mode="after")
    def _no_branch_undoes_and_goes_on(self) -> ParallelModel:
        """What it would undo belongs to its siblings too, and only one rollback runs at a time."""
        for step in (step for steps in self.branches.values() for step in steps):
            if isinstance(step, CompensateModel) and step.next is not None:
                raise ValueError(f"{step.id!r} undoes and goes on: that cannot be done inside a branch")
        return self

    def compile(self, compiler: Compiler) -> Parallel:
        for block, steps in self.branches.items():
            compiler.inside(self.id, block).compile_all(steps)
        needed = {"all": len(self.branches), "any": 1}
        return Parallel(
            **common(self, "parallel", compiler),
            next=compile_next(self.next),
            entries={block: steps[0].id for block, steps in self.branches.items()},
            needed=self.join if isinstance(self.join, int) else needed[self.join],
            cancels=self.on_branch_failure == "cancel",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(Step):
    entries: dict[str, str]
    needed: int
    cancels: bool

    def enter(self, turn: Turn, execution: str) -> None:
        turn.emit(ScopeOpened(execution=execution, step=self.id, blocks=list(self.entries)))
        for entry in self.entries.values():
            turn.enter(entry, scope=execution)

    def block_done(self, turn: Turn, execution: str) -> None:
        """One block has ended well: enough of them close the scope; when none is left that could, it fails."""
        scope = self._scope(turn, execution)
        open_blocks = self._open_blocks(turn, execution, scope)
        done = len(scope.blocks) - len(open_blocks) - len(scope.failed)
        if done >= self.needed:
            turn.cancel_inside(execution, f"{self.id}: enough branches have ended")
            turn.emit(ScopeClosed(execution=execution))
            turn.proceed(self, execution)
        elif not open_blocks:
            self._fail(turn, execution, next(iter(scope.failed.values())))

    def block_failed(self, turn: Turn, execution: str, block: str, error: StepError) -> None:
        """One block has failed for good: its siblings are cancelled or waited for."""
        scope = self._scope(turn, execution)
        can_still_join = len(scope.blocks) - len(scope.failed) - 1 >= self.needed
        if self.cancels and not can_still_join:
            self._fail(turn, execution, error)
            return
        turn.emit(BlockFailed(execution=execution, block=block, error=error))
        if not self._open_blocks(turn, execution, scope):
            self._fail(turn, execution, next(iter(scope.failed.values())))

    def _fail(self, turn: Turn, execution: str, error: StepError) -> None:
        turn.cancel_inside(execution, f"{self.id}: a branch failed: {error.message}")
        turn.emit(ScopeClosed(execution=execution))
        turn.fail(self, execution, error)

    def _scope(self, turn: Turn, execution: str) -> Scope:
        scope = turn.state.open[execution]
        assert isinstance(scope, Scope)
        return scope

    def _open_blocks(self, turn: Turn, execution: str, scope: Scope) -> set[str]:
        """Blocks with an open execution, or with a step that is about to be entered in this very command."""
        steps = [*scope.open, *(entry.step for entry in turn.agenda if entry.scope == execution)]
        return {turn.program.steps[step].block for step in steps}
