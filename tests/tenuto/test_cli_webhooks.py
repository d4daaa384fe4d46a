"""`tenuto webhooks`: what is sent, and what is said of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.routes.examples import AT
from api.routes.webhooks import LETTER, VIEW
from tenuto.client import Client
from tenuto.errors import ServerUnreachableError
from tests.tenuto.fake_server import Answers
from tests.tenuto.test_cli import run, server

__all__ = ["server"]

BEFORE = "2026-11-23T11:00:00.000000Z"
ADD = ["webhooks", "add", "crm", "https://crm.example/tenuto"]


def test_one_is_added_with_its_filters_and_the_secret_is_shown(server: Answers) -> None:
    view = VIEW | {"secret": "whsec_abc"}
    server.answer(view, 201).answer(VIEW).answer(VIEW)
    chosen = ["-t", "workflow.state.changed", "-d", "order", "-l", "tier=premium"]
    out, _ = run(*ADD, *chosen, "--reason", "why", "--actor", "ann")
    told, secret = out.splitlines()
    assert told.startswith(
        "crm is told of workflow.state.changed of order with tier=premium after position 4711"
    )
    assert secret == "Its secret, shown this once: whsec_abc"
    got = server.got[0]
    assert (got.method, got.path, got.headers["Tenuto-Actor"]) == ("PUT", "/v1/webhooks/crm", "ann")
    assert got.body == {
        "url": "https://crm.example/tenuto",
        "topics": ["workflow.state.changed"],
        "definition": "order",
        "labels": {"tier": "premium"},
        "reason": "why",
    }
    assert "secret" not in run(*ADD, "--secret", "whsec_abc")[0]
    assert server.got[1].body["secret"] == "whsec_abc"
    assert json.loads(run(*ADD, "--json")[0]) == VIEW
    assert server.got[2].body == {"url": "https://crm.example/tenuto", "topics": []}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "Up to position 4711, 0 behind; 0 dead letters."),
    (
        {
            "attempts": 2,
            "lastError": "HTTP 500",
            "lastErrorAt": "2026-11-23T13:00:00.000000Z",
            "nextAttemptAt": "T2",
        },
        "Refused at 2026-11-23T13:00:00.000000Z: HTTP 500; attempt 3 at T2.",
    ),
    (
        {"lastError": "HTTP 500", "lastErrorAt": BEFORE},
        f"Refused at {BEFORE}: HTTP 500; it has taken others since, the last at {AT}.",
    ),
    (
        {"disabled": "it answered HTTP 410"},
        "Disabled: it answered HTTP 410. `tenuto webhooks add` enables it",
    ),
]


@pytest.mark.parametrize(("more", "said"), WRONG, ids=["well", "refused", "recovered", "disabled"])
def test_one_is_shown_with_what_is_wrong(more: dict[str, Any], said: str, server: Answers) -> None:
    server.answer(VIEW | more).answer(VIEW | more)
    assert said in run("webhooks", "show", "crm")[0]
    assert json.loads(run("webhooks", "show", "crm", "--json")[0]) == VIEW | more
    assert server.got[0].path == "/v1/webhooks/crm"


def test_lists_are_tables_for_people_and_the_wire_for_programs(server: Answers) -> None:
    over = VIEW | {"lastError": "HTTP 500", "lastErrorAt": BEFORE}
    for body in ({"webhooks": [over], "next": None}, {"deadLetters": [LETTER], "next": None}):
        server.answer(body).answer(body)
    out, _ = run("webhooks", "list")
    assert "workflow.state.changed" in out
    assert "HTTP 500" not in out, "that is over"
    assert json.loads(run("webhooks", "list", "--json")[0])["webhooks"] == [over]
    assert "HTTP 500" in run("webhooks", "dead-letters", "crm", "--limit", "5")[0]
    assert json.loads(run("webhooks", "dead-letters", "crm", "--json")[0])["deadLetters"] == [LETTER]
    assert (server.got[2].path, server.got[2].query) == ("/v1/webhooks/crm/dead-letters", [("limit", "5")])


def test_more_than_a_hundred_dead_letters_are_sent_again_in_turns(server: Answers) -> None:
    server.answer({"delivered": 100, "remaining": 30, "error": None})
    server.answer({"delivered": 30, "remaining": 0, "error": None})
    assert run("webhooks", "redeliver", "crm")[0] == "130 delivered, 0 left.\n"
    refused = (
        {"delivered": 100, "remaining": 30, "error": None},
        {"delivered": 5, "remaining": 25, "error": "no"},
    )
    for body in refused:
        server.answer(body)
    out, _ = run("webhooks", "redeliver", "crm", "--json", code=1)
    assert json.loads(out) == {"delivered": 105, "remaining": 25, "error": "no"}


def test_one_is_removed(server: Answers) -> None:
    server.answer({"name": "crm", "removed": True}).problem(404, "Namespace 'default' has no webhook 'crm'.")
    out, _ = run("webhooks", "remove", "crm", "--reason", "gone")
    assert out == "crm is told of nothing more.\n"
    assert (server.got[0].method, server.got[0].query) == ("DELETE", [("reason", "gone")])
    assert run("webhooks", "remove", "crm", code=1)[1] == "Error: Namespace 'default' has no webhook 'crm'.\n"


def test_a_registration_whose_answer_may_have_had_the_secret_is_not_repeated(server: Answers) -> None:
    server.cut().answer(VIEW)
    with Client(server.url, pause=lambda _: None) as client:
        with pytest.raises(ServerUnreachableError):
            client.register_webhook("crm", "https://crm.example/tenuto")
        server.script.clear()
        server.cut().answer(VIEW)
        assert client.register_webhook("crm", "https://crm.example/tenuto", secret="whsec_abc") == VIEW
