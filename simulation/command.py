"""The command line of the simulator: many seeds, one that is told, or the mutants that must be found out.

    tenuto simulate --seeds 500 [--first 0] [--jobs 2] [--json]
    tenuto simulate --seed 42 [--trace]
    python -m simulation --mutants [--seeds 1000]

A run over many seeds fails when a world breaks an invariant, when a failing world fails otherwise the second time, and
also when a kind of fault never struck: then it was not tried. Ends with 0 or 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct

from simulation.faults import KINDS
from simulation.mutants import MUTANTS
from simulation.mutation import WITHIN, Killed, hunt
from simulation.shrinking import shrink
from simulation.world import Outcome, Size, World

ALL_KINDS_FROM = 100
"""So many seeds are enough for every kind of fault to strike."""
TOLD, SHRUNK = 20, 3
"""Failing seeds that are told, and of those the ones that are made smaller; the others are only counted."""

Write = Callable[[str], None]
Found = TypeVar("Found")


class Violation(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A world that failed. `smaller` is what is left of it that fails alike; `again` how it failed the second time."""

    seed: int
    digest: str
    problem: str
    smaller: str | None = None
    again: str | None = None


class Summary(Struct, rename="camel", kw_only=True):
    """Many worlds; in `families` of them instances had children. `never_struck` are the kinds of faults that were not
    tried."""

    worlds: int = 0
    families: int = 0
    instances: int = 0
    children: int = 0
    events: int = 0
    simulated_hours: float = 0.0
    seconds: float = 0.0
    faults: dict[str, int] = {}
    never_struck: list[str] = []
    failed: int = 0
    violations: list[Violation] = []


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what `argv` asks for (`sys.argv` when None). → the exit status."""
    parser = argparse.ArgumentParser(prog="simulation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, help=f"how many worlds (100; of each mutant at most {WITHIN})")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work (1)")
    parser.add_argument("--seed", type=int, help="one world instead")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens in it")
    parser.add_argument("--mutants", action="store_true", help="engines that are broken on purpose")
    parser.add_argument("--json", action="store_true", help="one JSON document at the end, and nothing else")
    asked = parser.parse_args(argv)
    if asked.mutants:
        return mutants(asked.seeds or WITHIN, jobs=asked.jobs, write=_write)
    if asked.seed is not None:
        return one(asked.seed, trace=asked.trace, write=_write, as_json=asked.json)
    seeds = range(asked.first, asked.first + (100 if asked.seeds is None else asked.seeds))
    return many(seeds, jobs=asked.jobs, write=_write, as_json=asked.json)


def one(seed: int, *, trace: bool, write: Write, as_json: bool = False) -> int:
    """Tells one world, and a smaller one that fails like it. As JSON, the story is a list of lines."""
    story: list[str] = []
    tell = story.append if as_json else write
    outcome = World(seed, tell=tell if trace else None).run()
    if as_json:
        write(_json({"outcome": outcome, "trace": story} if trace else {"outcome": outcome}))
        return 0 if outcome.problem is None else 1
    write(told(outcome))
    if outcome.problem is None:
        return 0
    size, failed = shrink(outcome, lambda smaller: World(seed, smaller).run())
    write(f"smaller: {_size(size, outcome)}")
    if trace:
        World(seed, size, tell=write).run()
    write(told(failed))
    return 1


def many(seeds: range, *, jobs: int, write: Write, as_json: bool = False) -> int:
    """Runs them all, and says what became of them."""
    say: Write = (lambda line: None) if as_json else write
    began = time.monotonic()
    struck: Counter[str] = Counter()
    summary = Summary(worlds=len(seeds))
    for outcome in _outcomes(_run, seeds, jobs, at_once=8):
        struck.update(outcome.struck)
        summary.events += outcome.events
        summary.families += outcome.children > 0
        summary.instances += outcome.instances
        summary.children += outcome.children
        summary.simulated_hours += outcome.seconds / 3600
        if outcome.problem is not None:
            summary.failed += 1
            if summary.failed <= TOLD:
                say(told(outcome))
                summary.violations.append(_looked_into(outcome, shrunk=summary.failed <= SHRUNK))
    summary.seconds = time.monotonic() - began
    summary.faults = dict(struck.most_common())
    summary.never_struck = (
        [kind for kind in KINDS if not struck[kind]] if len(seeds) >= ALL_KINDS_FROM else []
    )
    for line in _lines(summary):
        say(line)
    if as_json:
        write(_json(summary))
    return 1 if summary.failed or summary.never_struck else 0


def _looked_into(outcome: Outcome, *, shrunk: bool) -> Violation:
    """Once more, which must be the same; and as little of it as still fails."""
    violation = Violation(seed=outcome.seed, digest=outcome.digest, problem=outcome.problem or "")
    again = World(outcome.seed).run()
    if again != outcome:
        violation.again = told(again)
    elif shrunk:
        size, _ = shrink(outcome, lambda smaller: World(outcome.seed, smaller).run())
        violation.smaller = _size(size, outcome)
    return violation


def _lines(summary: Summary) -> Iterator[str]:
    for violation in summary.violations:
        if violation.again is not None:
            yield f"NOT REPEATABLE: seed {violation.seed} [{violation.digest}], and then {violation.again}"
        if violation.smaller is not None:
            yield f"seed {violation.seed} fails with less too: {violation.smaller}"
    counts = f"{summary.worlds} worlds, {summary.instances} instances, {summary.events} events"
    yield f"{counts}, {summary.simulated_hours:.1f} simulated hours"
    yield f"{summary.children} of the instances were children, in {summary.families} worlds"
    faults = ", ".join(f"{kind} {times}" for kind, times in summary.faults.items())
    yield f"{sum(summary.faults.values())} faults: {faults}"
    if summary.never_struck:
        yield f"NEVER STRUCK: {', '.join(summary.never_struck)}"
    pace = summary.worlds / max(summary.seconds, 0.001)
    yield f"{summary.failed} violations in {summary.seconds:.0f} s ({pace:.1f} seeds/s)"


def mutants(seeds: int, *, jobs: int, write: Write) -> int:
    """Every mutant, and the seed that found it out. As rows of a Markdown table."""
    write("| mutant | what is broken | seed | invariant |\n|---|---|---:|---|")
    survivors = 0
    for killed in _outcomes(partial(_hunt, seeds=seeds), range(len(MUTANTS)), jobs, at_once=1):
        survivors += killed.seed is None
        by = "SURVIVED | |" if killed.seed is None else f"{killed.seed} | {killed.invariant} |"
        write(f"| {killed.mutant.name} | {killed.mutant.broken} | {by}")
    write(f"\n{len(MUTANTS)} mutants, {survivors} of them survived {seeds} seeds")
    return 1 if survivors else 0


def told(outcome: Outcome) -> str:
    what = outcome.problem or f"all is well: {outcome.events} events, {outcome.seconds:.0f} s"
    return f"seed {outcome.seed} [{outcome.digest}] {what}"


def _size(size: Size, outcome: Outcome) -> str:
    kinds = ", ".join(kind for kind in outcome.rates if kind not in size.without) or "no faults"
    return f"{kinds}; at most {size.instances} instances, {size.chaos:.2f} of the time"


def _outcomes(
    run: Callable[[int], Found], numbers: Iterable[int], jobs: int, at_once: int
) -> Iterator[Found]:
    if jobs <= 1:
        yield from map(run, numbers)
        return
    with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
        yield from pool.map(run, numbers, chunksize=at_once)


def _run(seed: int) -> Outcome:
    return World(seed).run()


def _hunt(number: int, seeds: int) -> Killed:
    return hunt(MUTANTS[number], seeds)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
