"""From text to a definition: what is none is refused in plain words, each slip once, at its line and column."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.definition.findings import Finding
from domain.definition.parse import load_program, read_definition
from domain.definition.verification.children import Child, Known, verify_children
from domain.errors import DefinitionInvalidError

BROKEN = Path(__file__).with_name("broken")

Expected = tuple[int, int, str, str, str | None, str]
"""Line, column, severity, code, step, message."""

EXPECTED: dict[str, list[Expected]] = {
    "compensate-in-branch": [
        (
            7,
            40,
            "error",
            "compensate-in-branch",
            "back",
            "'back' undoes and goes on: that cannot be done inside a branch",
        ),
    ],
    "duplicate-key": [
        (2, 1, "error", "duplicate-key", None, "the key 'name' stands here already, on line 1"),
        (3, 8, "error", "anchor", None, "the anchor &steps is refused"),
    ],
    "durations": [
        (2, 10, "error", "bad-duration", None, "'5 minutes' is no duration"),
        (4, 56, "error", "bad-duration", "pay", "`timeout` takes a duration, not 30"),
        (4, 71, "error", "bad-duration", "pay", "`heartbeat` takes a duration, not an object"),
        (4, 99, "error", "bad-duration", "pay", "'1 h' is no duration"),
        (5, 32, "error", "bad-duration", "nap", "'4000d' is longer than 3650d"),
        (6, 39, "error", "bad-expression", "nap2", "$ms takes a duration such as 30m, but was given text"),
    ],
    "expressions": [
        (
            7,
            34,
            "error",
            "bad-expression",
            "pay",
            (
                "unknown function $foo; there are $if, $coalesce, $max, $min, $add, $subtract, $multiply,"
                " $ms, $concat, $length, $literal ($literal keeps anything as it is)"
            ),
        ),
        (
            9,
            26,
            "error",
            "bad-expression",
            "pay",
            "'[' is never closed; write $$.items[ for text that starts with a dollar sign",
        ),
        (9, 49, "error", "bad-expression", "pay", "$coalesce takes a list of at least one value"),
        (11, 33, "error", "bad-expression", "pay", "unexpected '='; write == to compare"),
        (12, 37, "error", "bad-expression", "pay", "unexpected 'o'; write && for and"),
        (13, 40, "error", "bad-expression", "pay", "unexpected token '$' in bracketed selection"),
        (15, 53, "error", "bad-expression", "done", "unexpected end of expression"),
    ],
    "fields": [
        (2, 1, "error", "unknown-field", None, "a definition has no field `timout`"),
        (4, 47, "error", "unknown-field", "pay", "a task step has no field `nextt`"),
        (
            5,
            52,
            "error",
            "unknown-field",
            "ask",
            "a wait step has no field `fallback`; it is a field of task and workflow",
        ),
        (5, 68, "error", "unknown-field", "ask", "`on_timeout` and `onTimeout` are the same field"),
        (
            6,
            31,
            "error",
            "unknown-field",
            "done",
            "a succeed step has no field `compensate_with`; it is a field of task",
        ),
    ],
    "join-of-too-many": [
        (5, 11, "error", "join-never-fires", "both", "join waits for 3 branches, but there are only 2"),
    ],
    "limits": [
        (
            1,
            7,
            "error",
            "bad-name",
            None,
            "'a-name-that-is-longer-than-sixty-four-characters-is-no-name-at-all' is no name",
        ),
        (2, 38, "error", "bad-value", None, "`maxAttempts` is more than 1000000"),
        (2, 55, "error", "bad-value", None, "`jitter` is more than 1.0"),
        (3, 12, "error", "bad-value", None, '`onTimeout` takes fail or compensate, not "explode"'),
        (5, 51, "error", "bad-value", "nap", "`next` cannot be empty"),
        (6, 38, "error", "bad-value", "both", "`join` is less than 1"),
        (6, 58, "error", "bad-value", "both", "`left` cannot be empty"),
        (6, 62, "error", "bad-name", "both", "'to the right' is no name"),
    ],
    "malformed": [
        (
            4,
            1,
            "error",
            "malformed-document",
            None,
            "while parsing a flow mapping, expected ',' or '}', but got '<stream end>'",
        ),
    ],
    "maps-fields": [
        (3, 31, "error", "bad-value", "a", "`items` takes a list, or an expression that gives one"),
        (4, 45, "error", "join-never-fires", "b", "join waits for 3 items, but there are only 2"),
        (5, 61, "error", "bad-value", "c", "`maxConcurrency` is less than 1"),
        (5, 71, "error", "bad-value", "c", "`steps` cannot be empty"),
        (
            6,
            45,
            "error",
            "unknown-field",
            "d",
            "a map step has no field `branches`; it is a field of parallel",
        ),
        (
            11,
            38,
            "error",
            "compensate-in-branch",
            "back",
            "'back' undoes and goes on: that cannot be done inside a map",
        ),
    ],
    "missing": [
        (1, 1, "error", "missing-field", None, "a definition needs `name`"),
        (2, 5, "error", "missing-field", "pay", "a task step needs `action`"),
        (3, 5, "error", "missing-field", "done", "a step needs a `type`"),
        (4, 41, "error", "missing-field", "choose", "a transition needs `next`"),
        (5, 5, "error", "missing-field", "ask", "a wait needs `signal`, `for`, or both"),
    ],
    "names": [
        (1, 7, "error", "bad-name", None, "'my workflow' is no name"),
        (2, 10, "error", "bad-value", None, "'1 beta' is no version"),
        (3, 11, "error", "bad-name", None, "'go on' is no name"),
        (3, 25, "error", "reserved-name", None, "'now' is reserved: `$.now` already means something else"),
        (
            5,
            10,
            "error",
            "reserved-name",
            "input",
            "'input' is reserved: `$.input` already means something else",
        ),
        (
            5,
            58,
            "error",
            "reserved-name",
            "input",
            "'undo' is reserved: `$.undo` already means something else",
        ),
        (6, 10, "error", "bad-name", "1st", "'1st' is no name"),
    ],
    "no-object": [
        (1, 1, "error", "bad-value", None, "a definition is an object with `name` and `steps`, not a list"),
    ],
    "reserved-step": [
        (5, 10, "error", "bad-name", "2nd", "'2nd' is no name"),
        (
            6,
            10,
            "error",
            "reserved-name",
            "undo",
            "'undo' is reserved: `$.undo` already means something else",
        ),
    ],
    "step-types": [
        (
            3,
            21,
            "error",
            "unknown-step-type",
            "pay",
            (
                "there is no step type 'taks'; there are task, decision, parallel, map, wait, workflow, "
                "compensate, succeed, fail"
            ),
        ),
        (
            4,
            22,
            "error",
            "unknown-step-type",
            "done",
            (
                "there is no step type 5; there are task, decision, parallel, map, wait, workflow,"
                " compensate, succeed, fail"
            ),
        ),
        (5, 5, "error", "bad-value", None, 'item 3 of `steps` takes an object, not "done"'),
    ],
    "values": [
        (2, 10, "error", "version-not-text", None, "the version 1.10 is a number, not text"),
        (3, 12, "error", "bad-value", None, '`onFailure` takes compensate or fail, not "compensat"'),
        (4, 34, "error", "bad-value", None, "`maxAttempts` is less than 1"),
        (4, 57, "error", "bad-value", None, "`backoffCoefficient` is less than 1.0"),
        (4, 70, "error", "bad-value", None, '`jitter` takes a number, not "lots"'),
        (4, 96, "error", "bad-value", None, '`nonRetryableErrors` takes a list, not "AError"'),
        (5, 27, "error", "bad-value", None, '`after` takes start, or {step: the id of a step}, not "later"'),
        (5, 53, "error", "bad-value", None, '`reach` takes {step: the id of a step}, not "pay"'),
        (5, 69, "error", "bad-value", None, "item 1 of `escalate` is more than 100"),
        (6, 26, "error", "bad-value", None, "`errors` cannot be empty"),
        (6, 47, "error", "bad-value", None, "an error handler needs either `next` or `do`"),
        (8, 35, "error", "bad-value", "pay", "'payments/charge' is no action"),
        (8, 60, "error", "bad-value", "pay", "`output` takes an object, not a list"),
        (8, 74, "error", "bad-value", "pay", '`readOnly` takes true or false, not "yes"'),
        (
            8,
            87,
            "error",
            "bad-value",
            "pay",
            "`next` takes the id of a step, or a list of {condition, next}, not 5",
        ),
        (9, 44, "error", "bad-value", "back", "give `to` (a savepoint) or `steps`, not both"),
        (10, 38, "error", "bad-value", "both", '`join` takes all, any or a number, not "most"'),
        (10, 54, "error", "bad-value", "both", "`branches` cannot be empty"),
        (11, 40, "error", "bad-value", "choose", '`next` takes a list of {condition, next}, not "pay"'),
        (
            12,
            36,
            "error",
            "bad-value",
            "nap",
            "a wait without `signal` goes on to `next` when its time is over, not to `onTimeout`",
        ),
    ],
}


DEPLOYED: Known = {
    Child("invoice", None): [],
    Child("reminder", None): [Child("dunning", None)],
    Child("dunning", None): [Child("invoice", None), Child("orders", None)],
}
"""What else is deployed, and which children it starts."""


def findings_of(text: str) -> list[Finding]:
    """Return all findings about a text, whether or not it is refused."""
    try:
        deployable = read_definition(text, "broken.yaml")
        return [*deployable.findings, *verify_children(deployable, DEPLOYED)]
    except DefinitionInvalidError as error:
        findings = error.details["findings"]
        assert isinstance(findings, list)
        return findings


def as_expected(finding: Finding) -> Expected:
    return finding.line, finding.column, finding.severity, finding.code, finding.step, finding.message


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_no_definition_is_refused_with_every_reason(name: str) -> None:
    findings = findings_of((BROKEN / f"{name}.yaml").read_text(encoding="utf-8"))
    assert [as_expected(finding) for finding in findings] == EXPECTED[name]
    assert all(finding.fix for finding in findings)


def test_fields_may_be_written_in_snake_case_and_mean_the_same() -> None:
    camel = """
