"""The command line: what it asks, what it prints, how it fails; its help is quick and has examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.main import get_command
from typer.testing import CliRunner

from tenuto.cli.app import app
from tests.tenuto.fake_server import Answers, answering

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
EXPECTED = [
    "dev",
    "serve",
    "worker",
    "deploy",
    "start",
    "list",
    "show",
    "history",
    "events",
    "transitions",
    "why",
    "diff",
    "watch",
    "undo-plan",
    "replay",
    "verify",
    "what-if",
    "count",
    "queues",
    "alerts",
    "waits",
    "deadlines",
    "statistics",
    "signal",
    "cancel",
    "terminate",
    "compensate",
    "pause",
    "resume",
    "retry",
    "skip",
    "resolve",
    "give-up",
    "fail",
    "data",
    "acknowledge",
    "migrate",
    "fork",
    "batch",
    "demo",
    "audit",
    "evidence",
    "simulate",
    "webhooks",
]
AUDIT = [f"audit {name}" for name in ("log", "key", "checkpoint", "export", "verify", "roles")]
WEBHOOKS = [f"webhooks {name}" for name in ("list", "show", "add", "remove", "dead-letters", "redeliver")]
FAMILIES = {"audit", "webhooks"}
ACTS = [
    "cancel",
    "terminate",
    "compensate",
    "pause",
    "resume",
    "retry",
    "skip",
    "resolve",
    "give-up",
    "fail",
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        monkeypatch.setenv("TENUTO_SERVER", answers.url)
        yield answers


def run(*arguments: str, stdin: str | None = None, code: int = 0) -> tuple[str, str]:
    """stdout and stderr of one command that must end with `code`."""
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit)  # anything else would be a traceback
    return result.stdout, result.stderr


# --- help


def test_every_command_of_the_reference_exists() -> None:
    assert sorted(EXPECTED) == COMMANDS


@pytest.mark.parametrize("name", [*sorted(set(EXPECTED) - FAMILIES), *AUDIT, *WEBHOOKS])
def test_help_has_an_example_and_a_json_option(name: str) -> None:
    out, _ = run(*name.split(), "--help")
    assert re.search(rf"Example: tenuto {name}\b", out)
    assert "--json" in out


def test_help_imports_nothing_heavy(record_property: Any) -> None:
    """The time is reported, not asserted: machines differ. What makes it long is asserted."""
    program = (
        "import sys; from tenuto.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    record_property("help_ms", round((time.monotonic() - began) * 1000))
    assert "tenuto demo" in ran.stdout
    heavy = {"aiohttp", "httpx", "rich", "pydantic", "api", "engine", "domain", "asyncio"}
    assert heavy.isdisjoint(ran.stderr.split())


# --- asking


def test_start_reads_its_input_from_text_a_file_or_stdin(server: Answers, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"n": 2}', encoding="utf-8")
    for source, stdin in (('{"n": 1}', None), (f"@{file}", None), ("-", '{"n": 3}')):
        server.answer({"id": "0-1", "status": "running"}, status=201)
        out, _ = run("start", "order", "--input", source, "--label", "a=b", stdin=stdin)
        assert out == "0-1 is running. Look at it with: tenuto show 0-1\n"
    assert [got.body["input"]["n"] for got in server.got] == [1, 2, 3]
    assert server.got[0].body["labels"] == {"a": "b"}


# --- waiting

RUNNING = {"id": "0-1", "status": "running"}
ERROR = {"type": "CardError", "message": "declined", "retryable": False}


def test_a_wait_goes_on_longer_than_one_answer_is_held(server: Answers) -> None:
    server.answer(RUNNING, status=201).answer(RUNNING)
    server.answer({"id": "0-1", "status": "completed", "outcome": "succeeded", "result": {"ok": True}})
    out, err = run("start", "order", "--wait", "90s")
    assert (out.splitlines()[0], err) == ("0-1 is completed. Look at it with: tenuto show 0-1", "")
    assert '"ok": true' in out
    assert [(got.method, got.query) for got in server.got] == [
        ("POST", []),
        ("GET", [("wait", "30000ms")]),
        ("GET", [("wait", "30000ms")]),
    ]


def test_after_a_wait_the_exit_code_says_how_it_ended(server: Answers) -> None:
    failed = {"id": "0-1", "status": "failed", "outcome": "failed", "error": ERROR}
    undone = {"id": "0-1", "status": "completed", "outcome": "compensated", "error": ERROR}
    for ended, code, said in ((failed, 1, "failed"), (undone, 0, "completed (compensated)")):
        server.answer(RUNNING, status=201).answer(ended)
        out, err = run("start", "order", "--wait", "5s", code=code)
        assert out.startswith(f"0-1 is {said}.")
        assert err == "Error: CardError: declined\n"
        server.answer(ended)
        out, _ = run("show", "0-1", "--wait", "5s", code=code)
        assert "CardError: declined" in out
    server.answer(RUNNING, status=201).answer(failed)
    out, err = run("start", "order", "--wait", "5s", "--json", code=1)
    assert (json.loads(out), err) == (failed, "")


def test_what_goes_on_after_a_wait_is_three(server: Answers) -> None:
    server.answer(RUNNING, status=201).answer(RUNNING).answer(RUNNING)
    out, _ = run("start", "order", "--wait", "0s", code=3)
    assert out.startswith("0-1 is running.")
    server.answer(RUNNING).answer(RUNNING | {"history": []})
    out, _ = run("show", "0-1", "--wait", "0s", "--history", "--json", code=3)
    assert "history" in json.loads(out)
    server.answer(RUNNING)
    run("show", "0-1")  # without --wait it was only asked how it stands


def test_a_wait_that_breaks_says_what_it_waited_for(server: Answers) -> None:
    server.answer(RUNNING, status=201).cut().cut()
    _, err = run("start", "order", "--wait", "5s", code=1)
    assert err.startswith("Error: 0-1 is there, but waiting for it failed: ")


def test_the_exit_codes_of_a_wait_are_in_its_help() -> None:
    for name in ("start", "show"):
        words = " ".join(run(name, "--help")[0].split())
        assert "0 when it has completed, 1 when it has failed, 3 when it goes on" in words


def test_list_is_a_table_for_people_and_the_wire_for_programs(server: Answers) -> None:
    view = {"id": "0-0199aa", "definitionName": "order", "definitionVersion": "1", "status": "waiting"}
    for _ in range(2):
        server.answer({"instances": [view], "next": "c2"})
    out, _ = run("list", "--status", "waiting", "--status", "running")
    assert "0-0199aa" in out
    assert "order 1" in out
    assert "--cursor c2" in out
    assert server.got[0].query == [("status", "waiting"), ("status", "running")]
    out, _ = run("list", "--json")
    assert json.loads(out) == {"instances": [view], "next": "c2"}
    server.answer({"instances": [], "next": None, "position": 8})
    out, _ = run("list", "--min-position", "7", "--json")
    assert json.loads(out)["position"] == 8
    assert server.got[2].query == [("minPosition", "7")]


def test_all_follows_every_page(server: Answers) -> None:
    server.answer({"events": [{"version": 1, "type": "InstanceStarted"}], "next": "c"})
    server.answer(
        {"events": [{"version": 2, "type": "StatusChanged", "payload": {"to": "[bold]"}}], "next": None}
    )
    out, _ = run("events", "0-1", "--all")
    assert out.index("InstanceStarted") < out.index("StatusChanged")
    assert "[bold]" in out  # what users wrote is text, not markup


def test_show_reads_now_and_the_past(server: Answers) -> None:
    history = [
        {
            "execution": "charge#1",
            "stepName": "Charge",
            "status": "failed",
            "error": {"type": "E", "message": "no"},
        }
    ]
    server.answer({"id": "0-1", "status": "running", "data": {"a": 1}, "history": history})
    out, _ = run("show", "0-1", "--history")
    assert "charge#1" in out
    assert "E: no" in out
    assert '"a": 1' in out
    server.answer({"id": "0-1", "version": 3}).answer({"id": "0-1"})
    run("show", "0-1", "--version", "3", "--json")
    run("show", "0-1", "--at", "2026-01-01T00:00:00Z")
    assert [(got.path, got.query) for got in server.got] == [
        ("/v1/instances/0-1", [("include", "history")]),
        ("/v1/instances/0-1/state", [("version", "3")]),
        ("/v1/instances/0-1/state", [("at", "2026-01-01T00:00:00Z")]),
    ]


def test_show_tells_what_it_waits_for_and_what_went_wrong(server: Answers) -> None:
    """In the wire's own shape, as the server really sends it."""
    view: dict[str, Any] = {"id": "0-1", "definitionName": "booking", "definitionVersion": "1"}
    view |= {"status": "waiting", "waitingFor": ["manual_resolution", "timer"]}
    view["lastError"] = {"step": "pay", "message": "the bank sleeps", "code": "BankError", "timestamp": "…"}
    view |= {"error": ERROR, "labels": {"tier": "gold"}, "standing": ["book#1"]}
    server.answer(view)
    lines = [line.strip() for line in run("show", "0-1")[0].splitlines()]
    shown = dict(line.split("  ", 1) for line in lines)
    assert {title: text.strip() for title, text in shown.items()} == {
        "id": "0-1",
        "definition": "booking 1",
        "status": "waiting",
        "waiting for": "manual_resolution, timer",
        "labels": "tier=gold",
        "last error": "pay: BankError: the bank sleeps",
        "error": "CardError: declined",
        "not undone": "book#1",
    }


