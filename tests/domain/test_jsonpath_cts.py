"""RFC 9535's compliance test suite, all of it, against `compile_query`; and its filters as conditions.

The suite is data from outside (github.com/jsonpath-standard/jsonpath-compliance-test-suite), not part of this
repository: TENUTO_JSONPATH_CTS names the folder that holds its `cts.json`. A CI run without it fails.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ExpressionError
from domain.expressions import compile_condition, compile_query

CASES = 703
Case = dict[str, Any]
# Valid queries whose `$[?…]` holds more than one logical expression, or a pattern that is no literal text.
NO_CONDITIONS = {
    "filter, followed by child segment that selects multiple elements",
    "filter, multiple selectors, filter and index",
    "filter, multiple selectors, filter and wildcard",
    "filter, multiple selectors, filter and slice",
    "functions, match, non-string second arg",
    "functions, search, non-string second arg",
}


def suite(environ: Mapping[str, str]) -> list[Case]:
    folder = environ.get("TENUTO_JSONPATH_CTS")
    if not folder:
        if environ.get("CI") == "true":
            pytest.fail("CI runs the JSONPath compliance suite: set TENUTO_JSONPATH_CTS to its folder")
        pytest.skip("TENUTO_JSONPATH_CTS does not name a folder with the JSONPath compliance suite")
    file = Path(folder) / "cts.json"
    if not file.is_file():
        pytest.fail(f"TENUTO_JSONPATH_CTS is set, but there is no file {file}")
    cases: list[Case] = json.loads(file.read_text("utf-8"))["tests"]
    return cases


def verdict(case: Case) -> str | None:
    """What is wrong with our answer to one case, None if nothing is."""
    try:
        query = compile_query(case["selector"])
    except ExpressionError as error:
        return None if case.get("invalid_selector") else f"refused: {error}"
    if case.get("invalid_selector"):
        return "accepted"
    found = query(case["document"])
    allowed = case["results"] if "results" in case else [case["result"]]
    return None if found in allowed else f"selected {found}"


def test_every_case_of_the_compliance_suite_is_answered_as_the_standard_says() -> None:
    cases = suite(os.environ)
    failures = {case["name"]: problem for case in cases if (problem := verdict(case))}
    assert failures == {}
    assert len(cases) == CASES


def as_condition(case: Case) -> str | None:
    """The filter of a `$[?…]` case as a condition about one member, if it asks about that member only."""
    whole = re.fullmatch(r"\$\[\?(.*)\]", case["selector"], re.DOTALL)
    if whole is None or "$" in whole[1] or re.search(r"'[^']*@|\"[^\"]*@|\[\?|,\s*\?", whole[1]):
        return None
    return whole[1].replace("@", "$")


def condition_verdict(case: Case, text: str) -> str | None:
    expected_refusal = case.get("invalid_selector") or case["name"] in NO_CONDITIONS
    try:
        holds = compile_condition(text)
    except ExpressionError as error:
        return None if expected_refusal else f"refused: {error}"
    if expected_refusal:
        return "accepted"
    document = case["document"]
    members = document.values() if isinstance(document, dict) else document
    found = [member for member in members if holds(member)]
    allowed = case["results"] if "results" in case else [case["result"]]
    return None if found in allowed else f"selected {found}"


def test_every_filter_of_the_suite_means_the_same_as_a_condition() -> None:
    conditions = [(case, text) for case in suite(os.environ) if (text := as_condition(case))]
    failures = {
        case["name"]: problem for case, text in conditions if (problem := condition_verdict(case, text))
    }
    assert failures == {}
    assert len(conditions) > 300


def test_a_ci_run_without_the_suite_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="set TENUTO_JSONPATH_CTS"):
        suite({"CI": "true"})


def test_a_folder_without_the_suite_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"there is no file .*cts\.json"):
        suite({"TENUTO_JSONPATH_CTS": str(tmp_path)})
