"""Tokens: what we signed we can read, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ForgedTokenError
from engine.tokens import Lease, Tokens, session_of

LEASE = Lease(3, "s-1", "0-0189", "prepare.pack[2].packItem#1/undo")
PARTS = st.text(st.characters(blacklist_characters="|", blacklist_categories=["Cs"]))


@given(st.builds(Lease, st.integers(1, 10**6), PARTS, PARTS, PARTS))
def test_a_token_says_what_it_was_made_of(lease: Lease) -> None:
    tokens = Tokens(b"secret")
    assert tokens.read(tokens.mint(lease)) == lease
    assert session_of(tokens.mint(lease)) == lease.session


@given(st.data())
def test_a_token_that_differs_anywhere_is_forged(data: st.DataObject) -> None:
    token = Tokens(b"secret").mint(LEASE)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[place]))
    with pytest.raises(ForgedTokenError):
        Tokens(b"secret").read(token[:place] + other + token[place + 1 :])


@given(st.text(st.characters()))
def test_whatever_a_caller_sends_is_no_more_than_forged(text: str) -> None:
    with pytest.raises(ForgedTokenError):
        Tokens(b"secret").read(text)


def test_another_shard_s_token_is_forged() -> None:
    with pytest.raises(ForgedTokenError):
        Tokens(b"another secret").read(Tokens(b"secret").mint(LEASE))
