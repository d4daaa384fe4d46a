"""Verification at the edges of its rules: what is just allowed, what is just not, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from domain.definition.program import schema_check
from domain.errors import SchemaMismatchError
from tests.domain.test_parse import findings_of

Row = tuple[int, int, str, str]
"""Line, column, code, message."""


def said(text: str) -> list[Row]:
    return [(one.line, one.column, one.code, one.message) for one in findings_of(text)]


def task(id: str, more: str) -> str:
    return f"  - {{id: {id}, type: task, action: http:x/y, readOnly: true, {more}}}\n"


# Fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "row"),
    [
        (
            "{id: ask, type: wait, for: 5m, wait: 6m, next: done}",
            (3, 36, "unknown-field", "a wait step has no field `wait`"),
        ),
        (
            "{id: ask, type: task, action: http:x/y, readOnly: true, task: {a: 1}, next: done}",
            (3, 61, "unknown-field", "a task step has no field `task`"),
        ),
    ],
)
def test_a_field_that_is_called_like_the_type_of_its_step_is_an_unknown_field(step: str, row: Row) -> None:
    assert said(f"name: a\nsteps:\n  - {step}\n  - {{id: done, type: succeed}}\n") == [row]


def test_what_misses_or_has_a_field_too_many_is_called_by_its_name() -> None:
    text = """
name: a
deadlines: {x: {after: {stepp: a}, within: 1h, reach: {step: a, more: 1}}}
retryPolicies: {p: {maxAttempt: 1}}
signals: {s: {doo: set}}
errorHandlers: [{error: x}]
steps:
  - {id: a, type: task, action: http:x/y, readOnly: true, next: [{conditionn: $.a, next: b}, {next: f}]}
  - {id: b, type: succeed}
  - {id: f, type: fail, error: {typ: x}}
