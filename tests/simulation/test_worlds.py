"""The engine in many worlds where everything goes wrong; and broken engines, which must not survive in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from simulation import main
from simulation.command import many, told
from simulation.faults import KINDS
from simulation.mutants import MUTANTS
from simulation.mutation import applied
from simulation.shrinking import shrink
from simulation.world import Outcome, Size, World

SEEDS = range(250)
"""The other half of the five hundred is in `test_more_worlds.py`: files run side by side."""
UNCHECKED = next(mutant for mutant in MUTANTS if mutant.name == "no version check")


def first_failure(seeds: range) -> Outcome | None:
    with applied(UNCHECKED):
        worlds = (World(seed).run() for seed in seeds)
        return next((outcome for outcome in worlds if outcome.problem is not None), None)


def test_nothing_is_broken_whatever_goes_wrong_and_everything_does() -> None:
    struck: Counter[str] = Counter()
    families = 0
    for seed in SEEDS:
        outcome = World(seed).run()
        assert outcome.problem is None, told(outcome)
        struck.update(outcome.struck)
        families += outcome.children > 0
    assert 0.15 < families / len(SEEDS) < 0.25, "children are tried too seldom, or everything else is"
    assert [kind for kind in KINDS if not struck[kind]] == [], "a kind of fault was never tried"


def test_without_the_version_check_a_world_breaks_within_a_hundred() -> None:
    assert first_failure(range(100)) is not None


def test_a_failing_world_fails_with_less_too() -> None:
    failed = first_failure(range(100))
    assert failed is not None
    with applied(UNCHECKED):
        size, smaller = shrink(failed, lambda size: World(failed.seed, size).run())
    assert smaller.problem is not None
    assert smaller.problem.partition(":")[0] == str(failed.problem).partition(":")[0]
    assert len(set(failed.rates) - size.without) < len(failed.rates) or size.chaos < 1


def test_a_failing_world_is_run_again_and_told_with_less_of_it() -> None:
    failed = first_failure(range(100))
    assert failed is not None
    told_lines: list[str] = []
    with applied(UNCHECKED):
        assert many(range(failed.seed, failed.seed + 1), jobs=1, write=told_lines.append) == 1
    assert any(f"seed {failed.seed} fails with less too" in line for line in told_lines)
    assert not any("NOT REPEATABLE" in line for line in told_lines)
    assert told_lines[-1].startswith("1 violations")


def test_a_kind_of_fault_that_never_struck_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.command.ALL_KINDS_FROM", 1)
    monkeypatch.setattr("simulation.command.KINDS", {"a fault that nobody makes": (1, 1)})
    told_lines: list[str] = []
    assert many(range(1), jobs=1, write=told_lines.append) == 1
    assert "NEVER STRUCK: a fault that nobody makes" in told_lines


@pytest.mark.parametrize("seed", [3, 11, 23])
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    stories: list[list[str]] = [[], []]
    first, again = (World(seed, tell=story.append).run() for story in stories)
    assert stories[0] == stories[1]
    assert first == again


def test_another_process_with_other_hashes_tells_the_same_story() -> None:
    seeds = range(5)
    program = f"from simulation.world import World\nfor seed in {seeds!r}: print(World(seed).run().digest)"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert printed == [World(seed).run().digest for seed in seeds]


def test_a_world_without_faults_has_none() -> None:
    outcome = World(1, Size(without=frozenset(KINDS))).run()
    assert outcome.problem is None
    assert outcome.struck == {}
    assert outcome.events > 0


def test_the_command_tells_one_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1", "--trace"]) == 0
    printed = capsys.readouterr().out
    assert "InstanceStarted" in printed
    assert "seed 1 [" in printed


def test_the_command_counts_what_struck(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "4", "--first", "7"]) == 0
    printed = capsys.readouterr().out
    assert "4 worlds" in printed
    assert "0 violations" in printed
