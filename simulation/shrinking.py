"""A failing world made smaller: fewer kinds of faults, fewer instances, less time, while it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from simulation.world import Outcome, Size

Run = Callable[[Size], Outcome]


def shrink(outcome: Outcome, run: Run) -> tuple[Size, Outcome]:
    """The smallest world found, and how it fails. `run` runs the same seed in another size."""
    size, failed = Size(), outcome
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(size, failed):
            tried = run(smaller)
            if _same(tried, outcome):
                size, failed, progress = smaller, tried, True
                break
    return size, failed


def _smaller(size: Size, failed: Outcome) -> Iterator[Size]:
    """The boldest first: half of what struck, then one kind at a time; then less of everything else."""
    kinds = sorted(set(failed.rates) - size.without)
    for half in (kinds[: len(kinds) // 2], kinds[len(kinds) // 2 :]) if len(kinds) > 3 else ():
        yield replace(size, without=size.without | set(half))
    for kind in kinds:
        yield replace(size, without=size.without | {kind})
    fewer = min(size.instances, failed.instances)
    for instances in sorted({1, fewer // 2, fewer - 1}):
        if 0 < instances < fewer:
            yield replace(size, instances=instances)
    if size.chaos > 0.2:
        yield replace(size, chaos=size.chaos * 0.6)


def _same(tried: Outcome, outcome: Outcome) -> bool:
    """Whether the same invariant is broken."""
    return (
        tried.problem is not None
        and tried.problem.partition(":")[0] == str(outcome.problem).partition(":")[0]
    )
