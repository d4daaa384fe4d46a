"""The definition loader: any text, and any definition with something wrong in it, is deployed or refused with a type.

What is taken is run as well: its first command, and a step of it, must not raise anything but a typed refusal.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.commands import ClaimStep, CompleteStep, StartInstance
from domain.definition.parse import read_definition
from domain.definition.program import Program
from domain.instance import advance, owed
from domain.owed import Invoke
from domain.state import State
from tests.domain.definitions import definitions
from tests.fuzz.cases import many, soon, typed

READING_S = 2.0
"""Of a text of a few KiB: 3 ms per KiB are usual."""
AT = datetime(2026, 1, 1, tzinfo=UTC)
DOMAIN = Path(__file__).parents[1] / "domain"
SOURCES = sorted(
    path.read_text() for folder in ("sound", "broken") for path in (DOMAIN / folder).glob("*.yaml")
)

NASTY = st.sampled_from(
    """
    $ $.a $.input[*] {$concat:[$.a,$.a]} {$if:[$.a,1]} null ~ NaN .inf 1e400 0x7fffffffffffffffffff - -- --- ... : ? !
    !!python/object &a *a << {} [] [[[[[[ {{{{ | > % @ ` "\\ud800" "\\0" '' 9223372036854775808 -1 0 1.5 true 10y 1ms
    compensate parallel map task wait succeed next: steps: id: type: items: join: on: "1"
    """.split()  # noqa: SIM905 - a list of a hundred quotes is harder to read
)
PIECES = (
    NASTY
    | st.text(max_size=8)
    | st.sampled_from(["\n", "\n  ", "\n- ", "\t", "\r\n", " # ", "\ufeff", "\u2028"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | NASTY,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | NASTY, inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def spoilt_texts(draw: Any) -> str:
    """A definition of the tests, cut, doubled and written over in some places."""
    text: str = draw(st.sampled_from(SOURCES))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 30)))
        text = text[:begin] + draw(st.sampled_from(["", text[begin:end] * 2]) | PIECES) + text[end:]
    return text


@st.composite
def spoilt_trees(draw: Any) -> str:
    """A random definition in which some values, or keys, are others."""
    tree = json.loads(json.dumps(draw(definitions())))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if isinstance(place, dict) and not draw(st.integers(0, 4)):
                place[draw(NASTY)] = place.pop(key)
            else:
                place[key] = draw(VALUES)
            break
    return json.dumps(tree)


def try_out(text: str) -> None:
    found = soon(READING_S, lambda: typed(lambda: read_definition(text)), text)
    if found is not None:
        program = found.program("1")
        soon(READING_S, lambda: _run(program), text)


def _run(program: Program) -> None:
    state = State(id="0-1")
    start = StartInstance(at=AT, command_id="1", namespace="default", input={"a": 1, "list": [1, 2]})
    if typed(lambda: advance(start, state, program)) is not None:
        _go_on(state, program)


def _go_on(state: State, program: Program) -> None:
    for key in [effect.key for effect in owed(state).values() if isinstance(effect, Invoke)][:3]:
        lease: dict[str, Any] = {"execution": key, "attempt": 1, "token": key}
        claim = ClaimStep(at=AT, command_id="2", worker="w", **lease)
        if typed(lambda claim=claim: advance(claim, state, program)):  # type: ignore[misc]
            done = CompleteStep(at=AT, command_id="3", output={"flag": 0, "list": [1]}, **lease)
            typed(lambda done=done: advance(done, state, program))  # type: ignore[misc]


@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=200))
@many(divisor=2)
def test_any_text_is_read_or_refused(text: str) -> None:
    try_out(text)


@given(spoilt_texts())
@many(divisor=2)
def test_a_definition_that_was_spoilt_is_read_or_refused(text: str) -> None:
    try_out(text)


@given(spoilt_trees())
@many(divisor=8)
def test_a_tree_with_other_values_in_it_is_read_or_refused(text: str) -> None:
    try_out(text)
