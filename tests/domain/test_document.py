"""Definitions as text: YAML 1.2 and JSON read alike, ambiguity refused, every part with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.definition.document import Position, read_document
from domain.definition.findings import Finding, refusal
from domain.errors import DefinitionInvalidError, LimitExceededError
from domain.limits import MAX_DEFINITION_BYTES

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=8)
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
    max_leaves=12,
)


def findings(document: str) -> list[str]:
    with pytest.raises(DefinitionInvalidError) as refused:
        read_document(document, "order.yaml")
    found = refused.value.details["findings"]
    assert isinstance(found, list)
    assert str(found[0]) in str(refused.value)
    return [str(finding) for finding in found]


@given(sound, st.booleans(), st.sampled_from([None, 2, "\t"]))
def test_json_is_read_as_json(value: Any, ascii_only: bool, indent: int | str | None) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    read = read_document(written).tree
    assert read == value
    assert json.dumps(read) == json.dumps(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("on", "on"), ("NO", "NO"), ("yes", "yes"), ("12:30", "12:30"), ("2026-11-01", "2026-11-01")),
        *(("010", 10), ("0o10", 8), ("0xff", 255), ("+1", 1), ("-0", 0), ("1_000", "1_000"), ("0b1", "0b1")),
        *(("1.10", 1.1), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("1.10.2", "1.10.2"), ("'1'", "1")),
        *(("true", True), ("TRUE", True), ("False", False), ("~", None), ("", None), ("Null", None)),
        *(
            ("'null'", "null"),
            ('"\\u00e9\\n"', "é\n"),
            ('"\\ud83d\\ude00"', "😀"),
            ("48h", "48h"),
            ("<<", "<<"),
        ),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: Any) -> None:
    read = read_document(f"a: {written}\n").tree["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            "a: 1\nb: 2\na: 3",
            "order.yaml:3:1: error duplicate-key: the key 'a' stands here already, on line 1",
        ),
        (
            '{"x": {"a": 1, "a": 1}}',
            "order.yaml:1:16: error duplicate-key: the key 'a' stands here already, on line 1",
        ),
        ("a: &x 1", "order.yaml:1:4: error anchor: the anchor &x is refused"),
        ("a: !!int '3'", "order.yaml:1:4: error tag: the tag tag:yaml.org,2002:int is refused"),
        ("- !Thing {a: 1}", "order.yaml:1:3: error tag: the tag !Thing is refused"),
        ("a: 1\n2: b", "order.yaml:2:1: error key-not-text: the key 2 is no text"),
        ("true: b", "order.yaml:1:1: error key-not-text: the key true is no text"),
        ("a: .nan", "order.yaml:1:4: error bad-number: .nan is no number that JSON can hold"),
        ("a: -.Inf", "order.yaml:1:4: error bad-number: -.Inf is no number that JSON can hold"),
        ("a: 1e400", "order.yaml:1:4: error bad-number: the number 1e400 is out of range"),
        (
            "a: 9223372036854775808",
            "order.yaml:1:4: error bad-number: the number 9223372036854775808 is out of range",
        ),
        ("a: " + "9" * 9000, f"order.yaml:1:4: error bad-number: the number {'9' * 40} is out of range"),
        ('a: "\\0"', "order.yaml:1:4: error bad-character: text cannot hold a NUL or half a surrogate pair"),
        (
            '"\\udfff": 1',
            "order.yaml:1:1: error bad-character: text cannot hold a NUL or half a surrogate pair",
        ),
        ("a: b\x00", "order.yaml:1:5: error malformed-document: the character U+0000 is not allowed"),
        ("a:\n  - b: c: d", "order.yaml:2:9: error malformed-document: mapping values are not allowed here"),
        (
            "{? [a] : b}",
            "order.yaml:1:4: error malformed-document: a key must be text, not a list or an object",
        ),
        ("", "order.yaml:1:1: error empty-document: the document is empty"),
        ("# nothing\n", "order.yaml:1:1: error empty-document: the document is empty"),
        ("a: 1\n---\nb: 2", "order.yaml:2:1: error several-documents: the text holds more than one document"),
        ("%YAML 1.1\n---\na: 1", "order.yaml:1:1: error yaml-version: only YAML 1.2 is read"),
    ],
)
def test_ambiguous_or_malformed_text_is_refused_where_it_stands(document: str, expected: str) -> None:
    assert findings(document) == [expected]


def test_an_alias_is_refused_with_its_anchor() -> None:
    assert findings("a: &x [1]\nb: *x") == [
        "order.yaml:1:4: error anchor: the anchor &x is refused",
        "order.yaml:2:4: error alias: the alias *x is refused",
    ]


def test_reading_goes_on_after_a_finding_so_that_one_attempt_shows_them_all() -> None:
    found = findings("a: .nan\n1: 2\nb: !x y\nc: 1\nc: 2\n")
    assert [line.split(": ")[1] for line in found] == [
        "error bad-number",
        "error key-not-text",
        "error tag",
        "error duplicate-key",
    ]


def test_unclosed_text_is_refused_at_its_end() -> None:
    (found,) = findings("a: [1, 2\n")
    assert found.startswith("order.yaml:2:1: error malformed-document: while parsing a flow sequence")


def test_size_and_nesting_are_limited() -> None:
    assert read_document("[" * 64 + "]" * 64).tree is not None
    with pytest.raises(LimitExceededError, match=r"order\.yaml:2: nesting is 65, more than the limit of 64"):
        read_document("\n" + "[" * 100_000, "order.yaml")
    with pytest.raises(LimitExceededError, match="1048577, more than the limit of 1048576 bytes"):
        read_document("#" * (MAX_DEFINITION_BYTES + 1))


DOCUMENT = """\
name: order     # a comment
steps:
  - id: charge
    next: [{condition: "$.a == 1", next: done}]
  - {id: done, type: succeed,
     note: 'it''s'}
