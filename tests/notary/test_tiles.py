"""Tiles are the tree: every root and every node, at every size, also when it goes on from what was kept."""

from __future__ import annotations

import random

import pytest

from notary.tiles import WIDTH, Edge, Tile, node_of
from tenuto.audit.tree import Frontier, inclusion_proof, leaf_hash, range_root, root_of

LEAVES = [leaf_hash(number.to_bytes(4)) for number in range(3 * WIDTH + 7)]


class Kept:
    """The rows of the table."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], Tile] = {}

    def keep(self, edge: Edge) -> None:
        self.tiles |= {(tile.level, tile.number): tile for tile in edge.written()}

    def fetch(self, level: int, number: int) -> bytes:
        return self.tiles[level, number].hashes

    def edge(self, size: int) -> Edge:
        found = {}
        for level, number, count in Edge.unfinished(size):
            tile = self.tiles[level, number]
            found[level] = tile._replace(hashes=tile.hashes[: 32 * count])
        return Edge(size, found)


@pytest.mark.parametrize("seed", range(5))
def test_the_root_is_that_of_the_leaves_wherever_it_goes_on(seed: int) -> None:
    dice = random.Random(seed)
    kept, edge, whole = Kept(), Edge(), Frontier()
    for position, leaf in enumerate(LEAVES, start=1):
        edge.append(leaf, position)
        whole.append(leaf)
        if dice.random() < 0.05 or edge.size % WIDTH == 0:
            kept.keep(edge)
            assert edge.root == whole.root
            assert range_root(0, edge.size, node_of(kept.fetch)) == whole.root
            edge = kept.edge(edge.size)
            assert edge.root == whole.root


def test_a_hundred_thousand_leaves_make_three_levels_and_their_proofs_hold() -> None:
    leaves = [leaf_hash(number.to_bytes(4)) for number in range(WIDTH * WIDTH + 300)]
    kept, edge = Kept(), Edge()
    for position, leaf in enumerate(leaves, start=1):
        edge.append(leaf, 2 * position)
    kept.keep(edge)
    assert {level for level, _ in kept.tiles} == {0, 1, 2}
    assert kept.tiles[0, 3].first_position == 2 * (3 * WIDTH + 1)
    assert kept.tiles[1, 1].first_position == 2 * (WIDTH * WIDTH + 1)
    assert edge.root == root_of(leaves) == range_root(0, len(leaves), node_of(kept.fetch))
    assert inclusion_proof(70, len(leaves), node_of(kept.fetch))[0] == leaves[71]


def test_a_tile_that_lacks_hashes_is_an_error() -> None:
    with pytest.raises(LookupError, match="has not 4 hashes"):
        node_of(lambda level, number: bytes(96))(2, 0)
