"""One run: where the measures find what they need, and how much of it they are to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from benchmarks.rows import Row


class Bench(Struct, frozen=True, kw_only=True):
    """`postgres`: the URI of a server on this machine, whose role may make databases and checkpoints.

    `scale` shrinks every size: 1 is a full run. `profile`: a folder for the server's cProfile, which slows it down.
    `patience_s`: how long to wait for a quiet machine, before each measure.
    """

    postgres: str
    repeat: int = 3
    scale: float = 1.0
    profile: Path | None = None
    patience_s: float = 0.0

    def sized(self, full: int, *, least: int = 1) -> int:
        return max(least, round(full * self.scale))


Measure = Callable[[Bench], Iterator[Row]]
