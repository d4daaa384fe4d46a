"""What a list of transitions leaves open, and what in it can never be taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from jsonpath_rfc9535.filter_expressions import ComparisonExpression, Expression, PrefixExpression

from domain.definition.document import Path
from domain.definition.fields import Transition
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.overlaps import Condition, lies_inside, understood
from domain.definition.verification.report import Report
from domain.expressions.parsing import parse_logical

_COMPARED: Final = 50
"""Conditions of a step that are compared with each other: the time for it grows with their square."""


def check_choices(outline: Outline, report: Report) -> None:
    for place in outline.places:
        ways = place.transitions
        if has_gap(place):
            report.add(
                "decision-gap",
                f"{place.step.id!r} has no default: when no condition holds, it fails with NoTransitionError",
                (*place.path, "next"),
            )
        _never_taken(ways, (*place.path, "next"), report)


def has_gap(place: Place) -> bool:
    """Whether a step chooses among conditions that may all be false."""
    conditions = [way.condition for way in place.transitions]
    written = [text for text in conditions if text is not None]
    return bool(written) and len(written) == len(conditions) and not _one_always_holds(written)


def _one_always_holds(conditions: Sequence[str]) -> bool:
    """Whether two of them are each other's opposite: `a == b` and `a != b`, or `c` and `!(c)`."""
    parsed = [parse_logical(text)[0] for text in conditions[:_COMPARED]]
    return any(_are_opposites(one, other) for one, other in combinations(parsed, 2))


def _are_opposites(one: Expression, other: Expression) -> bool:
    if isinstance(one, ComparisonExpression) and isinstance(other, ComparisonExpression):
        same_sides = (str(one.left), str(one.right)) == (str(other.left), str(other.right))
        return same_sides and {one.operator, other.operator} == {"==", "!="}
    return any(
        isinstance(prefixed, PrefixExpression) and str(prefixed.right) == str(plain)
        for prefixed, plain in ((one, other), (other, one))
    )


def _never_taken(ways: Sequence[Transition], path: Path, report: Report) -> None:
    seen: dict[str, int] = {}
    before: list[Condition] = []
    for number, way in enumerate(ways):
        if way.condition is None:
            for later in range(number + 1, len(ways)):
                report.add(
                    "unreachable-transition",
                    f"this transition is never taken: transition {number + 1} has no condition, so it always is",
                    (*path, later),
                )
            return
        expression = parse_logical(way.condition)[0]
        first = seen.setdefault(str(expression), number)
        here = (*path, number, "condition")
        if first != number:
            report.add(
                "duplicate-condition",
                f"transition {first + 1} has this condition already, so this one is never taken",
                here,
            )
            continue
        condition = understood(expression)
        wider = next((nr for nr, earlier in enumerate(before) if lies_inside(condition, earlier)), None)
        if wider is not None:
            report.add(
                "covered-condition",
                f"the condition of transition {wider + 1} holds whenever this one does, so this one is never taken",
                here,
            )
        if number < _COMPARED:
            before.append(condition)
