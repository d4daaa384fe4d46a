"""Advice: what each finding says to write instead, where that is not the advice that its code always has."""

from __future__ import annotations

import pytest

from domain.definition.verification.codes import CODES
from tests.domain.test_parse import BROKEN, findings_of

ADVICE: dict[str, list[tuple[int, int, str]]] = {
    "bare-paths": [
        (8, 21, "write `$.input.express == true`"),
        (9, 42, "write `$.pay.approved == true`"),
        (12, 46, "write `$.pay.isPaid == true`"),
    ],
    "branches-data": [
        (8, 77, "write {$coalesce: [$.a, …]} with a default"),
        (14, 76, "write {$coalesce: [$.b, …]} with a default"),
        (16, 58, "write {$coalesce: [$.a, …]} with a default"),
    ],
    "closed-input": [(11, 50, "did you mean 'amount'?")],
    "data-order": [
        (7, 19, "write {$coalesce: [$.pay.id, …]} with a default"),
        (8, 19, "write {$coalesce: [$.pay.id, …]} with a default"),
        (17, 22, "write {$coalesce: [$.pay.id, …]} with a default"),
        (17, 74, "write {$coalesce: [$.address, …]} with a default"),
        (20, 21, "ask for it first: `$.pay && …`"),
        (23, 60, "write {$coalesce: [$.pay.id, …]} with a default"),
        (23, 71, "write {$coalesce: [$.ship.id, …]} with a default"),
        (23, 82, "write {$coalesce: [$.lastError.code, …]} with a default"),
        (24, 65, "write {$coalesce: [$.pay.id, …]} with a default"),
    ],
    "duplicate-key": [(3, 8, "write the value out")],
    "durations": [(5, 32, "write 3650d or less")],
    "fields": [
        (2, 1, "did you mean 'timeout'?"),
        (4, 47, "did you mean 'next'?"),
        (5, 68, "keep one of the two"),
    ],
    "limits": [
        (2, 38, "write 1000000 or less"),
        (2, 55, "write 1.0 or less"),
        (3, 12, "write fail or compensate"),
        (5, 51, "add at least one"),
        (6, 38, "write 1 or more"),
        (6, 58, "add at least one"),
    ],
    "maps-fields": [
        (3, 31, "write a list, or a path to one"),
        (5, 61, "write 1 or more"),
        (5, 71, "add at least one"),
    ],
    "maps-of-maps": [(13, 100, "did you mean 'deadlines'?")],
    "maps": [
        (6, 24, "write $, or $[0]"),
        (16, 62, "read what the map puts out, '$.packages'"),
        (17, 81, "read it from $.undo.input or $.undo.output"),
    ],
    "misplaced-names": [(2, 35, "read it from $.input")],
    "missing": [
        (1, 1, "add `name`"),
        (2, 5, "add `action`"),
        (3, 5, "add `type`: one of task, decision, parallel, map, wait, workflow, compensate, succeed, fail"),
        (4, 41, "add `next`"),
        (5, 5, "add one of them"),
    ],
    "names": [(2, 10, "write 1 to 64 letters, digits, `.`, `_`, `+` and `-`")],
    "outcomes": [(3, 3, "did you mean 'succeeded'?"), (6, 3, "did you mean 'running'?")],
    "service-types": [(4, 78, "did you mean 'payment'?")],
    "step-types": [(3, 21, "did you mean 'task'?"), (5, 5, "write an object")],
    "task-times": [(11, 104, "did you mean 'slow'?")],
    "unknown-data": [
        (10, 21, "write $.input.amount"),
        (10, 37, "did you mean 'payment'?"),
        (10, 69, "did you mean 'paid'?"),
        (10, 95, "did you mean 'id'?"),
        (12, 22, "did you mean 'remainingMs'?"),
        (13, 24, "step 'pay' sets '$.payment'"),
        (14, 69, "write $.payload"),
        (15, 52, "write $.input.nothing if it comes with the input"),
        (15, 63, "did you mean 'answer'?"),
    ],
    "unknown-next": [(8, 11, "did you mean 'ship'?")],
    "unknown-targets": [
        (5, 35, "did you mean 'pay'?"),
        (5, 47, "did you mean 'ask'?"),
        (7, 55, "did you mean 'ask'?"),
        (7, 77, "did you mean 'refund'?"),
        (9, 78, "did you mean 'back'?"),
    ],
    "values": [
        (2, 10, 'write "1.10"'),
        (3, 12, "did you mean 'compensate'?"),
        (4, 34, "write 1 or more"),
        (4, 57, "write 1.0 or more"),
        (4, 70, "write a number"),
        (4, 96, "write a list"),
        (5, 27, "write start, or {step: the id of a step}"),
        (5, 53, "write {step: the id of a step}"),
        (5, 69, "write 100 or less"),
        (6, 26, "add at least one"),
        (6, 47, "keep only one of them"),
        (8, 35, "write http:<service>/<path> or worker:<queue>/<activity>"),
        (8, 60, "write an object"),
        (8, 74, "write true or false"),
        (8, 87, "write the id of a step, or a list of {condition, next}"),
        (9, 44, "keep only one of them"),
        (10, 38, "write all, any or a number"),
        (10, 54, "add at least one"),
        (11, 40, "write a list of {condition, next}"),
        (12, 36, "remove it"),
    ],
}
"""By the name of a broken definition: line, column, advice."""


@pytest.mark.parametrize("name", sorted(file.stem for file in BROKEN.glob("*.yaml")))
def test_the_advice_says_what_to_write_here(name: str) -> None:
    findings = findings_of((BROKEN / f"{name}.yaml").read_text(encoding="utf-8"))
    own = [one for one in findings if one.fix != CODES[one.code].fix]
    assert [(one.line, one.column, one.fix) for one in own] == ADVICE.get(name, [])
