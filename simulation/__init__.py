"""Proof by simulation: the engine's own code in worlds where everything goes wrong, reproducibly.

    python -m simulation --seeds 500           many worlds, one line about each that fails
    python -m simulation --seed 42 --trace     one of them, told

It holds no decision logic of its own: it gives the engine a clock, a store, a network and services that misbehave
(`world.py`), and compares what came of it with what must hold (`invariants.py`, `aftermath.py`).
"""

from __future__ import annotations

from simulation.command import main

__all__ = ["main"]
