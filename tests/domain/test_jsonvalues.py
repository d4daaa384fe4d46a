"""JSON at the borders: what is accepted comes through unchanged, all else is refused with its place."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadJsonError, LimitExceededError
from domain.jsonvalues import check_json, read_json
from domain.limits import MAX_DEPTH, MAX_PAYLOAD_BYTES

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
sound = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


class Colour(IntEnum):
    RED = 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(sound)
def test_a_sound_value_passes(value: Any) -> None:
    check_json(value, "The input")


@given(sound, st.booleans(), st.sampled_from([None, 2]))
def test_a_sound_text_is_read_as_it_was_written(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read_json(raw, "The body") == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "the number nan at $"),
        ({"a": [1, {"b": math.inf}]}, "the number inf at $.a[1].b"),
        ([2**63], "an integer beyond 64 bits at $[0]"),
        ([-(2**63) - 1], "an integer beyond 64 bits at $[0]"),
        ({"a b": ["x\0y"]}, "text with a NUL character at $['a b'][0]"),
        ({"x\0": 1}, r"a key with a NUL character at $['x\x00']"),
        (["\ud800"], "text with half a surrogate pair at $[0]"),
        ({"\udfff": 1}, r"a key with half a surrogate pair at $['\udfff']"),
        ({1: 2}, "a key that is no text (int) at $[1]"),
        ({None: 2}, "a key that is no text (NoneType) at $[None]"),
        ((1, 2), "a value that is no JSON (tuple) at $"),
        ({"a": {1}}, "a value that is no JSON (set) at $.a"),
        (b"x", "a value that is no JSON (bytes) at $"),
        ([Colour.RED], "a value that is no JSON (Colour) at $[0]"),
        (OrderedDict(a=1), "a value that is no JSON (OrderedDict) at $"),
    ],
)
def test_what_the_log_cannot_hold_is_refused_with_its_place(value: Any, problem: str) -> None:
    with pytest.raises(BadJsonError) as refusal:
        check_json(value, "The input")
    assert str(refusal.value) == f"The input is not acceptable JSON: {problem}."


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b" ", b"{", b"[1,]", b"{'a': 1}", b"nul", b"1 2", b"{} x", b"\xef\xbb\xbf{}"),
        *(b"NaN", b"-Infinity", b"[1e400]", b"01", b"+1", b".5", b"1_0"),
        *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\x00"', b'"a\tb"', b'"\\ud800"', b'"\\x41"'),
        *(b'"\\u0000"', b'{"\\u0000": 1}', b"9223372036854775808", b"-9223372036854775809", b"9" * 5000),
        *(b'{"a":1,"a":1}', b'[{"x":{"b":1,"c":2,"b":3}}]', b'{"a":1,"\\u0061":2}', b'{"a":"\\u003a","a":2}'),
    ],
)
def test_what_is_no_json_or_ambiguous_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJsonError, match="The body is not acceptable JSON"):
        read_json(raw, "The body")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'"\\\\u0000"', "\\u0000"),
        (b'{"\\u003a": "a:b", "c": "\\":"}', {":": "a:b", "c": '":'}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"9223372036854775807", 2**63 - 1),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
        (b'{"a": {"a": {"a": 1}}}', {"a": {"a": {"a": 1}}}),
    ],
)
def test_what_only_looks_suspicious_is_accepted(raw: bytes, value: Any) -> None:
    assert read_json(raw, "The body") == value


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", 'q"']), scalars), max_size=4))
def test_an_object_is_accepted_exactly_when_its_keys_differ(members: list[tuple[str, Any]]) -> None:
    raw = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members) + "}"
    if len({key for key, _ in members}) == len(members):
        assert read_json(raw.encode(), "The body") == dict(members)
    else:
        with pytest.raises(BadJsonError, match="is repeated"):
            read_json(raw.encode(), "The body")


def test_nesting_is_limited_on_both_ways_in() -> None:
    check_json(nested(MAX_DEPTH), "The input")
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "The body") == nested(MAX_DEPTH)
    with pytest.raises(
        LimitExceededError, match="The input: nesting is 65, more than the limit of 64 levels"
    ):
        check_json(nested(MAX_DEPTH + 1), "The input")
    with pytest.raises(LimitExceededError, match="The body: nesting is 65"):
        read_json(b"[" * 65 + b"]" * 65, "The body")


def test_bottomless_nesting_is_refused_before_it_is_read() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(LimitExceededError):
        check_json(endless, "The input")
    with pytest.raises(LimitExceededError, match="nesting is 100000"):
        read_json(b"[" * 100_000, "The body")
    with pytest.raises(LimitExceededError, match="nesting is 65"):
        read_json(b'{"a":' * 65 + b"1" + b"}" * 65, "The body")


def test_many_brackets_side_by_side_or_inside_text_are_no_nesting() -> None:
    assert read_json(b"[" + b"[]," * 100 + b"[]]", "The body") == [[]] * 101
    assert read_json(json.dumps('\\"[' * 100).encode(), "The body") == '\\"[' * 100


def test_size_is_limited_in_encoded_bytes() -> None:
    fits = "é" * ((MAX_PAYLOAD_BYTES - 2) // 2)
    check_json(fits, "The input")
    assert read_json(json.dumps(fits, ensure_ascii=False).encode(), "The input") == fits
    with pytest.raises(LimitExceededError, match="The input is 262145, more than the limit of 262144 bytes"):
        check_json(fits + "x", "The input")
    with pytest.raises(LimitExceededError, match="262146"):
        read_json(b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"', "The input")
    check_json(fits * 2, "The input", max_bytes=None)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}":,0-9eE.\\u tfn', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        value = read_json(raw, "The body")
    except (BadJsonError, LimitExceededError):
        return
    check_json(value, "The body")
