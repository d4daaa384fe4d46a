"""`migrate`, `fork` and `batch`: what they ask, page by page, what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tenuto.cli.app import app
from tests.tenuto.fake_server import Answers, answering

WHY = ("--reason", "because")
REFUSED = {
    "instanceId": "0-2",
    "result": "refused",
    "problem": {
        "detail": "Instance '0-2' cannot move",
        "obstacles": [{"code": "step-vanished", "message": "pay#1 is open"}],
    },
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        monkeypatch.setenv("TENUTO_SERVER", answers.url)
        yield answers


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def page(*results: dict[str, Any], next: str | None = None) -> dict[str, Any]:
    return {"results": list(results), "counts": {}, "dryRun": False, "next": next, "position": 7}


def done(id: str) -> dict[str, Any]:
    return {"instanceId": id, "result": "done", "status": "running", "version": 9}


def test_one_instance_moves(server: Answers) -> None:
    server.answer({"definitionVersion": "2"})
    out = run("migrate", "0-1", "--to", "2", "--map", "pay=charge", *WHY)
    (got,) = server.got
    assert got.path == "/v1/instances/0-1/migrate"
    assert got.body == {"reason": "because", "toVersion": "2", "mapping": {"steps": {"pay": "charge"}}}
    assert "0-1 goes on in version 2" in out


def test_a_dry_run_that_says_no_names_every_obstacle_and_ends_with_1(server: Answers) -> None:
    server.answer(
        {
            "canMigrate": False,
            "fromVersion": "1",
            "toVersion": "2",
            "obstacles": [{"code": "step-vanished", "message": "pay#1 is open"}],
            "positions": {"pay#1": "pay"},
            "undos": {},
        }
    )
    out = run("migrate", "0-1", "--dry-run", *WHY, code=1)
    assert server.got[0].query == [("dryRun", "true")]
    assert "step-vanished: pay#1 is open" in out


def test_all_of_a_version_move_page_by_page_and_it_is_said_who_does_not(server: Answers) -> None:
    server.answer(page(done("0-1"), next="c2")).answer(page(REFUSED))
    out = run("migrate", "booking", "--from", "1", "--to", "2", *WHY, code=1)
    assert [(got.path, got.body.get("cursor")) for got in server.got] == [
        ("/v1/definitions/booking/migrate", None),
        ("/v1/definitions/booking/migrate", "c2"),
    ]
    assert "0-2: Instance '0-2' cannot move" in out
    assert "migrate: 1 done, 1 refused." in out


def test_a_batch_sends_its_filters_and_as_json_all_pages_are_one(server: Answers) -> None:
    server.answer(page(done("0-1"), next="c2")).answer(page(done("0-2")))
    filters = ("--definition", "order", "--status", "waiting", "--label", "tier=gold", "--older-than", "7d")
    out = run("batch", "cancel", *filters, "--json", *WHY)
    assert server.got[0].path == "/v1/instances/batch"
    assert server.got[0].body == {
        "act": "cancel",
        "reason": "because",
        "filter": {
            "definition": "order",
            "status": ["waiting"],
            "labels": {"tier": "gold"},
            "olderThan": "7d",
        },
        "limit": 200,
    }
    answer = json.loads(out)
    assert [one["instanceId"] for one in answer["results"]] == ["0-1", "0-2"]
    assert (answer["counts"], answer["next"]) == ({"done": 2}, None)


def test_a_batch_ends_after_as_many_as_were_asked_for(server: Answers) -> None:
    server.answer(page(done("0-1"), next="c2"))
    assert "pause: 1 done." in run("batch", "pause", "--status", "running", "--limit", "1", *WHY)
    (got,) = server.got
    assert got.body["limit"] == 1


def test_a_fork_names_the_new_instance_and_the_point(server: Answers) -> None:
    server.answer({"id": "0-9", "status": "running", "forkedFrom": {"instanceId": "0-1", "version": 7}}, 201)
    out = run("fork", "0-1", "--from-execution", "ship#1", "--data", '{"city": "Bremen"}', "--key", "k", *WHY)
    (got,) = server.got
    assert (got.path, got.headers["Idempotency-Key"]) == ("/v1/instances/0-1/fork", "k")
    assert got.body == {"reason": "because", "fromExecution": "ship#1", "data": {"city": "Bremen"}}
    assert "0-9 goes on from version 7 of 0-1" in out


def test_a_retry_of_an_ended_instance_names_the_new_one(server: Answers) -> None:
    forked = {"id": "0-9", "status": "running", "forkedFrom": {"instanceId": "0-1", "version": 7}}
    server.answer(forked, 201)
    assert "0-9 goes on from version 7 of 0-1" in run("retry", "0-1", *WHY)
