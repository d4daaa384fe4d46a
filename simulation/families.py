"""Families of definitions: in some worlds there are steps that are workflows themselves, and children with such steps.

Whether a world has any comes from chance of its own, so that those without are as they would be without this file.
"""

from __future__ import annotations

from random import Random

from simulation.definitions import Tree, Writer

SHARE = 0.3
"""Of the worlds."""


def children(random: Random) -> list[Tree]:
    """What those of one world may run, in the order in which it is deployed: a child after its own children."""
    if random.random() >= SHARE:
        return []
    trees: list[Tree] = []
    if random.random() < 0.4:
        trees.append(Writer(random, "grandchild").definition())
    names = [tree["name"] for tree in trees]
    return trees + [
        Writer(random, f"child-{number}", names).definition() for number in range(random.randint(1, 2))
    ]
