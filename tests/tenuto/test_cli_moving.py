"""`migrate`, `fork`, `batch`: what is sent, page by page, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tenuto.fake_server import Answers
from tests.tenuto.test_cli import run, server

__all__ = ["server"]

REFUSED = {"instanceId": "0-2", "result": "refused", "problem": {"title": "No", "detail": "it has ended"}}


def page(*results: dict[str, Any], next: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    return {"results": list(results), "counts": {}, "next": next, "dryRun": dry_run, "position": 9}


def done(id: str, result: str = "done") -> dict[str, Any]:
    return {"instanceId": id, "result": result, "status": "running", "version": 7}


def test_one_is_migrated_with_a_mapping(server: Answers) -> None:
    view = {"id": "0-1", "definitionVersion": "2"}
    server.answer(view).answer(view)
    out, _ = run(
        "migrate", "0-1", "--to", "2", "--map", "a=b", "--map", "c=d", "--reason", "why", "--actor", "ann"
    )
    assert out == "migrate: 0-1 goes on in version 2.\n"
    (got,) = server.got
    assert (got.path, got.query) == ("/v1/instances/0-1/migrate", [])
    assert got.body == {"reason": "why", "toVersion": "2", "mapping": {"steps": {"a": "b", "c": "d"}}}
    assert got.headers["Tenuto-Actor"] == "ann"
    assert json.loads(run("migrate", "0-1", "--reason", "why", "--json")[0]) == view
    assert server.got[1].body == {"reason": "why"}


@pytest.mark.parametrize("can", [True, False])
def test_a_dry_run_shows_the_plan_and_its_exit_code_says_whether(server: Answers, *, can: bool) -> None:
    obstacle = {"code": "step-vanished", "message": "a#1 is open", "execution": "a#1", "step": "a"}
    plan: dict[str, Any] = {"canMigrate": can, "fromVersion": "1", "toVersion": "2", "obstacles": []}
    plan |= {"positions": {"a#1": "b"}, "undos": {"c#1": "d"}} if can else {"positions": {}, "undos": {}}
    plan["obstacles"] = [] if can else [obstacle]
    server.answer(plan).answer(plan)
    out, _ = run("migrate", "0-1", "--reason", "why", "--dry-run", code=0 if can else 1)
    assert server.got[0].query == [("dryRun", "true")]
    assert out.splitlines() == (
        ["0-1 can move from version 1 to 2.", "  a#1 stands at b", "  c#1 is undone by d"]
        if can
        else ["0-1 cannot move from version 1 to 2:", "  step-vanished: a#1 is open"]
    )
    out, _ = run("migrate", "0-1", "--reason", "why", "--dry-run", "--json", code=0 if can else 1)
    assert json.loads(out) == plan


def test_all_of_a_version_are_migrated_page_by_page(server: Answers) -> None:
    server.answer(page(done("0-1"), REFUSED, next="more")).answer(page(done("0-3"), done("0-4", "unchanged")))
    out, _ = run("migrate", "order", "--from", "1", "--to", "2", "--reason", "why", code=1)
    assert out == "0-2: it has ended\nmigrate: 2 done, 1 refused, 1 unchanged.\n"
    assert [got.path for got in server.got] == ["/v1/definitions/order/migrate"] * 2
    first = {"reason": "why", "fromVersion": "1", "toVersion": "2", "limit": 200}
    assert [got.body for got in server.got] == [first, first | {"cursor": "more"}]


def test_a_batch_sends_its_filters_and_adds_up_its_pages(server: Answers) -> None:
    for _ in range(2):
        server.answer(page(done("0-1", "possible"), next="c", dry_run=True))
        server.answer(page(done("0-2", "possible"), next="d", dry_run=True))
    asked = [
        "batch",
        "cancel",
        "--definition",
        "order",
        "--status",
        "waiting",
        "--label",
        "a=b",
        "--older-than",
        "7d",
    ]
    asked += ["--waiting-for", "signal", "--limit", "2", "--reason", "why", "--dry-run"]
    assert run(*asked)[0] == "cancel: 2 possible (dry run: nothing was stored).\n"
    filter = {"definition": "order", "status": ["waiting"], "labels": {"a": "b"}, "olderThan": "7d"}
    body = {"act": "cancel", "reason": "why", "filter": filter | {"waitingFor": ["signal"]}, "limit": 2}
    assert [got.body for got in server.got] == [body, body | {"limit": 1, "cursor": "c"}]
    assert server.got[0].query == [("dryRun", "true")]
    told = json.loads(run(*asked, "--json")[0])
    assert (told["counts"], told["next"], len(told["results"])) == ({"possible": 2}, "d", 2)


def test_a_batch_that_finds_nothing_says_so(server: Answers) -> None:
    server.answer(page())
    assert (
        run("batch", "pause", "--definition", "x", "--reason", "why")[0] == "pause: no instance was found.\n"
    )
    run("batch", "delete", "--definition", "x", "--reason", "why", code=2)
    run("batch", "pause", "--definition", "x", code=2)


@pytest.mark.parametrize("act", ["fork", "retry"])
def test_a_fork_says_what_goes_on_from_where(server: Answers, act: str) -> None:
    view = {"id": "0-9", "status": "running", "forkedFrom": {"instanceId": "0-1", "version": 7}}
    server.answer(view)
    out, _ = run(act, "0-1", "--reason", "again")
    assert "0-9 goes on from version 7 of 0-1 and is running. See: tenuto show 0-9\n" in out
    assert server.got[0].path == f"/v1/instances/0-1/{act}"


def test_a_fork_sends_its_point_and_what_is_different(server: Answers) -> None:
    server.answer({"id": "0-9"})
    asked = [
        "--from-execution",
        "ship#1",
        "--input",
        '{"n": 1}',
        "--data",
        '{"a": 2}',
        "--key",
        "k1",
        "--json",
    ]
    assert json.loads(run("fork", "0-1", "--reason", "again", *asked)[0]) == {"id": "0-9"}
    (got,) = server.got
    assert got.body == {"reason": "again", "fromExecution": "ship#1", "input": {"n": 1}, "data": {"a": 2}}
    assert got.headers["Idempotency-Key"] == "k1"
