"""The command line of the simulator: many seeds, or one that is told.

    python -m simulation --seeds 500 [--first 0] [--jobs 2]
    python -m simulation --seed 42 [--trace]

A run over many seeds fails when a world breaks an invariant, and also when a kind of fault never struck: then it was
not tried. Ends with 0 or 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from simulation.faults import KINDS
from simulation.shrinking import shrink
from simulation.world import Outcome, Size, World

ALL_KINDS_FROM = 100
"""So many seeds are enough for every kind of fault to strike."""
TOLD, SHRUNK = 20, 3
"""Failing seeds that are told, and of those the ones that are made smaller; the others are only counted."""

Write = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what `argv` asks for (`sys.argv` when None). → the exit status."""
    parser = argparse.ArgumentParser(prog="simulation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds (100)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work (1)")
    parser.add_argument("--seed", type=int, help="one world instead")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens in it")
    asked = parser.parse_args(argv)
    if asked.seed is not None:
        return one(asked.seed, trace=asked.trace, write=_write)
    return many(range(asked.first, asked.first + asked.seeds), jobs=asked.jobs, write=_write)


def one(seed: int, *, trace: bool, write: Write) -> int:
    """Tells one world, and a smaller one that fails like it."""
    outcome = World(seed, tell=write if trace else None).run()
    write(told(outcome))
    if outcome.problem is None:
        return 0
    size, failed = shrink(outcome, lambda smaller: World(seed, smaller).run())
    write(f"smaller: {_size(size, outcome)}")
    if trace:
        World(seed, size, tell=write).run()
    write(told(failed))
    return 1


def many(seeds: range, *, jobs: int, write: Write) -> int:
    """Runs them all, and says what became of them."""
    began = time.monotonic()
    struck: Counter[str] = Counter()
    failed: list[Outcome] = []
    events = instances = 0
    seconds = 0.0
    for outcome in _outcomes(seeds, jobs):
        struck.update(outcome.struck)
        events, instances, seconds = (
            events + outcome.events,
            instances + outcome.instances,
            seconds + outcome.seconds,
        )
        if outcome.problem is not None:
            failed.append(outcome)
            if len(failed) <= TOLD:
                write(told(outcome))
    for outcome in failed[:SHRUNK]:
        size, _ = shrink(outcome, lambda smaller, seed=outcome.seed: World(seed, smaller).run())  # type: ignore[misc]
        write(f"seed {outcome.seed} fails with less too: {_size(size, outcome)}")
    spent = time.monotonic() - began
    write(
        f"{len(seeds)} worlds, {instances} instances, {events} events, {seconds / 3600:.1f} simulated hours"
    )
    write(
        f"{sum(struck.values())} faults: {', '.join(f'{kind} {times}' for kind, times in struck.most_common())}"
    )
    never = [kind for kind in KINDS if not struck[kind]] if len(seeds) >= ALL_KINDS_FROM else []
    if never:
        write(f"NEVER STRUCK: {', '.join(never)}")
    write(f"{len(failed)} violations in {spent:.0f} s ({len(seeds) / spent:.1f} seeds/s)")
    return 1 if failed or never else 0


def told(outcome: Outcome) -> str:
    what = outcome.problem or f"all is well: {outcome.events} events, {outcome.seconds:.0f} s"
    return f"seed {outcome.seed} [{outcome.digest}] {what}"


def _size(size: Size, outcome: Outcome) -> str:
    kinds = ", ".join(kind for kind in outcome.rates if kind not in size.without) or "no faults"
    return f"{kinds}; at most {size.instances} instances, {size.chaos:.2f} of the time"


def _outcomes(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(_run, seeds)
        return
    with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
        yield from pool.map(_run, seeds, chunksize=8)


def _run(seed: int) -> Outcome:
    return World(seed).run()


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