def test_history_and_transitions_are_timelines(server: Answers) -> None:
    server.answer({"history": [{"execution": "ship#1", "status": "completed", "durationMs": 12500}]})
    out, _ = run("history", "0-1")
    assert re.search(r"ship#1.*completed.*12\.5 s", out)
    server.answer(
        {"transitions": [{"at": "2026-01-01", "from": "running", "to": "waiting", "reason": "approval"}]}
    )
    out, _ = run("transitions", "0-1")
    assert re.search(r"running\s+waiting\s+approval", out)
    server.answer({"transitions": [], "next": None})
    assert run("transitions", "0-1")[0] == "No transitions.\n"


@pytest.mark.parametrize("act", ACTS)
def test_acts_send_reason_and_actor(server: Answers, act: str) -> None:
    server.answer({"status": "running"})
    out, _ = run(act, "0-1", "--reason", "because", "--actor", "ada")
    (got,) = server.got
    assert (got.path, got.body) == (f"/v1/instances/0-1/{act}", {"reason": "because"})
    assert got.headers["Tenuto-Actor"] == "ada"
    assert "0-1 is running" in out


@pytest.mark.parametrize("act", ["retry", "skip", "resolve", "give-up", "fail"])
def test_acts_on_a_step_can_name_it(server: Answers, act: str) -> None:
    server.answer({"status": "running"})
    out, _ = run(act, "0-1", "--reason", "because", "--execution", "pay#1", "--json")
    assert server.got[0].body == {"reason": "because", "execution": "pay#1"}
    assert json.loads(out) == {"status": "running"}


