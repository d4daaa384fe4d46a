"""What a list of transitions leaves open, and what in it can never be taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from jsonpath_rfc9535.filter_expressions import ComparisonExpression, Expression, PrefixExpression

from domain.definition.document import Path
from domain.definition.fields import Transition
from domain.definition.verification.outline import Outline, Place
from domain.definition.verification.report import Report
from domain.expressions.parsing import parse_logical


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
    parsed = [parse_logical(text)[0] for text in conditions[:50]]
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
    for number, way in enumerate(ways):
        if way.condition is None:
            for later in range(number + 1, len(ways)):
                report.add(
                    "unreachable-transition",
                    f"this transition is never taken: transition {number + 1} has no condition, so it always is",
                    (*path, later),
                )
            return
        meaning = str(parse_logical(way.condition)[0])
        first = seen.setdefault(meaning, number)
        if first != number:
            report.add(
                "duplicate-condition",
                f"transition {first + 1} has this condition already, so this one is never taken",
                (*path, number, "condition"),
            )
