"""The engine in many worlds where everything goes wrong; and broken engines, which must not survive in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from msgspec.structs import replace

from engine.ports import Batch, Recorded
from engine.store.memory import MemoryStore
from simulation import main
from simulation.command import told
from simulation.faults import KINDS
from simulation.shrinking import shrink
from simulation.world import Outcome, Size, World

SEEDS = 150


class Unchecked(MemoryStore):
    """The store without its version check: whatever comes is appended as if it were next."""

    async def append(self, batch: Batch) -> list[int]:
        versions: dict[str, int] = {}
        events: list[Recorded] = []
        for event in batch.events:
            known = versions.get(event.stream, self._version(event.stream))
            versions[event.stream] = known + 1
            events.append(replace(event, version=known + 1))
        return await super().append(replace(batch, events=events))


def first_failure(seeds: range) -> Outcome | None:
    worlds = (World(seed, memory=Unchecked).run() for seed in seeds)
    return next((outcome for outcome in worlds if outcome.problem is not None), None)


def test_nothing_is_broken_whatever_goes_wrong_and_everything_does() -> None:
    struck: Counter[str] = Counter()
    for seed in range(SEEDS):
        outcome = World(seed).run()
        assert outcome.problem is None, told(outcome)
        struck.update(outcome.struck)
    assert [kind for kind in KINDS if not struck[kind]] == [], "a kind of fault was never tried"


def test_without_the_version_check_a_world_breaks_within_a_hundred() -> None:
    assert first_failure(range(100)) is not None


def test_a_failing_world_fails_with_less_too() -> None:
    failed = first_failure(range(100))
    assert failed is not None
    size, smaller = shrink(failed, lambda size: World(failed.seed, size, memory=Unchecked).run())
    assert smaller.problem is not None
    assert len(set(failed.rates) - size.without) < len(failed.rates) or size.chaos < 1


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