name: pay
version: "1"
onFailure: fail
retryPolicies: {p: {maxAttempts: 2, initialInterval: 1s}}
steps:
  - {id: pay, type: task, action: http:x/pay, readOnly: true, serviceType: p, next: ask}
  - {id: ask, type: wait, signal: answer, for: 1h, onTimeout: done, next: done}
  - {id: done, type: succeed}
"""
    snake = re.sub(r"(?<=[a-z])[A-Z](?=[a-z]+:)", lambda letter: f"_{letter[0].lower()}", camel)
    assert snake != camel
    assert read_definition(snake).model == read_definition(camel).model


def test_the_advice_names_what_was_probably_meant() -> None:
    advice = {finding.message: finding.fix for finding in findings_of((BROKEN / "fields.yaml").read_text())}
    assert advice["a definition has no field `timout`"] == "did you mean 'timeout'?"
    assert advice["a task step has no field `nextt`"] == "did you mean 'next'?"
    assert advice["`on_timeout` and `onTimeout` are the same field"] == "keep one of the two"


def test_the_same_content_has_the_same_hash_however_it_is_laid_out() -> None:
    yaml = "name: a\nsteps:\n  # the end\n  - {type: succeed, id: done}\n"
    spaced = json.dumps({"steps": [{"id": "done", "type": "succeed"}], "name": "a"}, indent=3)
    assert read_definition(yaml).hash == read_definition(spaced).hash
    assert read_definition(yaml).hash != read_definition(yaml.replace("done", "end_")).hash


def test_a_deployed_tree_gives_the_program_that_was_verified() -> None:
    deployable = read_definition(
        "name: a\nsteps: [{id: nap, type: wait, for: 5m, next: done}, {id: done, type: succeed}]"
    )
    loaded = load_program(deployable.tree, "7", deployable.hash)
    assert (loaded.name, loaded.version, loaded.hash) == ("a", "7", deployable.hash)
    assert list(loaded.steps) == list(deployable.program("7").steps) == ["nap", "done"]


def test_a_warning_does_not_refuse() -> None:
    deployable = read_definition("name: a\nsteps: [{id: ask, type: wait, signal: answer}]")
    assert [finding.code for finding in deployable.findings] == ["wait-without-timeout"]


FIELDS = st.sampled_from(
    ["name", "version", "id", "type", "next", "condition", "join", "for", "signal", "output", "input"]
)
PARTS = st.sampled_from(
    ["steps", "branches", "deadlines", "after", "within", "reach", "step", "errorHandlers", "retry_policy"]
)
KEYS = FIELDS | PARTS
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from(
        ["a", "task", "wait", "parallel", "decision", "$.a", "$.", "5m", "input", "all", "http:x/y", "$$"]
    ),
)
ANYTHING = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
STEPS = st.lists(
    st.dictionaries(KEYS, ANYTHING, max_size=5).map(lambda step: {"id": "a", "type": "task"} | step),
    max_size=3,
)


@given(
    ANYTHING
    | st.builds(
        lambda rest, steps: rest | {"steps": steps}, st.dictionaries(KEYS, ANYTHING, max_size=4), STEPS
    )
)
def test_whatever_json_is_given_it_is_a_definition_or_is_refused_with_findings(value: object) -> None:
    text = json.dumps(value, indent=1)
    findings = findings_of(text)
    lines = text.split("\n")
    for finding in findings:
        assert finding.message
        assert finding.fix
        assert 1 <= finding.column <= len(lines[finding.line - 1])
