"""The commands that ask more: `why`, `diff`, `undo-plan`, `verify`, `what-if`."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tenuto.fake_server import Answers
from tests.tenuto.test_cli import run, server

__all__ = ["server"]


def test_a_plan_says_what_stays_and_what_may_join(server: Answers) -> None:
    plan: dict[str, Any] = {"steps": [], "standing": [{"execution": "mail#1", "step": "mail"}]}
    plan["mayJoin"] = [{"execution": "ship#1", "step": "ship", "undoStep": "unship", "why": "running"}]
    server.answer(plan)
    assert run("undo-plan", "0-1")[0].splitlines() == [
        "Nothing of 0-1 would be undone.",
        "Stays: mail#1 (its step has no compensateWith)",
        "Is undone by unship if it succeeds after all: ship#1 (running)",
    ]


def test_why_says_the_cause_and_the_commands_to_copy(server: Answers) -> None:
    cause: dict[str, Any] = {"code": "stuck", "message": "it waits for a person", "execution": "pay#1"}
    cause["moves"] = [
        {"what": "try it again", "command": "tenuto retry 0-1"},
        {"what": "its time is over", "at": "2026-01-01"},
        {"what": "nothing else"},
    ]
    answer = {"summary": "it waits for a person", "causes": [cause]}
    server.answer(answer).answer(answer)
    out, _ = run("why", "0-1")
    assert re.search(r"stuck +pay#1 +it waits for a person", out)
    assert out.splitlines()[-3:] == [
        "  try it again (pay#1): tenuto retry 0-1",
        "  its time is over (pay#1): at 2026-01-01",
        "  nothing else (pay#1)",
    ]
    assert json.loads(run("why", "0-1", "--json")[0]) == answer
    assert server.got[0].path == "/v1/instances/0-1/why"


def test_a_diff_shows_both_sides_and_the_events_between(server: Answers) -> None:
    answer: dict[str, Any] = {"from": {"version": 3, "at": "then"}, "to": {"version": 4, "at": "now"}}
    answer["changes"] = [{"op": "replace", "path": "$.status", "before": "running", "after": "waiting"}]
    answer["events"] = [{"version": 4, "type": "StatusChanged", "at": "now"}]
    server.answer({**answer, "moreEvents": 2})
    out, _ = run("diff", "0-1", "3", "2026-01-01T00:00:00Z")
    assert server.got[0].query == [("from", "3"), ("to", "2026-01-01T00:00:00Z")]
    assert re.search(r"replace +\$.status +running +waiting", out)
    assert out.splitlines()[-1] == "Events: 4 StatusChanged, and 2 more"


def test_a_reader_that_has_read_enough_is_no_error(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tenuto watch --json | head`: nobody reads on, so nothing is said."""

    def closed(_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("tenuto.cli.overviews.print_json", closed)
    server.answer({"counts": {}})
    assert run("count", "--json", code=1)[1] == ""


def test_replay_fails_when_the_log_differs(server: Answers) -> None:
    verdict = {
        "equal": False,
        "version": 4,
        "differences": [
            {"path": "$.status", "live": "failed", "replayed": "running"},
            {"path": "$.x", "live": 1},
        ],
        "problems": [{"check": "owed", "version": 4, "message": "the rows are not what the log implies"}],
        "projections": [
            {"projection": "words", "position": 9, "rows": 1, "sample": []},
            {"projection": "instances", "position": 9, "rows": 1, "sample": ["- (a)", "+ (b)"]},
        ],
    }
    server.answer({"equal": True}).answer(verdict).answer(verdict)
    assert "exactly" in run("replay", "0-1")[0]
    out, err = run("replay", "0-1", code=1)
    assert out == "0-1: something is not what its log says.\n"
    assert err.splitlines() == [
        '0-1: memory: $.status is live "failed" and replayed "running"',
        "0-1: memory: $.x is live 1",
        "0-1: owed at version 4: the rows are not what the log implies",
        "projection instances: its rows differ",
        "  - (a)",
        "  + (b)",
    ]
    assert json.loads(run("replay", "0-1", "--json", code=1)[0]) == verdict


def test_verify_goes_through_all_pages_and_all_projections(server: Answers) -> None:
    problem = {"check": "owed", "version": 4, "message": "the rows of ship#1 are not what the log implies"}
    failed = [{"instance": "0-2", "events": 9, "problems": [problem]}]
    server.answer({"checked": 1000, "events": 14_000, "failed": [], "next": "0-1"})
    server.answer({"checked": 2, "events": 20, "failed": failed, "next": None})
    server.answer({"projections": [{"name": "instances"}]})
    server.answer(
        {"equal": False, "live": 1001, "onlyLive": 1, "onlyRebuilt": 1, "sample": ["- (a)", "+ (b)"]}
    )
    out, err = run("verify", "--all", "--decide", code=1)
    assert out == "1002 instances, 14020 events, 1001 rows of projections: something differs.\n"
    assert err.splitlines() == [
        "0-2: owed at version 4: the rows of ship#1 are not what the log implies",
        "projection instances: 2 rows differ",
        "  - (a)",
        "  + (b)",
    ]
    assert [got.body for got in server.got[:2]] == [
        {"decide": True, "limit": 1000},
        {"decide": True, "limit": 1000, "cursor": "0-1"},
    ]
    assert server.got[3].path == "/v1/projections/instances/rebuild"
    assert server.got[3].query == [("swap", "false")]


def test_verify_is_for_one_or_for_all(server: Answers) -> None:
    run("verify", code=2)
    run("verify", "0-1", "--all", code=2)
    server.answer({"equal": True}).answer({"checked": 0, "events": 0, "failed": [], "next": None})
    server.answer({"projections": []})
    assert "exactly" in run("verify", "0-1", "--decide")[0]
    assert (server.got[0].path, server.got[0].query) == ("/v1/instances/0-1/replay", [("decide", "true")])
    assert json.loads(run("verify", "--all", "--json")[0])["equal"] is True


def test_what_if_adds_up_its_pages(server: Answers, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("name: order\nsteps: []\n", encoding="utf-8")
    group = {"went": "diverged", "step": "choose", "recorded": "a", "now": "b", "count": 2}
    group["examples"] = [{"instance": "0-1", "version": 5, "why": "because"}]
    page: dict[str, Any] = dict.fromkeys(["events", "unreadable", "changedResults", "needsResult"], 0)
    page |= {"judged": 3, "same": 1, "diverged": 2, "changedInputs": 1, "groups": [group]}
    server.answer({**page, "next": "c"}).answer({**page, "next": "d"})
    out, _ = run("what-if", str(file), "--since", "30d", "--version", "1", "--label", "a=b", "--limit", "5")
    assert out.splitlines()[:3] == [
        "2 of 6 go the same way.",
        "4 of 6 go another way.",
        "2 of those that go the same way would ask services with other input.",
    ]
    assert re.search(r"4 +diverged +choose +a +b +0-1", out)
    assert out.splitlines()[-1] == "  0-1 at version 5: because"
    first, second = (got.body for got in server.got)
    assert server.got[0].path == "/v1/definitions/order/what-if"
    assert {**first, "text": ""} == {
        "text": "",
        "versions": ["1"],
        "since": "30d",
        "labels": {"a": "b"},
        "limit": 5,
    }
    assert (second["limit"], second["cursor"]) == (2, "c")


def test_what_if_says_when_there_is_nothing_to_try_it_on(server: Answers, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("name: order\nsteps: []\n", encoding="utf-8")
    counts = [
        "judged",
        "events",
        "same",
        "diverged",
        "needsResult",
        "unreadable",
        "changedInputs",
        "changedResults",
    ]
    server.answer({**dict.fromkeys(counts, 0), "groups": [], "next": None})
    assert run("what-if", str(file), "--label", "a=b")[0] == "There is no recorded history that fits.\n"