""".lstrip()
    assert [(one.line, one.message, one.fix) for one in findings_of(text)] == [
        (2, "`after` needs `step`", "add `step`"),
        (2, "`after` has no field `stepp`", "did you mean 'step'?"),
        (2, "`reach` has no field `more`", "remove it, or correct its name"),
        (3, "a retry policy has no field `maxAttempt`", "did you mean 'maxAttempts'?"),
        (4, "a signal has no field `doo`", "did you mean 'do'?"),
        (5, "an error handler needs `errors`", "add `errors`"),
        (5, "an error handler has no field `error`", "did you mean 'errors'?"),
        (7, "a transition has no field `conditionn`", "did you mean 'condition'?"),
        (9, "`error` needs `type`", "add `type`"),
        (9, "`error` has no field `typ`", "did you mean 'type'?"),
    ]


def test_a_list_that_is_too_long_says_how_long_it_may_be() -> None:
    def labelled(count: int) -> list[Row]:
        labels = ", ".join(f"l{number}: a" for number in range(count))
        return said(
            f"name: a\nsteps:\n  - {{id: d, type: workflow, definition: invoice, labels: {{{labels}}}}}\n"
        )

    assert labelled(100) == []
    assert labelled(101) == [(3, 58, "bad-value", "`labels` has more than 100 items")]


@pytest.mark.parametrize(
    ("text", "row", "fix"),
    [
        (
            'errorHandlers: [{errors: ["*"]}]\nsteps: [{id: z, type: succeed}]',
            (2, 17, "missing-field", "an error handler needs either `next` or `do`"),
            "add one of them",
        ),
        (
            "steps: [{id: w, type: wait, next: z}, {id: z, type: succeed}]",
            (2, 9, "missing-field", "a wait needs `signal`, `for`, or both"),
            "add one of them",
        ),
    ],
)
def test_what_needs_one_of_several_fields_says_which(text: str, row: Row, fix: str) -> None:
    (found,) = findings_of(f"name: a\n{text}\n")
    assert (found.line, found.column, found.code, found.message) == row
    assert found.fix == fix


# Choices ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        ("$.input.n == 1", "!($.input.n == 1)", False),
        ("!($.input.n == 1)", "$.input.n == 1", False),
        ("$.input.n == 1", "$.input.n != 1", False),
        ("$.input.n == 1", "!($.input.n == 2)", True),
        ("$.input.n == 1", "$.input.n != 2", True),
        ("$.input.n == 1", "$.input.m != 1", True),
        ("$.input.n < 1", "$.input.n >= 1", True),
        ("!($.input.n == 1)", "!($.input.n == 2)", True),
    ],
)
def test_only_a_condition_and_its_opposite_leave_no_gap(one: str, other: str, *, gap: bool) -> None:
    ways = f"[{{condition: '{one}', next: d}}, {{condition: '{other}', next: d}}]"
    found = said(
        f"name: a\nsteps:\n  - {{id: c, type: decision, next: {ways}}}\n  - {{id: d, type: succeed}}\n"
    )
    row = (
        3,
        35,
        "decision-gap",
        "'c' has no default: when no condition holds, it fails with NoTransitionError",
    )
    assert found == ([row] if gap else [])


NO_WAY = (6, 10, "unreachable-step", "no way leads to 'h'")


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ("signal: s, for: 1h", True),
        ("signal: s, for: 1h, onTimeout: z", False),
        ("signal: s", False),
        ("for: 1h", False),
    ],
)
def test_a_wait_fails_only_when_its_time_runs_out_and_nothing_is_said_for_it(
    fields: str, *, fails: bool
) -> None:
    found = said(
        'name: a\nerrorHandlers: [{errors: ["*"], next: h}]\nsteps:\n'
        f"  - {{id: w, type: wait, {fields}, next: z}}\n"
        "  - {id: z, type: succeed}\n  - {id: h, type: succeed}\n"
    )
    assert (NO_WAY not in found) is fails


# Data ---------------------------------------------------------------------------------


def setting(*steps: str) -> list[Row]:
    """The findings of a definition in which each of the steps may set `$.out`, and the last one reads it."""
    ways = "".join(f"{{condition: $.input.n == {n}, next: {step}}}, " for n, step in enumerate(steps))
    return said(
        f"name: a\nsteps:\n  - {{id: c, type: decision, next: [{ways}{{next: z}}]}}\n"
        + "".join(task(step, "output: {out: $}, next: z") for step in steps)
        + "  - {id: z, type: succeed, result: $.out}\n"
    )


@pytest.mark.parametrize(
    ("steps", "who"),
    [
        ("v", "step 'v'"),
        ("vw", "step 'v' and step 'w'"),
        ("vwx", "step 'v' and 2 more"),
    ],
)
def test_data_that_may_be_unset_names_who_sets_it(steps: str, who: str) -> None:
    message = f"`$.out` is set by {who}, which does not come before 'z' on every way"
    assert setting(*steps) == [(4 + len(steps), 36, "data-maybe-unset", message)]


def test_the_conditions_after_a_parallel_step_see_what_its_branches_have_set() -> None:
    text = """
name: a
steps:
  - id: all
    type: parallel
    join: JOIN
    branches:
      one: [{id: x, type: task, action: http:x/y, readOnly: true}]
      two: [{id: y, type: task, action: http:x/y, readOnly: true}]
    next: [{condition: $.x == 1, next: z}, {condition: $.later == 1, next: z}, {next: w}]
  - {id: w, type: task, action: http:x/y, readOnly: true, output: {later: $}, next: z}
  - {id: z, type: succeed}
""".lstrip()
    early = (
        9,
        56,
        "data-used-too-early",
        "`$.later` is set by step 'w', which cannot come before 'all'",
    )
    unset = (
        9,
        24,
        "data-maybe-unset",
        "`$.x` is set by step 'x', which does not come before 'all' on every way",
    )
    assert said(text.replace("JOIN", "any")) == [unset, early]
    assert said(text.replace("JOIN", "all")) == [early]


def test_the_reason_and_the_data_of_a_signal_are_looked_at_where_they_stand() -> None:
    text = """