"""


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ((), Position(1, 1)),
        (("name",), Position(1, 7)),
        (("steps",), Position(3, 3)),
        (("steps", 0), Position(3, 5)),
        (("steps", 0, "id"), Position(3, 9)),
        (("steps", 0, "next", 0, "condition"), Position(4, 24)),
        (("steps", 1), Position(5, 5)),
        (("steps", 1, "note"), Position(6, 12)),
    ],
)
def test_every_value_has_its_place(path: tuple[str | int, ...], position: Position) -> None:
    assert read_document(DOCUMENT).position(path) == position


def test_a_key_has_a_place_of_its_own() -> None:
    document = read_document(DOCUMENT)
    assert document.position(("steps",), key=True) == Position(2, 1)
    assert document.position(("steps", 1, "note"), key=True) == Position(6, 6)
    assert document.position(("steps", 1), key=True) == document.position(("steps", 1))


def test_what_is_not_there_has_the_place_of_its_nearest_ancestor() -> None:
    document = read_document(DOCUMENT)
    assert document.position(("steps", 1, "timeout")) == document.position(("steps", 1))
    assert document.position(("steps", 1, "timeout"), key=True) == document.position(("steps", 1))
    assert document.position(("nope", 3, "x")) == Position(1, 1)


def test_an_offset_points_into_text_that_is_written_as_it_reads() -> None:
    document = read_document(DOCUMENT)
    assert document.position(("steps", 0, "next", 0, "condition"), offset=4) == Position(4, 29)
    assert document.position(("name",), offset=2) == Position(1, 9)
    assert document.position(("steps", 1, "note"), offset=3) == Position(6, 12)


def test_a_finding_names_source_line_and_column() -> None:
    finding = read_document(DOCUMENT, "order.yaml").finding(
        "unknown-step", "there is no step 'x'", ("steps", 1), step="done", fix="write done"
    )
    assert finding == Finding(
        "unknown-step", "error", "there is no step 'x'", "order.yaml", 5, 5, "done", "write done"
    )
    assert str(finding) == "order.yaml:5:5: error unknown-step: there is no step 'x'"


def test_a_refusal_says_the_first_finding_and_how_many_follow() -> None:
    finding = Finding("c", "error", "m", "s", 1, 1)
    assert str(refusal([finding])) == "The definition was refused: s:1:1: error c: m"
    assert str(refusal([finding] * 3)) == "The definition was refused: s:1:1: error c: m (and 2 more)"


def test_a_byte_order_mark_moves_nothing() -> None:
    assert read_document("\ufeffa: b").position(("a",)) == Position(1, 4)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@`?\\ \n\t01.~", max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(document: str) -> None:
    try:
        read = read_document(document)
    except (DefinitionInvalidError, LimitExceededError):
        return
    json.dumps(read.tree, allow_nan=False)
    for path in read.values:
        assert read.position(path).line >= 1
