"""Verification: every finding at its place and in its words; what is sound has none, and compiles."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.definition.document import read_document
from domain.definition.model import DefinitionModel
from domain.definition.parse import read_definition
from domain.definition.program import compile_definition
from domain.definition.verification.codes import CODES, VERIFYING
from domain.definition.verify import verify
from tests.domain import test_parse
from tests.domain.test_parse import BROKEN, Expected, as_expected, findings_of

ROOT = Path(__file__).parents[2]

EXPECTED: dict[str, list[Expected]] = {
    "bare-paths": [
        (
            8,
            21,
            "warning",
            "bare-path-condition",
            "choose",
            "`$.input.express` asks whether it exists, and holds for `false` too",
        ),
        (
            9,
            42,
            "warning",
            "bare-path-condition",
            "choose",
            "`$.pay.approved` asks whether it exists, and holds for `false` too",
        ),
        (
            12,
            46,
            "warning",
            "bare-path-condition",
            "done",
            "`$.pay.isPaid` asks whether it exists, and holds for `false` too",
        ),
    ],
    "beyond-timeout": [
        (
            4,
            40,
            "warning",
            "deadline-after-timeout",
            None,
            "deadline 'shipBy' ends 2h after the end of 'pay', but the workflow times out after 1h",
        ),
        (
            6,
            56,
            "warning",
            "attempts-exceed-timeout",
            "pay",
            "3 attempts and the intervals between them may take 5403s, but the workflow times out after 1h",
        ),
        (
            7,
            96,
            "warning",
            "attempts-exceed-close",
            "look",
            "3 attempts and the intervals between them may take 5403s, but `scheduleToClose` is 50m",
        ),
        (
            8,
            74,
            "warning",
            "attempts-exceed-timeout",
            "ship",
            "one attempt may take 2h, but the workflow times out after 1h",
        ),
    ],
    "branches-data": [
        (
            8,
            77,
            "warning",
            "data-maybe-unset",
            "b",
            "`$.a` is set by step 'a', which does not come before 'b' on every way",
        ),
        (
            8,
            82,
            "error",
            "data-used-too-early",
            "b",
            "`$.c` is set by step 'c', which cannot come before 'b'",
        ),
        (
            14,
            76,
            "warning",
            "data-maybe-unset",
            "d",
            "`$.b` is set by step 'b', which does not come before 'd' on every way",
        ),
        (
            16,
            58,
            "warning",
            "data-maybe-unset",
            "done",
            "`$.a` is set by step 'a', which does not come before 'done' on every way",
        ),
    ],
    "children": [
        (3, 44, "warning", "unknown-child", "bill", "no definition 'invoise' is deployed"),
        (4, 43, "warning", "unknown-child", "old", "no definition 'invoice' is deployed in version '9'"),
        (
            8,
            57,
            "error",
            "cyclic-children",
            "remind",
            "'orders' starts 'reminder' starts 'dunning' starts 'orders': they would never end",
        ),
        (
            11,
            95,
            "error",
            "cyclic-children",
            "part",
            "'orders' starts 'orders': they would never end",
        ),
    ],
    "closed-input": [
        (11, 50, "error", "unknown-data", "big", "`inputSchema` allows no 'amuont' in `$.input`"),
        (16, 17, "error", "unknown-data", "ask", "`inputSchema` allows no 'town' in `$.input.address`"),
    ],
    "compensate": [
        (
            4,
            42,
            "warning",
            "nothing-to-undo",
            "some",
            "'look' has no `compensateWith`, so nothing of it is undone",
        ),
        (
            5,
            39,
            "warning",
            "savepoint-not-reached",
            "early",
            "'pay' sets savepoint 'later', but cannot come before 'early': everything would be undone",
        ),
    ],
    "data-order": [
        (
            7,
            19,
            "warning",
            "data-maybe-unset",
            None,
            "`$.pay.id` is set by step 'pay', which does not come before the end on every way",
        ),
        (
            8,
            19,
            "warning",
            "data-maybe-unset",
            None,
            "`$.pay.id` is set by step 'pay', which does not come before the end on every way",
        ),
        (
            10,
            72,
            "error",
            "data-used-too-early",
            "look",
            "`$.pay` is set by step 'pay', which cannot come before 'look'",
        ),
        (
            17,
            22,
            "warning",
            "data-maybe-unset",
            "ship",
            "`$.pay.id` is set by step 'pay', which does not come before 'ship' on every way",
        ),
        (
            17,
            74,
            "warning",
            "data-maybe-unset",
            "ship",
            "`$.address` is set by signal 'change', which does not come before 'ship' on every way",
        ),
        (
            20,
            21,
            "warning",
            "data-maybe-unset",
            "ship",
            "`$.pay.amount` is set by step 'pay', which does not come before 'ship' on every way",
        ),
        (
            22,
            109,
            "error",
            "data-used-too-early",
            "excuse",
            "`$.ship` is set by step 'ship', which cannot come before 'excuse'",
        ),
        (
            23,
            60,
            "warning",
            "data-maybe-unset",
            "done",
            "`$.pay.id` is set by step 'pay', which does not come before 'done' on every way",
        ),
        (
            23,
            71,
            "warning",
            "data-maybe-unset",
            "done",
            "`$.ship.id` is set by step 'ship', which does not come before 'done' on every way",
        ),
        (
            23,
            82,
            "warning",
            "data-maybe-unset",
            "done",
            (
                "`$.lastError.code` is set by a step that fails, which does not come before 'done' on "
                "every way"
            ),
        ),
        (
            24,
            65,
            "warning",
            "data-maybe-unset",
            "refund",
            "`$.pay.id` is set by step 'pay', which does not come before 'refund' on every way",
        ),
    ],
    "deadlines": [
        (
            4,
            58,
            "error",
            "deadline-out-of-reach",
            None,
            "'pay' cannot come after 'ship', so deadline 'never' is never met",
        ),
        (
            5,
            58,
            "error",
            "deadline-out-of-reach",
            None,
            "'pay' cannot come after 'pay', so deadline 'itself' is never met",
        ),
        (
            6,
            33,
            "error",
            "deadline-too-short",
            None,
            (
                "the waits between the start and the end of 'ship' take 90m at least, but deadline "
                "'short' ends after 90m"
            ),
        ),
        (
            7,
            32,
            "warning",
            "deadline-after-timeout",
            None,
            "deadline 'long' ends after 4h, but the workflow times out after 3h",
        ),
        (7, 76, "warning", "escalate-order", None, "deadline 'long' escalates at 80 % after 80 %"),
        (7, 80, "warning", "escalate-order", None, "deadline 'long' escalates at 20 % after 80 %"),
    ],
    "decisions": [
        (
            4,
            9,
            "error",
            "endless-loop",
            "gap",
            "'gap', 'both' and 'last' lead to each other without anything to wait for",
        ),
        (
            7,
            7,
            "warning",
            "decision-gap",
            "gap",
            "'gap' has no default: when no condition holds, it fails with NoTransitionError",
        ),
        (
            8,
            21,
            "warning",
            "duplicate-condition",
            "gap",
            "transition 1 has this condition already, so this one is never taken",
        ),
        (
            18,
            9,
            "warning",
            "unreachable-transition",
            "last",
            "this transition is never taken: transition 1 has no condition, so it always is",
        ),
    ],
    "duplicate-step": [
        (5, 10, "error", "duplicate-step", "done", "there is a step 'done' already, on line 4"),
    ],
    "effects-in-a-loop": [
        (
            4,
            5,
            "warning",
            "effect-without-undo",
            "send",
            "nothing undoes 'send', and 'back' after it rolls back",
        ),
    ],
    "effects-per-item": [
        (
            6,
            13,
            "warning",
            "effect-without-undo",
            "mail",
            "what 'mail' has done would stand if it fails for another item: nothing undoes it",
        ),
    ],
    "effects-repeated": [
        (
            3,
            5,
            "warning",
            "effect-without-undo",
            "send",
            "what 'send' has done would stand if it fails when it is reached again: nothing undoes it",
        ),
    ],
    "effects": [
        (6, 5, "warning", "effect-without-undo", "pay", "nothing undoes 'pay', and 'ship' after it may fail"),
        (
            7,
            5,
            "warning",
            "effect-without-undo",
            "bill",
            "nothing undoes 'bill', and 'ship' after it may fail",
        ),
        (
            11,
            14,
            "warning",
            "effect-without-undo",
            "mail",
            "nothing undoes 'mail', and 'ship' beside it may fail",
        ),
    ],
    "endless-loop": [
        (
            4,
            10,
            "error",
            "endless-loop",
            "good",
            "'good' and 'better' lead to each other without anything to wait for",
        ),
    ],
    "endless-parallel": [
        (
            3,
            9,
            "error",
            "endless-loop",
            "both",
            "'both' and 'quick' lead to each other without anything to wait for",
        ),
    ],
    "endless-schema": [
        (
            3,
            3,
            "error",
            "bad-schema",
            None,
            (
                "what this schema asks cannot be bounded: it may look at one value more than 1000 times, "
                "as its parts lead on to each other"
            ),
        ),
    ],
    "handler-enters-block": [
        (
            4,
            30,
            "error",
            "enters-block",
            None,
            "'recover' stands inside branch 'left' of 'both', and not every step of this handler does",
        ),
    ],
    "handlers": [
        (
            4,
            5,
            "warning",
            "shadowed-handler",
            None,
            "this handler is never used: handler 1 before it takes all that it could",
        ),
        (
            5,
            5,
            "warning",
            "shadowed-handler",
            None,
            "this handler is never used: each of its steps has a `fallback`, which comes first",
        ),
        (
            7,
            5,
            "warning",
            "shadowed-handler",
            None,
            "this handler is never used: handlers 1 and 4 before it take all that it could",
        ),
    ],
    "joins": [
        (
            5,
            11,
            "error",
            "join-never-fires",
            "race",
            "'race' waits for 2 of its 3 branches, but 'bad' and 'worse' cannot end well",
        ),
    ],
    "leaves-block": [
        (
            7,
            71,
            "error",
            "leaves-block",
            "a",
            "'done' stands outside branch 'left' of 'both', which 'a' is in",
        ),
        (9, 71, "error", "enters-block", "b", "'a' stands inside branch 'left' of 'both'"),
        (11, 44, "error", "enters-block", "again", "'b' stands inside branch 'right' of 'both'"),
    ],
    "maps": [
        (
            6,
            24,
            "error",
            "unknown-data",
            "pack",
            "in a map's `output`, `$` is the list of what its items put out, so `$.all` is nothing",
        ),
        (11, 38, "error", "unknown-data", "box", "`$.index` has no 'of'; it is a single value"),
        (
            11,
            54,
            "error",
            "data-used-too-early",
            "box",
            "`$.weigh.kg` is set by step 'weigh', which cannot come before 'box'",
        ),
        (
            16,
            62,
            "error",
            "data-of-an-item",
            "ship",
            "`$.box` is set by step 'box' for an item of map 'pack', and not seen outside",
        ),
        (
            16,
            91,
            "error",
            "misplaced-name",
            "ship",
            "`$.item` exists only inside a map, and in the undo of its steps",
        ),
        (
            17,
            81,
            "error",
            "data-of-an-item",
            "unbox",
            "`$.box.no` is set by step 'box' for an item of map 'pack', and not seen outside",
        ),
        (
            18,
            62,
            "error",
            "misplaced-name",
            "unweigh",
            "`$.item` exists only inside a map, and in the undo of its steps",
        ),
    ],
    "maps-blocks": [
        (7, 73, "error", "leaves-block", "box", "'done' stands outside map 'pack', which 'box' is in"),
        (8, 11, "error", "enters-block", "pack", "'label' stands inside map 'sides'"),
    ],
    "maps-flow": [
        (
            7,
            9,
            "warning",
            "effect-without-undo",
            "box",
            "nothing undoes 'box', and 'check' after it may fail",
        ),
        (
            13,
            13,
            "warning",
            "effect-without-undo",
            "mail",
            "nothing undoes 'mail', and 'no' after it may fail",
        ),
        (
            15,
            9,
            "error",
            "endless-loop",
            "idle",
            "'idle', 'look' and 2 more lead to each other without anything to wait for",
        ),
        (
            25,
            11,
            "error",
            "join-never-fires",
            "never",
            "'never' waits for its items, but its steps cannot end well",
        ),
    ],
    "maps-of-maps": [
        (
            11,
            109,
            "error",
            "data-used-too-early",
            "pick",
            "`$.open.id` is set by step 'open', which cannot come before 'pick'",
        ),
        (
            13,
            85,
            "error",
            "data-of-an-item",
            "open",
            "`$.pick` is set by step 'pick' for an item of map 'lines', and not seen outside",
        ),
        (13, 100, "error", "unknown-data", "open", "nothing sets `$.lines`"),
    ],
    "misplaced-names": [
        (2, 14, "error", "misplaced-name", None, "`$.instance` exists only once the instance runs"),
        (
            2,
            35,
            "error",
            "data-used-too-early",
            None,
            "labels are set at the start, when only `$.input` is there, not `$.tier`",
        ),
        (4, 52, "error", "misplaced-name", None, "`$.end` exists only in `results`"),
        (6, 39, "error", "misplaced-name", None, "`$.signal` exists only in `set` and `reason` of a signal"),
        (
            8,
            60,
            "error",
            "misplaced-name",
            "pay",
            "`$.undo` exists only in steps that a `compensateWith` names",
        ),
        (
            8,
            78,
            "error",
            "misplaced-name",
            "pay",
            "`$.index` exists only inside a map, and in the undo of its steps",
        ),
        (
            9,
            86,
            "error",
            "unknown-data",
            "refund",
            "`$.undo` has no 'who'; it has step, execution, input, output, reason",
        ),
    ],
    "no-end": [
        (4, 10, "error", "no-end", "poll", "'poll' and 'pause' lead to each other and to no end"),
    ],
    "outcomes": [
        (3, 3, "error", "unknown-outcome", None, "there is no outcome 'success'"),
        (6, 3, "error", "unknown-status", None, "'runing' is neither a status nor an outcome"),
    ],
    "schemas": [
        (
            5,
            20,
            "error",
            "bad-schema",
            None,
            (
                'this is no JSON Schema: "integr" is not valid under any of the schemas listed in the '
                "'anyOf' keyword"
            ),
        ),
        (
            9,
            43,
            "error",
            "bad-schema",
            None,
            (
                "this is no JSON Schema: a schema may only refer to itself, not to "
                "https://example.org/address.json"
            ),
        ),
        (10, 60, "error", "bad-schema", None, 'this is no JSON Schema: "(" is not a "regex"'),
    ],
    "overlaps": [
        (
            8,
            21,
            "warning",
            "covered-condition",
            "size",
            "the condition of transition 1 holds whenever this one does, so this one is never taken",
        ),
        (
            9,
            21,
            "warning",
            "covered-condition",
            "size",
            "the condition of transition 1 holds whenever this one does, so this one is never taken",
        ),
        (
            12,
            21,
            "warning",
            "covered-condition",
            "size",
            "the condition of transition 4 holds whenever this one does, so this one is never taken",
        ),
        (
            18,
            21,
            "warning",
            "covered-condition",
            "other",
            "the condition of transition 1 holds whenever this one does, so this one is never taken",
        ),
        (
            21,
            21,
            "warning",
            "covered-condition",
            "other",
            "the condition of transition 1 holds whenever this one does, so this one is never taken",
        ),
    ],
    "service-types": [
        (
            4,
            78,
            "warning",
            "unknown-service-type",
            "pay",
            "no retry policy is given for service type 'payments'; there are 'payment'",
        ),
    ],
    "task-times": [
        (
            4,
            44,
            "warning",
            "interval-above-max",
            None,
            "`initialInterval` (10m) is longer than `maxInterval` (5m), which always applies",
        ),
        (
            6,
            90,
            "error",
            "close-before-timeout",
            "a",
            "`scheduleToClose` (20s) is shorter than `timeout` (30s)",
        ),
        (7, 84, "error", "heartbeat-too-long", "b", "`heartbeat` (30s) is not shorter than `timeout` (30s)"),
        (7, 101, "warning", "never-fires", "b", "`alertAfter` (1m) is not shorter than `timeout` (30s)"),
        (
            8,
            90,
            "warning",
            "attempts-exceed-close",
            "c",
            "3 attempts and the intervals between them may take 33s, but `scheduleToClose` is 20s",
        ),
        (
            8,
            112,
            "warning",
            "never-fires",
            "c",
            "`scheduleToStart` (20s) is not shorter than `scheduleToClose` (20s)",
        ),
        (
            9,
            87,
            "warning",
            "attempts-exceed-timeout",
            "d",
            ("10 attempts and the intervals between them may take 65m, but the workflow times out after 1h"),
        ),
        (10, 91, "error", "heartbeat-too-long", "e", "`heartbeat` (15m) is not shorter than `timeout` (10m)"),
        (10, 106, "error", "bad-priority", "e", "there is no priority 'urgent'"),
        (11, 68, "error", "bad-duration", "f", "this is always the same value, and it is no duration"),
        (
            11,
            104,
            "warning",
            "unknown-service-type",
            "f",
            "no retry policy is given for service type 'slo'; there are 'slow'",
        ),
    ],
    "timeout-too-short": [
        (
            2,
            10,
            "error",
            "timeout-too-short",
            None,
            "the waits on the shortest way to an end take 30h, but the workflow times out after 1d",
        ),
    ],
    "undo-steps": [
        (3, 67, "error", "undoes-itself", "first", "'first' is named as its own undo"),
        (4, 69, "error", "undo-not-a-task", "second", "'done' undoes 'second', but is no task"),
        (
            10,
            5,
            "error",
            "undo-step-goes-on",
            "unthird",
            "'unthird' undoes 'third'; while undoing, `next` has no effect",
        ),
        (
            11,
            5,
            "error",
            "undo-step-goes-on",
            "unthird",
            "'unthird' undoes 'third'; while undoing, `fallback` has no effect",
        ),
        (
            12,
            5,
            "error",
            "undo-step-goes-on",
            "unthird",
            "'unthird' undoes 'third'; while undoing, `compensateWith` has no effect",
        ),
        (
            13,
            5,
            "error",
            "undo-step-goes-on",
            "unthird",
            "'unthird' undoes 'third'; while undoing, `onMaxRetriesExceeded` has no effect",
        ),
        (
            14,
            5,
            "error",
            "undo-step-goes-on",
            "unthird",
            "'unthird' undoes 'third'; while undoing, `savepoint` has no effect",
        ),
        (
            15,
            10,
            "warning",
            "undo-step-reached",
            "unfourth",
            "'unfourth' undoes 'fourth' and 'unthird', but the normal flow comes here too",
        ),
    ],
    "unknown-data": [
        (10, 21, "error", "unknown-data", "pay", "nothing sets `$.amount`"),
        (10, 37, "error", "unknown-data", "pay", "nothing sets `$.pamyent`"),
        (10, 69, "error", "unknown-data", "pay", "there is no deadline 'payed'"),
        (
            10,
            95,
            "error",
            "unknown-data",
            "pay",
            "`$.instance` has no 'uuid'; it has id, correlationId, startedAt",
        ),
        (
            12,
            22,
            "error",
            "unknown-data",
            "pay",
            "`$.deadlines.paid` has no 'remaining'; it has at, remainingMs",
        ),
        (13, 24, "error", "unknown-data", "pay", "nothing sets `$.pay`"),
        (
            14,
            69,
            "error",
            "unknown-data",
            "ask",
            "in a wait's `output`, `$` is {payload}, so `$.answer` is nothing",
        ),
        (15, 52, "error", "unknown-data", "done", "nothing sets `$.nothing`"),
        (15, 63, "error", "unknown-data", "done", "nothing sets `$.anser`"),
    ],
    "unknown-next": [
        (8, 11, "error", "unknown-step", "pay", "there is no step 'shp'"),
    ],
    "unknown-targets": [
        (3, 24, "error", "unknown-step", None, "there is no step 'start_'"),
        (3, 59, "error", "unknown-step", None, "there is no step 'finish'"),
        (5, 35, "error", "unknown-step", None, "there is no step 'pai'"),
        (5, 47, "error", "unknown-step", None, "there is no step 'aks'"),
        (7, 55, "error", "unknown-step", "pay", "there is no step 'askk'"),
        (7, 77, "error", "unknown-step", "pay", "there is no step 'refnd'"),
        (8, 63, "error", "unknown-step", "ask", "there is no step 'late'"),
        (9, 78, "error", "unknown-step", "choose", "there is no step 'bakc'"),
        (10, 38, "error", "unknown-savepoint", "back", "no step sets a savepoint 'payed'"),
        (11, 48, "error", "unknown-step", "back2", "there is no step 'nobody'"),
    ],
    "unreachable": [
        (
            7,
            10,
            "warning",
            "unreachable-step",
            "ship",
            "no way leads to 'ship', nor to 'inform' and 'archive', which follow it",
        ),
        (8, 10, "warning", "unreachable-step", "lonely", "no way leads to 'lonely'"),
        (
            9,
            10,
            "warning",
            "unreachable-step",
            "round",
            "no way leads to 'round', nor to 'again', which follows it",
        ),
    ],
    "waits": [
        (
            3,
            3,
            "warning",
            "unused-signal",
            None,
            "signal 'forgotten' is kept, but no step waits for it and it sets nothing",
        ),
        (
            6,
            37,
            "warning",
            "wait-without-timeout",
            "hello",
            "'hello' waits for ever if signal 'hello' never comes",
        ),
        (
            7,
            55,
            "error",
            "on-timeout-without-for",
            "again",
            "'again' has `onTimeout`, but no `for`: its time never runs out",
        ),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_broken_is_found_at_its_place(name: str) -> None:
    findings = findings_of((BROKEN / f"{name}.yaml").read_text(encoding="utf-8"))
    assert [as_expected(finding) for finding in findings] == EXPECTED[name]
    assert all(finding.severity == CODES[finding.code].severity and finding.fix for finding in findings)


def test_every_broken_definition_has_its_expectation() -> None:
    expected = {**EXPECTED, **test_parse.EXPECTED}
    assert expected.keys() == {file.stem for file in BROKEN.glob("*.yaml")}
    assert not EXPECTED.keys() & test_parse.EXPECTED.keys()


def test_every_finding_of_verification_is_shown_by_a_broken_definition() -> None:
    everything = {**EXPECTED, **test_parse.EXPECTED}
    shown = {code for rows in everything.values() for _, _, _, code, *_ in rows}
    assert VERIFYING.keys() <= shown


def test_the_order_example_has_no_findings() -> None:
    text = (ROOT / "examples" / "order" / "order.yaml").read_text(encoding="utf-8")
    assert read_definition(text, "order.yaml").findings == []


@pytest.mark.parametrize("name", ["deliveries.yaml", "packing.yaml"])
def test_a_sound_definition_has_no_findings(name: str) -> None:
    text = Path(__file__).with_name("sound").joinpath(name).read_text(encoding="utf-8")
    assert read_definition(text, name).findings == []


def test_the_reference_lists_every_finding_in_its_words() -> None:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (error|warning) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(code, kind.severity, kind.meaning, kind.fix) for code, kind in CODES.items()]


def test_findings_come_in_the_order_of_the_document() -> None:
    for name, findings in EXPECTED.items():
        places = [(line, column) for line, column, *_ in findings]
        assert places == sorted(places), name


def test_a_finding_stands_where_snake_case_put_it() -> None:
    ask = "{id: ask, type: wait, signal: x, on_timeout: done, next: done}"
    text = f"name: a\nsteps:\n  - {ask}\n  - {{id: done, type: succeed}}"
    (finding,) = findings_of(text)
    assert (finding.code, finding.line, finding.column) == ("on-timeout-without-for", 3, 50)


def test_what_all_branches_that_a_join_waits_for_bring_is_there() -> None:
    def reads(join: object, name: str) -> list[str]:
        branches = {
            block: [{"id": block, "type": "task", "action": "http:x/y", "readOnly": True, "output": output}]
            for block, output in {
                "a": {"one": "$", "two": "$", "three": "$"},
                "b": {"two": "$", "three": "$"},
                "c": {"three": "$"},
            }.items()
        }
        steps = [
            {"id": "all", "type": "parallel", "join": join, "branches": branches, "next": "done"},
            {"id": "done", "type": "succeed", "result": f"$.{name}"},
        ]
        return [finding.code for finding in findings_of(json.dumps({"name": "a", "steps": steps}))]

    unset = ["data-maybe-unset"]
    assert [reads("all", name) for name in ("one", "two", "three")] == [[], [], []]
    assert [reads(2, name) for name in ("one", "two", "three")] == [unset, [], []]
    assert [reads("any", name) for name in ("one", "two", "three")] == [unset, unset, []]


def test_an_item_does_not_see_what_an_earlier_visit_of_its_map_set() -> None:
    def task(id: str, **fields: Any) -> dict[str, Any]:
        return {"id": id, "type": "task", "action": "http:x/y", "readOnly": True, **fields}

    inner = [task("a", input="$.b", next="b"), task("b", input="$.a")]
    steps = [
        {"id": "m", "type": "map", "items": "$.input.list", "steps": inner, "next": "d"},
        {"id": "d", "type": "decision", "next": [{"condition": "$.input.n > 1", "next": "m"}, {"next": "e"}]},
        task("e", input={"seen": "$.m"}),
    ]
    (finding,) = findings_of(json.dumps({"name": "a", "steps": steps}))
    assert (finding.code, finding.step) == ("data-used-too-early", "a")


def linear(length: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {
            "id": f"s{number}",
            "type": "task",
            "action": "http:x/y",
            "input": {"before": f"$.s{number - 1}.x" if number else "$.input.x"},
            "compensateWith": "unwind",
            "timeout": "5s",
            "next": f"s{number + 1}",
        }
        for number in range(length)
    ]
    unwind = {"id": "unwind", "type": "task", "action": "http:x/z", "input": "$.undo.input"}
    return {
        "name": "long",
        "timeout": "30d",
        "steps": [*steps, {"id": f"s{length}", "type": "succeed"}, unwind],
    }


def test_a_thousand_steps_are_verified_in_less_than_a_second() -> None:
    document = read_document(json.dumps(linear(1000)))
    model = DefinitionModel.model_validate(document.tree)
    begin = time.perf_counter()
    assert verify(model, document) == []
    assert time.perf_counter() - begin < 1  # 0.1 s on the machine it was written on.


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
PATHS = st.sampled_from(
    ["$.a", "$.b.x", "$.out", "$.input.x", "$.set", "$.lastError.step", "$.deadlines.soon.at", "$.undo.input"]
)
LITERALS = st.sampled_from([1, "text", {"k": [True]}])
TEMPLATES = st.recursive(
    PATHS | LITERALS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$coalesce": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries(
            {"$if": st.tuples(st.sampled_from(["$.a.ok", "$.b.x == 1"]), inner, inner).map(list)}
        ),
        st.dictionaries(NAMES, inner, max_size=2),
        st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)
CONDITIONS = st.sampled_from(
    ["$.a == 1", "$.a != 1", "$.a.approved", "!$.a.approved", "$.out && $.out.x > 1", "$.input.x < 3"]
)
DURATIONS = st.sampled_from(["0s", "10s", "5m", "2h", {"$ms": "1m"}, "$.input.x", {"$max": [1, "$.a"]}])


def transitions(targets: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    way = st.fixed_dictionaries({"next": targets}, optional={"condition": CONDITIONS})
    return st.lists(way, min_size=1, max_size=3)


def kinds(targets: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """A step of any type, without its id."""
    onwards = targets | transitions(targets)
    task = st.fixed_dictionaries(
        {"type": st.just("task"), "action": st.just("http:x/y")},
        optional={
            "input": TEMPLATES,
            "output": st.just({"out": "$"}),
            "timeout": DURATIONS,
            "scheduleToClose": DURATIONS,
            "heartbeat": st.just("10s"),
            "fallback": targets,
            "compensateWith": targets,
            "savepoint": st.just("here"),
            "serviceType": st.sampled_from(["p", "q"]),
            "readOnly": st.booleans(),
            "next": onwards,
        },
    )
    wait = st.fixed_dictionaries(
        {"type": st.just("wait"), "signal": st.sampled_from(["s", "t"])},
        optional={
            "for": DURATIONS,
            "onTimeout": targets,
            "next": onwards,
            "output": st.just({"out": "$.payload"}),
        },
    )
    nap = st.fixed_dictionaries({"type": st.just("wait"), "for": DURATIONS}, optional={"next": onwards})
    choice = st.fixed_dictionaries({"type": st.just("decision"), "next": transitions(targets)})
    back = st.fixed_dictionaries(
        {"type": st.just("compensate")},
        optional={"to": st.just("here")} | ({"next": onwards} if depth else {}),
    )
    end = st.fixed_dictionaries({"type": st.just("succeed")}, optional={"result": TEMPLATES})
    failure = st.fixed_dictionaries(
        {
            "type": st.just("fail"),
            "error": st.fixed_dictionaries({"type": st.sampled_from(["AError", "$.a"])}),
        }
    )
    simple = st.one_of(task, wait, nap, choice, back, end, failure)
    if not depth:
        return simple
    both = st.fixed_dictionaries(
        {
            "type": st.just("parallel"),
            "branches": st.fixed_dictionaries(
                {"left": block("l", depth - 1), "right": block("r", depth - 1)}
            ),
        },
        optional={"join": st.sampled_from(["all", "any", 1, 2]), "next": onwards},
    )
    return simple | both


def block(prefix: str, depth: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Steps that mostly lead to each other, now and then to one elsewhere, to itself or to nowhere."""
    ids = [f"{prefix}{number}" for number in range(4)]
    targets = st.sampled_from([*ids * 3, "a", "a0", "l0"])
    return st.lists(kinds(targets, depth), min_size=2, max_size=4).map(
        lambda steps: [{"id": name} | step for name, step in zip(ids, steps, strict=False)]
    )


