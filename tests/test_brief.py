"""The table of the brief's rows is whole, and leads to tests and examples that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/brief.md"
ROWS = [f"S{number:03}" for number in range(1, 218)]
LONGEST = 12  # words in which a row says what it asks
ROW = re.compile(
    r"^\| (?P<id>S\d{3}) \| (?P<asks>[^|]+) \| (?P<status>\w+) \| (?P<rest>.+) \|$", re.MULTILINE
)
PLAYED = [f"S{number:03}" for number in (*range(1, 188), *range(209, 216))]
"""Rows about behaviour: a test of the rules alone, without the loop, does not show them."""
RULES_ALONE = ("tests/domain/", "tests/examples/test_order.py")
NAMED = re.compile(r"S(\d{3})(?:–S(\d{3}))?")
LINK = re.compile(r"\[(?P<place>[^\]]+)\]\((?P<target>[^)]+)\)")


class Row(NamedTuple):
    id: str
    asks: str
    status: str
    rest: str


TABLE = [Row(**found.groupdict()) for found in ROW.finditer(PAGE.read_text())]


@cache
def functions(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_row_stands_there_once_and_in_order() -> None:
    assert [row.id for row in TABLE] == ROWS


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_row_is_shown_by_what_exists_or_says_what_is_missing(row: Row) -> None:
    links = list(LINK.finditer(row.rest))
    assert row.status in ("shown", "planned")
    assert len(row.asks.split()) <= LONGEST
    assert bool(links) == (row.status == "shown")
    for link in links:
        path, _, name = link["place"].partition("::")
        assert (PAGE.parent / link["target"]).resolve() == ROOT / path
        assert (ROOT / path).is_file(), path
        if path.endswith(".py"):
            assert name in functions(ROOT / path), link["place"]
            assert name.startswith("test_") or path.startswith("examples/")


@pytest.mark.parametrize("row", [row for row in TABLE if row.id in PLAYED], ids=lambda row: row.id)
def test_a_row_about_behaviour_is_shown_by_more_than_the_rules_alone(row: Row) -> None:
    links = [link["place"] for link in LINK.finditer(row.rest)]
    assert [link for link in links if not link.startswith(RULES_ALONE)] or row.status == "planned"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_test_that_plays_a_row_names_it(row: Row) -> None:
    for link in LINK.finditer(row.rest):
        path, _, name = link["place"].partition("::")
        if path.startswith("tests/brief/"):
            assert row.id in rows_named_by(ROOT / path, name), (
                f"{link['place']} does not say that it shows {row.id}"
            )


def rows_named_by(file: Path, name: str) -> set[str]:
    """The rows in a test's docstring: `S134–S137, S139`."""
    found = next(
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )
    named = NAMED.findall(ast.get_docstring(found) or "")
    return {f"S{number:03}" for first, last in named for number in range(int(first), int(last or first) + 1)}


def test_the_page_counts_its_rows() -> None:
    shown = sum(row.status == "shown" for row in TABLE)
    text = PAGE.read_text()
    assert f"names {len(ROWS)} concrete things" in text
    assert f"{shown} are shown" in text