name: a
signals: {s: {set: {k: $.input.x}, reason: $.nope.x}, t: {do: cancel, reason: $.w.x}}
steps:
  - {id: w, type: task, action: http:x/y, readOnly: true, next: z}
  - {id: z, type: succeed}
""".lstrip()
    assert said(text) == [(2, 44, "unknown-data", "nothing sets `$.nope`")]


def test_what_a_default_is_given_for_may_be_unset_even_inside_a_choice() -> None:
    choice = '{$if: ["$.k == 1", $.k, 2]}'
    text = (
        "name: a\nsignals: {s: {set: {k: $.input.x}}}\nsteps:\n"
        + task("w", "input: {a: VALUE}, next: z")
        + "  - {id: z, type: succeed}\n"
    )
    message = "`$.k` is set by signal 's', which does not come before 'w' on every way"
    unset = [(4, column, "data-maybe-unset", message) for column in (77, 89)]
    assert said(text.replace("VALUE", choice)) == unset
    assert said(text.replace("VALUE", f"{{$coalesce: [{choice}, 1]}}")) == []


# Times --------------------------------------------------------------------------------

EXCEEDS = "attempts-exceed-timeout"


def timed(more: str, timeout: str = "1h") -> list[Row]:
    return said(f"name: a\ntimeout: {timeout}\nsteps:\n" + task("t", more))


def test_attempts_may_take_exactly_as_long_as_the_workflow() -> None:
    policy = "retryPolicy: {maxAttempts: 2, initialInterval: 10m, maxInterval: 10m}"
    assert timed(f"timeout: 25m, {policy}") == []
    assert timed(f"timeout: 1501s, {policy}") == [
        (
            4,
            68,
            EXCEEDS,
            "2 attempts and the intervals between them may take 3602s, but the workflow times out after 1h",
        )
    ]
    assert timed("timeout: 1h, retryPolicy: {maxAttempts: 1}") == []
    assert timed("timeout: 61m, retryPolicy: {maxAttempts: 1}") == [
        (4, 68, EXCEEDS, "one attempt may take 61m, but the workflow times out after 1h")
    ]


def test_a_deadline_may_end_with_the_workflow() -> None:
    def ends(within: str, after: str) -> list[Row]:
        deadline = f"{{after: {after}, within: {within}, reach: {{step: t}}}}"
        return said(
            f"name: a\ntimeout: 1h\ndeadlines: {{x: {deadline}}}\nsteps:\n" + task("t", "timeout: 1m")
        )

    assert ends("1h", "start") == []
    assert ends("3601s", "start") == [
        (
            3,
            39,
            "deadline-after-timeout",
            "deadline 'x' ends after 3601s, but the workflow times out after 1h",
        )
    ]


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ("timeout: 10s, heartbeat: 9999ms", None),
        (
            "timeout: 10s, heartbeat: 10s",
            (3, 84, "heartbeat-too-long", "`heartbeat` (10s) is not shorter than `timeout` (10s)"),
        ),
        ("timeout: 10s, alertAfter: 9999ms", None),
        (
            "timeout: 10s, alertAfter: 10s",
            (3, 85, "never-fires", "`alertAfter` (10s) is not shorter than `timeout` (10s)"),
        ),
        ("scheduleToClose: 1m, scheduleToStart: 59s", None),
        (
            "scheduleToClose: 1m, scheduleToStart: 1m",
            (3, 97, "never-fires", "`scheduleToStart` (1m) is not shorter than `scheduleToClose` (1m)"),
        ),
        ("timeout: 10s, scheduleToClose: 10s, retryPolicy: {maxAttempts: 1}", None),
        (
            "retryPolicy: {initialInterval: 5m, maxInterval: 1m}",
            (
                3,
                90,
                "interval-above-max",
                "`initialInterval` (5m) is longer than `maxInterval` (1m), which always applies",
            ),
        ),
        ("retryPolicy: {initialInterval: 1m, maxInterval: 1m}", None),
        ("priority: low", None),
        ("priority: $.input.how", None),
        ("priority: lo", (3, 69, "bad-priority", "there is no priority 'lo'")),
    ],
)
def test_a_limit_is_told_at_its_field_when_it_cannot_hold(fields: str, row: Row | None) -> None:
    assert said("name: a\nsteps:\n" + task("t", fields)) == ([] if row is None else [row])


def test_the_times_of_a_child_are_looked_at_like_those_of_a_task() -> None:
    child = (
        "{id: c, type: workflow, definition: invoice, priority: hgh, timeout: 61m,"
        " retryPolicy: {maxAttempts: 1, initialInterval: 5m, maxInterval: 1m}}"
    )
    found = findings_of(f"name: a\ntimeout: 1h\nsteps:\n  - {child}\n")
    assert [(one.line, one.column, one.code, one.message) for one in found] == [
        (4, 60, "bad-priority", "there is no priority 'hgh'"),
        (4, 74, EXCEEDS, "one attempt may take 61m, but the workflow times out after 1h"),
        (
            4,
            126,
            "interval-above-max",
            "`initialInterval` (5m) is longer than `maxInterval` (1m), which always applies",
        ),
    ]
    assert found[0].fix == "did you mean 'high'?"


def test_the_waits_must_leave_the_workflow_some_time() -> None:
    def waits(time: str) -> list[Row]:
        return said(
            f"name: a\ntimeout: 10m\nsteps:\n  - {{id: a, type: wait, for: {time}, next: b}}\n"
            "  - {id: b, type: wait, signal: go, for: 1h, next: c}\n  - {id: c, type: succeed}\n"
        )

    message = "the waits on the shortest way to an end take 10m, but the workflow times out after 10m"
    assert waits("599s") == []
    assert waits("10m") == [(2, 10, "timeout-too-short", message)]


# Schemas ------------------------------------------------------------------------------


def test_a_schema_is_refused_at_its_place_whosever_it_is() -> None:
    text = """
