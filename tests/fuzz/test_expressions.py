"""The expression compiler and what it compiles: any text, any template, any data."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.expressions import compile_condition, compile_value
from domain.expressions.size import bounded
from tests.fuzz.cases import many, soon, typed

EVALUATION_S = 0.25
"""Of an expression within its limits, on data of a few hundred values; the limits make it polynomial."""

MANY_VISITS = 200
AT_ONCE = 20
"""Cases of one example: drawing the data costs more than trying an expression on it."""

NAMES = st.sampled_from(["a", "b", "list", "input", "item", "now", "ü", "a b", "", "__class__", "0"])
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.sampled_from(["30s", "PT1H", "x" * 300])
)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=60,
)
SCOPES = st.dictionaries(NAMES, DATA, max_size=6)
WORDS = st.sampled_from(
    """
    $ @ . .. [ ] ( ) ? * , : ! && || == != < <= > >= ' " \\ a b list input 0 1 -1 01 1e9 1e400 -0 true false null
    length( count( value( match( search( nope( 'a' "b" '(a*)*b' '[' 'a{9}{9}{9}' '\\u00' $.a $.list[*] $..a [?@.a]
    [?@.a==$.b] [?@[?@.a]] [0:9:0] [::-1] [*,*,*] ['a'] $$ 30s
    """.split()  # noqa: SIM905 - a list of a hundred quotes is harder to read
)
TEXTS = (
    st.lists(WORDS, max_size=30).map("".join)
    | st.lists(WORDS, max_size=200).map(" ".join)
    | st.text(max_size=60)
)
PATHS = (
    st.sampled_from(["$", "$.a", "$.b", "$.list", "$.list[0]", "$.input.a", "$['a b']", "$$", "$.a.b.a"])
    | TEXTS
)
FUNCTIONS = st.sampled_from(
    "$if $coalesce $max $min $add $subtract $multiply $ms $concat $length $literal $nope $".split()  # noqa: SIM905 - as above
)
TEMPLATES = st.recursive(
    SCALARS | PATHS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.builds(lambda name, argument: {name: argument}, FUNCTIONS, st.lists(inner, max_size=4) | inner)
        | st.builds(
            lambda condition, rest: {"$if": [condition, *rest]},
            TEXTS,
            st.lists(inner, min_size=2, max_size=2),
        )
    ),
    max_leaves=30,
)


@given(st.lists(TEXTS, min_size=AT_ONCE, max_size=AT_ONCE), SCOPES)
@many(divisor=AT_ONCE)
def test_a_condition_is_refused_with_a_type_or_gives_a_verdict(
    texts: list[str], data: dict[str, Any]
) -> None:
    def verdict(text: str) -> bool:
        condition = typed(partial(compile_condition, text))
        return condition is None or condition(data) in (True, False)

    for text in texts:
        assert soon(EVALUATION_S, partial(verdict, text), (text, data))


@given(st.lists(TEMPLATES, min_size=AT_ONCE, max_size=AT_ONCE), SCOPES)
@many(divisor=AT_ONCE)
def test_a_template_is_refused_with_a_type_or_makes_json_within_its_bounds(
    templates: list[Any], data: dict[str, Any]
) -> None:
    def make(template: Any) -> bytes:
        value = typed(partial(compile_value, template))
        made = None if value is None else typed(partial(value, data))
        assert bounded(made) is made
        return msgspec.json.encode(made)

    for template in templates:
        soon(EVALUATION_S, partial(make, template), (template, data))


@given(st.integers(2, 12), st.integers(1, 300), st.sampled_from(["list", "object", "concat", "nest"]))
@many(divisor=200)
def test_what_feeds_on_itself_ends_in_a_refusal(width: int, seed: int, form: str) -> None:
    """A loop whose step makes more of what it made before: within so many visits it is refused, and cheaply."""
    templates: dict[str, Any] = {
        "list": ["$.a"] * width,
        "object": {f"k{n}": "$.a" for n in range(width)},
        "concat": {"$concat": ["$.a"] * width},
        "nest": [["$.a"]],
    }
    grow = compile_value(templates[form])

    def visits() -> int:
        data: Any = {"a": "x" * seed}
        count = 0
        while data["a"] is not None and count < MANY_VISITS:
            data, count = {"a": typed(partial(grow, data))}, count + 1
        return count

    assert soon(20 * EVALUATION_S, visits, (form, width, seed)) < MANY_VISITS