DEFINITIONS = st.fixed_dictionaries(
    {"name": st.just("random"), "steps": block("a", 1)},
    optional={
        "timeout": st.sampled_from(["1m", "1h"]),
        "onFailure": st.sampled_from(["compensate", "fail"]),
        "deadlines": st.fixed_dictionaries(
            {
                "soon": st.fixed_dictionaries(
                    {
                        "after": st.just("start")
                        | st.sampled_from(["a0", "a1", "l0"]).map(lambda step: {"step": step}),
                        "within": st.just("10m"),
                        "reach": st.sampled_from(["a0", "a1", "r0"]).map(lambda step: {"step": step}),
                    }
                )
            }
        ),
        "signals": st.fixed_dictionaries({"s": st.just({"set": {"set": "$.signal.payload"}})}),
        "results": st.fixed_dictionaries({}, optional={"succeeded": TEMPLATES, "cancelled": TEMPLATES}),
        "errorHandlers": st.lists(
            st.fixed_dictionaries(
                {"errors": st.sampled_from([["*"], ["AError"]]), "next": st.sampled_from(["a0", "a1", "l0"])}
            ),
            max_size=2,
        ),
    },
)


@settings(max_examples=200, deadline=None)
@given(DEFINITIONS)
def test_verification_never_raises_and_what_has_no_errors_compiles(definition: dict[str, Any]) -> None:
    document = read_document(json.dumps(definition))
    try:
        model = DefinitionModel.model_validate(document.tree)
    except ValueError:
        return  # A rule of the model: refused, with findings, by the tests of parse.py.
    findings = verify(model, document)
    assert findings == verify(model, document)
    assert findings == sorted(findings, key=lambda finding: (finding.line, finding.column))
    if all(finding.severity == "warning" for finding in findings):
        program = compile_definition(model, "1", "")
        targets = {target for step in program.steps.values() for target in step.successors()}
        assert targets <= program.steps.keys()
