"""map: runs its steps once for every item of a list, at once or some at a time, and gathers what they put out.

Each item has a block of its own: `$.item` and `$.index` say which, and what its steps set is for that block alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from domain.definition.fields import Name, Value
from domain.errors import LimitExceededError, TenutoError, UnusableValueError
from domain.events import Json, ScopeOpened
from domain.expressions import compile_value
from domain.expressions.values import described, function_of, is_path
from domain.limits import MAX_ITEMS
from domain.paths import index_of
from domain.steps.scope import ScopeModel, ScopeStep, needed
from domain.steps.step import Evaluate

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.state import Scope
    from domain.steps import AnyStep
    from domain.turn import Turn


class MapModel(ScopeModel):
    """`output`: what becomes data; there, `$` is the list of what the items' blocks put out."""

    type: Literal["map"]
    items: Value
    steps: Annotated[list[AnyStep], Field(min_length=1)]
    max_concurrency: Annotated[int, Field(ge=1, le=MAX_ITEMS)] | None = None
    output: dict[Name, Value] | None = None

    def blocks(self) -> Iterator[tuple[str, list[Any]]]:
        yield "", self.steps

    @model_validator(mode="after")
    def _items_can_be_a_list(self) -> MapModel:
        items = self.items
        if is_path(items) or function_of(items) is not None:
            return self
        if not isinstance(items, list):
            raise ValueError("`items` takes a list, or an expression that gives one")  # noqa: TRY004 - pydantic reads it
        if len(items) > MAX_ITEMS:
            raise ValueError(f"`items` holds {len(items)} items; a map takes at most {MAX_ITEMS}")
        if isinstance(self.join, int) and self.join > len(items):
            raise ValueError(f"join waits for {self.join} items, but there are only {len(items)}")
        return self

    def compile(self, compiler: Compiler) -> Map:
        output = {self.id: "$"} if self.output is None else self.output
        return Map(
            **self.compiled("map", compiler),
            entry=self.steps[0].id,
            items=compile_value(self.items),
            max_concurrency=self.max_concurrency or MAX_ITEMS,
            output={name: compile_value(value) for name, value in output.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(ScopeStep):
    entry: str
    items: Evaluate
    max_concurrency: int
    output: dict[str, Evaluate]

    def enter(self, turn: Turn, execution: str) -> None:
        try:
            items = self._items(turn, execution)
        except TenutoError as error:
            turn.fail(self, execution, error)
            return
        turn.emit(ScopeOpened(execution=execution, step=self.id, blocks=items))
        if items:
            self.begin(turn, execution, turn.scope(execution))
        else:
            self.joined(turn, execution)

    def begin(self, turn: Turn, execution: str, scope: Scope) -> None:
        """As many as there is room for, in the order of the items."""
        begun = self.begun(turn, execution, scope)
        room = self.max_concurrency - turn.under_way(execution)
        for index in range(begun, min(begun + room, len(scope.blocks))):
            turn.enter(self.entry, execution, str(index))
            turn.begun[execution] = index + 1

    def begun(self, turn: Turn, execution: str, scope: Scope) -> int:
        """The state only counts those that have been entered."""
        return turn.begun.get(execution, scope.begun)

    def data(self, turn: Turn, execution: str, scope: Scope) -> dict[str, Json]:
        outputs = self._outputs(turn, execution, scope)
        return {name: value(outputs) for name, value in self.output.items()}

    def _items(self, turn: Turn, execution: str) -> list[Json]:
        """The items; raises a subclass of TenutoError when they are not what the map can run over."""
        items = self.items(turn.view(execution))
        if not isinstance(items, list):
            raise UnusableValueError(
                subject=f"the items of {self.id!r}", value=described(items), expected="a list"
            )
        if len(items) > MAX_ITEMS:
            raise LimitExceededError(
                subject=f"the number of items of {self.id!r}",
                actual=len(items),
                limit=MAX_ITEMS,
                unit="items",
            )
        if needed(self.join, len(items)) > len(items):
            raise UnusableValueError(
                subject=f"the number of items of {self.id!r}",
                value=len(items),
                expected=f"at least {self.join}, as many as it joins,",
            )
        return items

    def _outputs(self, turn: Turn, execution: str, scope: Scope) -> list[Json]:
        """In the order of the items, what the last step of each put out whose block has ended well."""
        open = {index_of(inside) for inside in scope.open}
        about_to_begin = {entry.item for entry in turn.agenda.inside(execution)}
        return [
            scope.outputs.get(index)
            for index in map(str, range(self.begun(turn, execution, scope)))
            if index not in open and index not in about_to_begin and index not in scope.failed
        ]
