"""Commands and client calls about many instances: what they ask, and what they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.routes import examples
from tenuto.client import Client
from tests.tenuto.fake_server import Answers, answering
from tests.tenuto.test_cli import run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        monkeypatch.setenv("TENUTO_SERVER", answers.url)
        yield answers


PAGES: list[tuple[list[str], str, dict[str, Any], list[tuple[str, str]], str]] = [
    (["alerts", "--state", "open"], "alerts", examples.ALERT, [("state", "open")], "charge#1/failed"),
    (["waits", "--signal", "approval"], "waits", examples.WAIT, [("signal", "approval")], "order-17"),
    (
        ["deadlines", "--due-within", "1h", "--definition", "order"],
        "deadlines",
        examples.DEADLINE,
        [("dueWithin", "1h"), ("definition", "order")],
        "delivered",
    ),
]


@pytest.mark.parametrize(("arguments", "kind", "item", "query", "shown"), PAGES, ids=lambda it: str(it)[:20])
def test_a_list_is_a_table_for_people_and_the_wire_for_programs(
    arguments: list[str],
    kind: str,
    item: dict[str, Any],
    query: list[tuple[str, str]],
    shown: str,
    server: Answers,
) -> None:
    body = {kind: [item], "next": None, "position": 7}
    server.answer(body)
    assert shown in run(*arguments)[0]
    assert (server.got[0].path, server.got[0].query) == (f"/v1/{kind}", query)
    server.answer(body)
    assert json.loads(run(*arguments, "--json")[0]) == body


def test_queues_are_shown_with_the_pools_of_the_server(server: Answers) -> None:
    body = {"queues": [examples.QUEUE], "pools": [examples.POOL], "next": None}
    for _ in range(2):
        server.answer(body)
    out, _ = run("queues", "--window", "15m")
    assert server.got[0].query == [("window", "15m")]
    assert "128" in out
    assert "desired" in out
    assert json.loads(run("queues", "--json")[0]) == body


def test_count_and_statistics(server: Answers) -> None:
    for _ in range(2):
        server.answer({"counts": {"waiting": 3}})
    assert "waiting  3" in run("count", "--definition", "order")[0]
    assert server.got[0].query == [("definition", "order")]
    assert json.loads(run("count", "--json")[0]) == {"counts": {"waiting": 3}}
    server.answer({"name": "order", "versions": [examples.STATISTICS]})
    out, _ = run("statistics", "order")
    assert "order 1: started 100; succeeded 95, compensated 2" in out
    assert "182" in out
    server.answer({"name": "new", "versions": []})
    assert "has not been started yet" in run("statistics", "new")[0]


def test_list_takes_every_filter(server: Answers) -> None:
    server.answer({"instances": [], "next": None, "position": 1})
    run(
        *[
            "list",
            "--text",
            "ada",
            "--waiting-for",
            "signal",
            "--business-status",
            "paid",
            "--older-than",
            "1h",
        ],
        *["--younger-than", "2h", "--version", "2", "--parent", "0-1", "--outcome", "failed"],
    )
    assert set(server.got[0].query) == {
        ("text", "ada"),
        ("waitingFor", "signal"),
        ("businessStatus", "paid"),
        ("olderThan", "1h"),
        ("youngerThan", "2h"),
        ("version", "2"),
        ("parent", "0-1"),
        ("outcome", "failed"),
    }


def test_a_client_follows_the_pages_of_its_lists(server: Answers) -> None:
    server.answer({"alerts": [{"id": "a"}], "next": "c", "position": 1})
    server.answer({"alerts": [{"id": "b"}], "next": None, "position": 1})
    with Client(server.url) as client:
        assert [alert["id"] for alert in client.alerts_all(state="open")] == ["a", "b"]
    assert server.got[1].query == [("state", "open"), ("cursor", "c")]
