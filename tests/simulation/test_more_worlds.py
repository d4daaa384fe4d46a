"""The second half of the worlds in which everything goes wrong: the first is in `test_worlds.py`, on another core."""

from __future__ import annotations

from simulation.command import told
from simulation.world import World


def test_nothing_is_broken_in_the_other_half_either() -> None:
    for seed in range(250, 500):
        outcome = World(seed).run()
        assert outcome.problem is None, told(outcome)
