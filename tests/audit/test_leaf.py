"""A leaf is its event and no other's: the bytes are those of the page, and no two events share them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tenuto.audit.leaf import Row, leaf_of

ROWS = st.builds(
    Row,
    st.integers(0, 3),
    st.text("ab", max_size=3),
    st.integers(0, 3),
    st.none() | st.text("ab", max_size=3),
    st.none() | st.binary(max_size=3),
)


def test_the_bytes_are_those_of_the_reference() -> None:
    data = (
        b"\x01"
        b"\x00\x00\x00\x00\x00\x00\x12\x67"
        b"\x00\x00\x00\x030-a"
        b"\x00\x00\x00\x00\x00\x00\x00\x02"
        b"\x00\x00\x00\x06Paused"
        b"\x00\x00\x00\x02{}"
    )
    assert leaf_of((4711, "0-a", 2, "Paused", b"{}")) == hashlib.sha256(b"\x00" + data).digest()
    page = Path(__file__).parents[2] / "docs/reference/audit.md"
    assert data.hex() in page.read_text().replace(" ", "")


def test_null_is_not_nothing() -> None:
    assert leaf_of((1, "s", 1, None, b"")) != leaf_of((1, "s", 1, "", b""))
    assert leaf_of((1, "s", 1, "", None)) != leaf_of((1, "s", 1, "", b""))


@given(ROWS, ROWS)
def test_two_events_have_two_leaves(one: Row, other: Row) -> None:
    assert (leaf_of(one) == leaf_of(other)) == (one == other)