name: a
inputSchema: {properties: {a: {$ref: "#/nope"}}}
signals:
  one: {do: cancel, schema: {type: nothing}}
  two: {do: cancel, schema: {$ref: "#/x"}}
steps:
  - {id: done, type: succeed}
""".lstrip()
    nothing = "\"nothing\" is not valid under any of the schemas listed in the 'anyOf' keyword"
    assert said(text) == [
        (line, column, "bad-schema", f"this is no JSON Schema: {problem}")
        for line, column, problem in [
            (2, 14, "Pointer '/nope' does not exist"),
            (4, 36, nothing),
            (5, 29, "Pointer '/x' does not exist"),
        ]
    ]


def test_a_schema_that_refers_elsewhere_fetches_nothing() -> None:
    assert schema_check("a", None) is None
    with pytest.raises(ValueError, match=r"only refer to itself, not to https://example\.org/a\.json"):
        schema_check("a", {"$ref": "https://example.org/a.json"})


@pytest.mark.parametrize(
    ("input", "path"),
    [({"lines": [{"n": "x"}]}, "$.lines[0].n"), ({"lines": 1}, "$.lines"), ([], "$")],
)
def test_what_does_not_match_a_schema_is_refused_with_its_place(input: Any, path: str) -> None:
    line = {"type": "object", "properties": {"n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"lines": {"type": "array", "items": line}}}
    check = schema_check("order", schema)
    assert check is not None
    check({"lines": [{"n": 1}]}, "the input")
    with pytest.raises(SchemaMismatchError) as refused:
        check(input, "the input")
    details = refused.value.details
    assert (details["subject"], details["definition"], details["path"]) == ("the input", "order", path)
    assert "is not of type" in str(details["problem"])
