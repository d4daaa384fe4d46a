"""What every kind of step has in common: its fields as written, and its compiled form.

A kind of step is one file here: the model that reads it, the compiled form with `enter`, which is all it does. The
table that registers them is `KINDS` in `domain/steps/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.definition.fields import Model, Name, Next
from domain.expressions import compile_condition
from domain.expressions.costs import Look, conditions_in, looks_of

if TYPE_CHECKING:
    from domain.definition.program import Compiler
    from domain.definition.rules import FailureRules
    from domain.turn import Turn

Data = Mapping[str, Any]
Evaluate = Callable[[Any], Any]
Holds = Callable[[Any], bool]


class StepModel(Model):
    """The fields that every step may have."""

    id: Name
    name: str | None = None
    business_status: str | None = None

    def compile(self, compiler: Compiler) -> Step:
        raise AssertionError(f"{type(self).__name__} does not say how it is compiled")


@dataclass(frozen=True, slots=True)
class Branch:
    """One way on; `holds` is None for the default."""

    next: str
    holds: Holds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step, compiled. `scope` and `block` say in which parallel or map, and branch, it stands (`""`: in none).
    `looks` are what its conditions look through."""

    id: str
    name: str
    kind: str
    scope: str = ""
    block: str = ""
    business_status: str | None = None
    rules: FailureRules
    looks: tuple[Look, ...] = ()
    next: str | tuple[Branch, ...] | None = None

    def enter(self, turn: Turn, execution: str) -> None:
        """Begins `execution`, a new visit of this step: emits what happens, and may go on to other steps."""
        raise AssertionError(f"{type(self).__name__} does not say what it does")

    def successors(self) -> list[str]:
        """The ids of the steps that may come right after it, in the order in which they are written."""
        match self.next:
            case None:
                return []
            case str():
                return [self.next]
            case branches:
                return [branch.next for branch in branches]


def common(model: StepModel, kind: str, compiler: Compiler) -> dict[str, Any]:
    """The compiled form of the fields that every step has."""
    return {
        "id": model.id,
        "name": model.name or model.id,
        "kind": kind,
        "scope": compiler.scope,
        "block": compiler.block,
        "business_status": model.business_status,
        "rules": compiler.rules_of(model),
        "looks": tuple(look for one in conditions_in(model.model_dump()) for look in looks_of(one)),
    }


def compile_next(next: Next | None) -> str | tuple[Branch, ...] | None:
    if next is None or isinstance(next, str):
        return next
    return tuple(
        Branch(way.next, None if way.condition is None else compile_condition(way.condition)) for way in next
    )
