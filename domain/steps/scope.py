"""What parallel and map have in common: blocks of steps that run at once, and are joined (S029).

`parallel.py` has named blocks, `map.py` one for each item. How they are entered and what they leave behind is theirs;
when the scope is over, and how, stands here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from domain.calls import StepError
from domain.definition.fields import Next
from domain.errors import TenutoError
from domain.events import BlockFailed, Json, ScopeClosed
from domain.steps.compensate import CompensateModel
from domain.steps.step import Step, StepModel, common, compile_next

if TYPE_CHECKING:
    from typing import Self

    from domain.definition.program import Compiler
    from domain.state import Scope
    from domain.turn import Turn

Join = Literal["all", "any"] | Annotated[int, Field(ge=1)]


class ScopeModel(StepModel):
    join: Join = "all"
    on_branch_failure: Literal["cancel", "wait"] = "cancel"
    next: Next | None = None

    def blocks(self) -> Iterator[tuple[str, list[Any]]]:
        """The name and the steps of each block that is written; a map's only one has no name."""
        raise AssertionError(f"{type(self).__name__} does not say what its blocks are")

    @model_validator(mode="after")
    def _no_block_undoes_and_goes_on(self) -> Self:
        """What it would undo belongs to its siblings too, and only one rollback runs at a time."""
        for name, steps in self.blocks():
            for step in steps:
                if isinstance(step, CompensateModel) and step.next is not None:
                    where = "a branch" if name else "a map"
                    raise ValueError(f"{step.id!r} undoes and goes on: that cannot be done inside {where}")
        return self

    def compiled(self, kind: str, compiler: Compiler) -> dict[str, Any]:
        """The compiled form of the fields that every scope has; its blocks are compiled with it."""
        for name, steps in self.blocks():
            compiler.inside(self.id, name).compile_all(steps)
        return {
            **common(self, kind, compiler),
            "next": compile_next(self.next),
            "join": self.join,
            "cancels": self.on_branch_failure == "cancel",
        }


def needed(join: Join, blocks: int) -> int:
    """How many of so many blocks have to end well."""
    match join:
        case "all":
            return blocks
        case "any":
            return min(1, blocks)
        case int(number):
            return number


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStep(Step):
    join: Join
    cancels: bool

    @abstractmethod
    def begin(self, turn: Turn, execution: str, scope: Scope) -> None:
        """Enters the blocks that have not begun, as far as they may."""

    @abstractmethod
    def begun(self, turn: Turn, execution: str, scope: Scope) -> int:
        """How many blocks have begun, those that are about to included."""

    @abstractmethod
    def data(self, turn: Turn, execution: str, scope: Scope) -> dict[str, Json]:
        """What it sets when it is joined. Raises a subclass of TenutoError when that cannot be worked out."""

    def block_done(self, turn: Turn, execution: str) -> None:
        """One block has ended well: enough of them close the scope; when none is left that could, it fails."""
        scope = turn.scope(execution)
        begun = self.begun(turn, execution, scope)
        if begun - turn.under_way(execution) - len(scope.failed) >= needed(self.join, len(scope.blocks)):
            self.joined(turn, execution)
        else:
            self.go_on(turn, execution, scope)

    def block_failed(self, turn: Turn, execution: str, block: str, error: StepError) -> None:
        """One block has failed for good: its siblings are cancelled or waited for."""
        scope = turn.scope(execution)
        if self.cancels and not self.can_spare_one(scope):
            self._fail(turn, execution, error)
            return
        turn.emit(BlockFailed(execution=execution, block=block, error=error))
        self.go_on(turn, execution, scope)

    def joined(self, turn: Turn, execution: str) -> None:
        """It is over, and the flow goes on behind it; unless what it should set cannot be worked out."""
        problem, data = None, None
        try:
            data = self.data(turn, execution, turn.scope(execution))
        except TenutoError as error:
            problem = error
        turn.cancel_inside(execution, f"{self.id}: enough have ended")
        turn.emit(ScopeClosed(execution=execution, data=data or None))
        if problem is None:
            turn.proceed(self, execution)
        else:
            turn.fail(self, execution, problem)

    def go_on(self, turn: Turn, execution: str, scope: Scope) -> None:
        """Begins what may begin now; with nothing under way, and too few ended well, it has failed."""
        if self._can_join(scope, failed=len(scope.failed)):
            self.begin(turn, execution, scope)
        if not turn.under_way(execution):
            self._fail(turn, execution, next(iter(scope.failed.values())))

    def can_spare_one(self, scope: Scope) -> bool:
        """Whether it can still be joined when one block more has failed."""
        return self._can_join(scope, failed=len(scope.failed) + 1)

    def _can_join(self, scope: Scope, *, failed: int) -> bool:
        return len(scope.blocks) - failed >= needed(self.join, len(scope.blocks))

    def _fail(self, turn: Turn, execution: str, error: StepError) -> None:
        turn.cancel_inside(execution, f"{self.id}: one failed: {error.message}")
        turn.emit(ScopeClosed(execution=execution))
        turn.fail(self, execution, error)
