"""The tree in tiles of 256 hashes, so that a growing tree writes few rows and a proof reads few. Pure.

Tile level t holds nodes of the tree's level 8·t: the leaves, and above them the roots of full tiles. `Edge` is what
appending needs: the unfinished tile of each level. Next: `ledger.py`, which keeps tiles; `tenuto/audit/tree.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tenuto.audit.tree import HASH_BYTES, Frontier, Node, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT

Fetch = Callable[[int, int], bytes]
"""(level of tiles, number) → the hashes of the tile, as far as it has any."""


class Tile(NamedTuple):
    """`first_position` is that of the first event below it."""

    level: int
    number: int
    first_position: int
    hashes: bytes


class _Growing:
    """The unfinished tile of one level."""

    def __init__(self, number: int, first_position: int, hashes: bytes) -> None:
        self.number = number
        self.first_position = first_position
        self.hashes = bytearray(hashes)
        self.frontier = Frontier()
        self.changed = False
        for hash in split(hashes):
            self.frontier.append(hash)


class Edge:
    """The right edge of a tree of `size` leaves; `tiles` are its unfinished ones, by level."""

    def __init__(self, size: int = 0, tiles: Mapping[int, Tile] | None = None) -> None:
        self.size = size
        self._levels: list[_Growing] = []
        self._full: list[Tile] = []
        level = 0
        while size >> HEIGHT * level:
            tile = (tiles or {}).get(level)
            number = size >> HEIGHT * level >> HEIGHT
            self._levels.append(
                _Growing(number, 0, b"")
                if tile is None
                else _Growing(number, tile.first_position, tile.hashes)
            )
            level += 1

    @staticmethod
    def unfinished(size: int) -> list[tuple[int, int, int]]:
        """(level, number, how many hashes) of the tiles that `Edge(size)` needs."""
        found, level = [], 0
        while size >> HEIGHT * level:
            number, count = divmod(size >> HEIGHT * level, WIDTH)
            if count:
                found.append((level, number, count))
            level += 1
        return found

    def append(self, leaf: bytes, position: int) -> None:
        self.size += 1
        hash, level = leaf, 0
        while True:
            if level == len(self._levels):
                self._levels.append(_Growing(0, 0, b""))
            growing = self._levels[level]
            if not growing.hashes:
                growing.first_position = position
            growing.hashes += hash
            growing.frontier.append(hash)
            growing.changed = True
            if growing.frontier.size < WIDTH:
                return
            tile = Tile(level, growing.number, growing.first_position, bytes(growing.hashes))
            self._full.append(tile)
            hash, position, level = growing.frontier.root, growing.first_position, level + 1
            self._levels[level - 1] = _Growing(growing.number + 1, 0, b"")

    def written(self) -> list[Tile]:
        """The tiles that have changed since the last call."""
        changed, self._full = self._full, []
        for level, growing in enumerate(self._levels):
            if growing.changed:
                changed.append(Tile(level, growing.number, growing.first_position, bytes(growing.hashes)))
                growing.changed = False
        return changed

    @property
    def root(self) -> bytes:
        peaks = [peak for growing in reversed(self._levels) for peak in growing.frontier.peaks]
        return Frontier(self.size, peaks).root


def node_of(fetch: Fetch) -> Node:
    """Full subtrees out of tiles. Raises LookupError when a tile does not have what it should."""

    def node(level: int, index: int) -> bytes:
        tiles, height = divmod(level, HEIGHT)
        number, offset = divmod(index << height, WIDTH)
        count = 1 << height
        hashes = fetch(tiles, number)[offset * HASH_BYTES : (offset + count) * HASH_BYTES]
        if len(hashes) != count * HASH_BYTES:
            raise LookupError(f"tile {number} of level {tiles} has not {offset + count} hashes")
        return root_of(split(hashes))

    return node


def split(hashes: bytes) -> list[bytes]:
    return [hashes[begin : begin + HASH_BYTES] for begin in range(0, len(hashes), HASH_BYTES)]
