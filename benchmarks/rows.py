"""What a run says: rows, a table of them for people, and the file `benchmarks/results/latest.json` for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec
from msgspec import Struct

LATEST = Path(__file__).parent / "results" / "latest.json"

Settings = dict[str, Any]


class Target(Struct, frozen=True):
    """What is wished for: at least, or at most, `value` of the row's unit."""

    kind: Literal["min", "max"]
    value: float

    def met(self, found: float) -> bool:
        return found >= self.value if self.kind == "min" else found <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'min' else '≤'} {number(self.value)}"


class Row(Struct, frozen=True, kw_only=True):
    """One figure: the median of `values`, one of each repeat. `bounded_by`: what kept it from being better."""

    measure: str
    unit: str
    value: float
    repeats: int
    values: list[float]
    settings: Settings
    bounded_by: str = ""
    target: Target | None = None


def row(
    measure: str,
    unit: str,
    values: Sequence[float],
    settings: Settings,
    *,
    bounded_by: str = "",
    target: Target | None = None,
) -> Row:
    """A row of what the repeats gave. Raises ValueError when they gave nothing."""
    if not values:
        raise ValueError(f"{measure}: nothing was measured")
    return Row(
        measure=measure,
        unit=unit,
        value=_rounded(median(values)),
        repeats=len(values),
        values=[_rounded(value) for value in values],
        settings=settings,
        bounded_by=bounded_by,
        target=target,
    )


def at_least(value: float) -> Target:
    return Target("min", value)


def at_most(value: float) -> Target:
    return Target("max", value)


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest rank; of nothing, an IndexError."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * (len(ordered) - 1))))]


def number(value: float) -> str:
    """As a person reads it: three digits that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def to_json(rows: Sequence[Row]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n"


def write(rows: Sequence[Row], path: Path = LATEST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(rows))


def read(path: Path = LATEST) -> list[Row]:
    """The rows of an earlier run; none when there was none."""
    return msgspec.json.decode(path.read_bytes(), type=list[Row]) if path.exists() else []


HEAD = ("measure", "median", "min–max", "unit", "target", "")


def table(rows: Sequence[Row]) -> str:
    """Aligned text, one line per row; below it, what bounded each."""
    cells = [HEAD, *(tuple(_cells(one)) for one in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    bounds = [f"  {one.measure}: {one.bounded_by}" for one in rows if one.bounded_by]
    return "\n".join([*lines, *(["", "What bounded it", *bounds] if bounds else [])])


def _cells(one: Row) -> Iterator[str]:
    yield one.measure
    yield number(one.value)
    yield f"{number(min(one.values))}–{number(max(one.values))}" if one.repeats > 1 else ""
    yield one.unit
    yield "" if one.target is None else str(one.target)
    yield "" if one.target is None else "met" if one.target.met(one.value) else "MISSED"


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    left = (0, 3, 4, 5)
    padded = (
        text.ljust(width) if column in left else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