def test_data_is_changed_and_an_alert_acknowledged(server: Answers) -> None:
    server.answer({"status": "waiting"}).answer({"status": "waiting"})
    run("data", "0-1", "--data", '{"city": "Bologna"}', "--reason", "moved")
    out, _ = run("acknowledge", "0-1", "ship#1/failed", "--reason", "seen")
    assert out == "acknowledge: ship#1/failed of 0-1.\n"
    assert [(got.path, got.body) for got in server.got] == [
        ("/v1/instances/0-1/data", {"reason": "moved", "data": {"city": "Bologna"}}),
        ("/v1/alerts/0-1/ship%231/failed/acknowledge", {"reason": "seen"}),
    ]


def test_an_undo_plan_is_a_table_for_people(server: Answers) -> None:
    plan = {"steps": [{"undoStep": "refund", "execution": "charge#1", "output": {"id": 7}}], "version": 9}
    server.answer(plan).answer(plan).answer({"steps": [], "version": 9})
    assert re.search(r'refund +charge#1 +\{"id": 7\}', run("undo-plan", "0-1")[0])
    assert json.loads(run("undo-plan", "0-1", "--json")[0]) == plan
    assert run("undo-plan", "0-1")[0] == "Nothing of 0-1 would be undone.\n"


def test_watch_prints_a_line_for_each_event(server: Answers) -> None:
    event = {"id": "7", "time": "12:00", "subject": "0-1", "type": "tenuto.Paused", "data": {"actor": "ann"}}
    for options in ([], ["--json"]):
        text = f"id: 7\ndata: {json.dumps(event)}\n\n"
        server.script.append(web.Response(text=text, content_type="text/event-stream"))
        out, _ = run("watch", "--topic", "Paused", "--label", "a=b", "--since", "6", "--count", "1", *options)
        expected = json.dumps(event) if options else '7  12:00  0-1  Paused  {"actor": "ann"}'
        assert out == expected + "\n"
    assert server.got[0].query == [("topic", "Paused"), ("labels", "a=b")]
    assert server.got[0].headers["Last-Event-ID"] == "6"


