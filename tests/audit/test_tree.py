"""The tree is RFC 6962's: its known roots, another implementation's proofs, and no forged proof is believed."""

from __future__ import annotations

import hashlib

import pymerkle  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    Node,
    consistency_proof,
    grew,
    includes,
    inclusion_proof,
    leaf_hash,
    range_root,
    root_of,
)

# The test vectors of Certificate Transparency's reference implementations (RFC 6962 §2.1): eight inputs, and the root
# after each.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = st.integers(1, 300)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(2)) for number in range(size)]


def node_of(leaves: list[bytes]) -> Node:
    """Full subtrees, straight from the definition."""

    def node(level: int, index: int) -> bytes:
        found = leaves[index << level : (index + 1) << level]
        assert len(found) == 1 << level, "a proof asked for a subtree that is not full"
        return root_of(found)

    return node


def theirs(size: int) -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for number in range(size):
        tree.append_entry(number.to_bytes(2))
    return tree


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_are_those_of_the_rfcs_test_vectors(size: int) -> None:
    leaves = [leaf_hash(data) for data in INPUTS[:size]]
    assert root_of(leaves).hex() == ROOTS[size - 1]
    assert range_root(0, size, node_of(leaves)).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256().digest()


def test_proofs_are_those_of_the_rfcs_test_vectors() -> None:
    node = node_of([leaf_hash(data) for data in INPUTS])
    assert [one.hex() for one in inclusion_proof(5, 8, node)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in consistency_proof(6, 8, node)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in consistency_proof(2, 5, node)] == [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]


@settings(deadline=None, max_examples=60)
@given(SIZES, st.data())
def test_an_inclusion_proof_is_what_another_implementation_makes_and_believes(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves, tree = leaves_of(size), theirs(size)
    proof, root = inclusion_proof(index, size, node_of(leaves)), root_of(leaves)
    made = tree.prove_inclusion(index + 1, size)
    assert root == tree.get_root(size)
    assert [leaves[index], *proof] == made.path
    pymerkle.verify_inclusion(leaves[index], root, made)
    assert includes(root, size, index, leaves[index], proof)


@settings(deadline=None, max_examples=60)
@given(SIZES, st.data())
def test_where_another_implementation_sees_a_tree_grow_so_do_we(size: int, data: st.DataObject) -> None:
    """Its proofs have a form of their own; which roots belong to one growing tree is what both must agree on."""
    first = data.draw(st.integers(1, size))
    leaves, tree = leaves_of(size), theirs(size)
    proof = consistency_proof(first, size, node_of(leaves))
    made = tree.prove_consistency(first, size)
    pymerkle.verify_consistency(root_of(leaves[:first]), root_of(leaves), made)
    assert grew(root_of(leaves[:first]), first, root_of(leaves), size, proof)


@settings(deadline=None, max_examples=100)
@given(SIZES, st.data())
def test_a_proof_for_anything_else_is_not_believed(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    node, root = node_of(leaves), root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, node)
    forged = leaf_hash(b"forged")
    assert not includes(root, size, index, forged, proof)
    assert not includes(root, size, index, leaves[index], [*proof, forged])
    assert not includes(root, size, size, leaves[index], proof)
    if proof:
        assert not includes(root, size, index, leaves[index], proof[:-1])
        assert not includes(root, size, (index + 1) % size, leaves[index], proof)
    first = data.draw(st.integers(1, size))
    grown = consistency_proof(first, size, node)
    other = [*leaves[: first - 1], forged]
    assert not grew(root_of(other), first, root, size, grown)
    assert not grew(root_of(leaves[:first]), first, root, size, [*grown, forged])
    assert not grew(root, size, root_of(leaves[:first]), first, grown) or first == size


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 2)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, node_of(leaves_of(size)))


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(ValueError, match="does not grow"):
        consistency_proof(3, 2, node_of(leaves_of(3)))


@given(st.lists(st.binary(max_size=4), max_size=80))
def test_a_growing_tree_has_the_root_of_every_size_on_its_way(datas: list[bytes]) -> None:
    leaves = [leaf_hash(data) for data in datas]
    frontier = Frontier()
    for size, leaf in enumerate(leaves, start=1):
        frontier.append(leaf)
        assert frontier.root == range_root(0, size, node_of(leaves))