def test_a_signal_that_is_kept_is_said_to_be(server: Answers) -> None:
    server.answer({"signalId": "s1", "status": "kept", "instances": []})
    out, _ = run("signal", "o-1", "approval", "--by-key", "--ttl", "1h")
    assert out == "Signal approval is kept under o-1.\n"
    assert server.got[0].query == [("ttl", "1h")]


def test_signals_go_to_an_instance_or_to_a_key(server: Answers) -> None:
    server.answer({"status": "accepted"}).answer({"instances": ["0-1"]})
    run("signal", "0-1", "approval", "--payload", '{"decision": "approved"}', "--id", "s1")
    out, _ = run("signal", "o-1", "approval", "--by-key", "--all", "--json")
    assert json.loads(out) == {"instances": ["0-1"]}
    assert server.got[0].body == {"signalId": "s1", "payload": {"decision": "approved"}}
    assert server.got[1].path == "/v1/signals/approval"
    assert server.got[1].body["correlationId"] == "o-1"


# --- deploying


def test_deploy_prints_warnings_as_compilers_do(server: Answers, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text("name: order\nsteps: []\n", encoding="utf-8")
    warning = {
        "code": "W7",
        "severity": "warning",
        "message": "no timeout",
        "line": 4,
        "column": 9,
        "fix": "add one",
    }
    server.answer({"name": "order", "version": "3", "findings": [warning]}, status=201)
    out, err = run("deploy", str(file))
    assert out == "order version 3 is deployed.\n"
    assert err == f"{file}:4:9: warning W7: no timeout\n    fix: add one\n"


def test_a_refused_definition_prints_its_findings_and_fails(server: Answers, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text("name: order\nsteps: []\n", encoding="utf-8")
    finding = {"code": "E3", "severity": "error", "message": "unknown step 'x'", "line": 2, "column": 1}
    for _ in range(2):
        server.problem(422, f"The definition was refused: {file}:2:1: unknown step 'x'", findings=[finding])
    out, err = run("deploy", str(file), code=1)
    assert out == ""
    assert err.splitlines() == [
        f"{file}:2:1: error E3: unknown step 'x'",
        f"Error: {file} is refused: 1 error",
    ]
    assert server.got[0].query == [("source", str(file))]
    _, err = run("deploy", str(file), "--json", code=1)
    assert json.loads(err)["findings"] == [finding]


# --- failing


def test_a_refusal_is_one_line_or_one_object(server: Answers) -> None:
    for _ in range(2):
        server.problem(404, "No instance '0-9' exists.")
    assert run("show", "0-9", code=1) == ("", "Error: No instance '0-9' exists.\n")
    _, err = run("show", "0-9", "--json", code=1)
    assert json.loads(err)["status"] == 404


def test_no_server_says_what_to_do_next() -> None:
    _, err = run("list", "--server", "http://127.0.0.1:9", code=1)
    assert "tenuto dev" in err
    assert err.count("\n") == 1
    _, err = run("list", "--server", "http://127.0.0.1:9", "--json", code=1)
    assert json.loads(err)["type"] == "ServerUnreachableError"


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    _, err = run("deploy", str(tmp_path / "none.yaml"), code=1)
    assert err == f"Error: {tmp_path / 'none.yaml'}: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["cancel", "0-1"],
        ["start", "order", "--input", "{"],
        ["start", "order", "--label", "x"],
        ["show", "0-1", "--at", "x", "--version", "1"],
        ["show", "0-1", "--history", "--version", "1"],
        ["show", "0-1", "--wait", "5s", "--version", "1"],
        ["start", "order", "--wait", "soon"],
        ["unheard-of"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str]) -> None:
    out, err = run(*arguments, code=2)
    assert out == ""
    assert "Usage:" in err


# --- processes


class FakeModule(types.ModuleType):
    """A module whose `main` keeps how it was called; one that is told to say when it is ready does so at once."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(name)
        self.calls: list[Any] = []
        self._code = code

    def main(self, *args: Any, **kwargs: Any) -> int:
        ready = kwargs.pop("ready", None)
        self.calls.append(kwargs or args)
        if ready is not None:
            ready(f"http://{kwargs['host']}:{kwargs['port']}")
        return self._code


def fake(monkeypatch: pytest.MonkeyPatch, name: str, code: int = 0) -> FakeModule:
    module = FakeModule(name, code)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", ["a-folder-of-the-users", *sys.path])
    return module


def test_dev_starts_the_server_with_its_own_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = fake(monkeypatch, "api.server", code=3)
    file = tmp_path / "order.yaml"
    file.touch()
    out, _ = run(
        "dev", "--port", "9000", "--home", str(tmp_path), "--service", "payments=http://p?x=1",
        "--deploy", str(file),
        code=3,
    )  # fmt: skip
    assert server.calls == [
        {
            "host": "127.0.0.1",
            "port": 9000,
            "database_url": None,
            "home": tmp_path,
            "services": {"payments": "http://p?x=1"},
            "deploy": [file],
        }
    ]
    assert "http://127.0.0.1:9000" in out
    assert sys.path[0] == str(ROOT)  # before a folder of the user's that may hold an `api`


def test_serve_wants_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fake(monkeypatch, "api.server")
    monkeypatch.delenv("TENUTO_DATABASE_URL", raising=False)
    _, err = run("serve", code=1)
    assert "tenuto dev" in err
    out, _ = run("serve", "--database-url", "postgresql://db/x", "--json")
    assert json.loads(out)["url"] == "http://127.0.0.1:8080"
    assert [call["database_url"] for call in server.calls] == ["postgresql://db/x"]


def test_dev_refuses_a_file_that_is_not_there_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    server = fake(monkeypatch, "api.server")
    _, err = run("dev", "--deploy", "none.yaml", code=1)
    assert "none.yaml" in err
    assert server.calls == []


def test_demo_runs_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake(monkeypatch, "examples.order.demo")
    run("demo", "--json")
    assert program.calls == [(True,)]


def test_simulate_asks_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake(monkeypatch, "simulation.command")
    run("simulate", "--seeds", "20", "--jobs", "2", "--json")
    run("simulate", "--seed", "7", "--trace")
    assert program.calls == [
        (["--seeds", "20", "--first", "0", "--jobs", "2", "--json"],),
        (["--seed", "7", "--trace"],),
    ]
    _, err = run("simulate", "--trace", code=1)
    assert "--seed" in err


def test_an_installation_without_the_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "api.server", None)
    _, err = run("dev", code=1)
    assert "install tenuto again" in err


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_here", "no module no_such_module_here"),
        ("json:nothing", "has no nothing"),
        ("json", "holds no activities"),
        ("json:dumps", "holds no activities"),
    ],
)
def test_a_worker_without_activities_says_so(
    monkeypatch: pytest.MonkeyPatch, target: str, words: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    _, err = run("worker", target, code=1)
    assert words in err
    assert err.count("\n") == 1


def test_a_module_that_breaks_on_import_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_shop.py").write_text("x = 1\nraise KeyError('stock')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    _, err = run("worker", "broken_shop", code=1)
    assert "broken_shop.py:2: KeyError: 'stock'" in err
    assert err.count("\n") == 1


def test_an_error_nobody_foresaw_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(monkeypatch, "api.server")

    def explode(**_: Any) -> int:
        raise RuntimeError("port\nis taken")

    monkeypatch.setattr(module, "main", explode)
    _, err = run("dev", code=1)
    assert err == "Error: RuntimeError: port is taken (TENUTO_TRACEBACK=1 shows where)\n"


def test_a_worker_runs_the_activities_it_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "found_shop.py").write_text(
        "from tenuto import Worker, activity\n"
        "@activity(queue='warehouse')\n"
        "def pack(x: dict): ...\n"
        "@activity\n"
        "def ship(x: dict): ...\n"
        "mine = Worker(activities=[ship], name='mine')\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("tenuto.worker.Worker.run_forever", lambda _: None)
    out, _ = run("worker", "found_shop", "--queue", "dock", "--name", "w1", "--json")
    assert json.loads(out)["queues"] == ["dock", "warehouse"]
    out, _ = run("worker", "found_shop:pack")
    assert "serves warehouse" in out
    out, _ = run("worker", "found_shop:mine", "--json")
    assert json.loads(out)["worker"] == "mine"
