"""The smallest example, as the README tells it: its commands are run against a server and a worker of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tenuto.cli.app import app
from tests.examples.processes import ROOT, environment, free_port, running

COMMAND_SECONDS = 30.0
README = (ROOT / "README.md").read_text()
ID = re.compile(r"0-[0-9a-f]{32}")
Command = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of `tenuto dev` with the definition deployed and the worker at work."""
    url = f"http://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="tenuto-greeting-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # As root, PostgreSQL runs under another account: it has to get in.
        dev = ["tenuto", "dev", "--port", url.rpartition(":")[2], "--home", str(folder / "home")]
        deploy = ["--deploy", "examples/greeting/greeting.yaml"]
        worker = "examples.greeting.worker"
        with (
            running(folder / "dev.log", f"ready {url}\n", *dev, *deploy),
            running(folder / "worker.log", url, worker, TENUTO_SERVER=url),
        ):
            yield url


@pytest.fixture
def tenuto(server: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command of the command line, in this process, and returns what it printed."""
    monkeypatch.setenv("TENUTO_SERVER", server)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.fixture(scope="module")
def ada(server: str) -> str:
    """The id of an instance that has ended well; the command that started it was a process of its own."""
    started = subprocess.run(
        [sys.executable, "-m", "tenuto", "start", "greeting", "--input", '{"name": "Ada"}', "--wait", "20s"],
        cwd=ROOT,
        env=environment(TENUTO_SERVER=server),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    first, *result = started.stdout.splitlines()
    found = ID.search(first)
    assert found
    assert f"{found[0]} is completed" in first
    assert json.loads("\n".join(result)) == {"said": "Hello, Ada"}
    return found[0]


def as_json(text: str) -> Any:
    return json.loads(text)


def test_start_waits_for_the_result_for_people_and_for_programs(tenuto: Command, ada: str) -> None:
    """S009, S047."""
    view = as_json(tenuto("start", "greeting", "--input", '{"name": "Bob"}', "--wait", "20s", "--json"))
    assert (view["status"], view["outcome"]) == ("completed", "succeeded")
    assert view["result"] == {"said": "Hello, Bob"}
    assert view["id"] != ada


def test_list_shows_what_has_completed(tenuto: Command, ada: str) -> None:
    _until_listed(tenuto, ada)
    lines = tenuto("list", "--status", "completed").splitlines()
    assert lines[0].split()[:3] == ["id", "definition", "status"]
    assert any(line.split()[:5] == [ada, "greeting", "1", "completed", "succeeded"] for line in lines[1:])
    page = as_json(tenuto("list", "--status", "completed", "--json"))
    assert ada in {view["id"] for view in page["instances"]}
    assert tenuto("list", "--status", "failed") == "No instances.\n"


def _until_listed(tenuto: Command, instance_id: str) -> None:
    """A list comes from a projection, which follows the log by milliseconds."""
    give_up_at = time.monotonic() + COMMAND_SECONDS
    while instance_id not in tenuto("list", "--status", "completed", "--json"):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_events_are_the_whole_history(tenuto: Command, ada: str) -> None:
    """S213."""
    names = [
        "InstanceStarted",
        "StatusChanged",
        "StepScheduled",
        "StepStarted",
        "StepCompleted",
        "StatusChanged",
    ]
    events = as_json(tenuto("events", ada, "--json"))["events"]
    assert [event["type"] for event in events] == names
    assert [event["version"] for event in events] == [1, 2, 3, 4, 5, 6]
    plain = tenuto("events", ada)
    assert [word for line in plain.splitlines() for word in line.split() if word in names] == names


def test_show_tells_the_past(tenuto: Command, ada: str) -> None:
    """S082, S083. As it was after four events: the step had been taken, and nothing said."""
    then = as_json(tenuto("show", ada, "--version", "4", "--json"))
    assert (then["status"], then["currentStep"], then["version"]) == ("running", "greet", 4)
    assert then["data"] == {"input": {"name": "Ada"}}
    plain = tenuto("show", ada, "--version", "4")
    assert re.search(r"^status +running *$", plain, re.MULTILINE)
    assert re.search(r"^current step +greet *$", plain, re.MULTILINE)
    assert "Hello" not in plain
    now = as_json(tenuto("show", ada, "--json"))
    assert now["data"] == {"input": {"name": "Ada"}, "greeting": "Hello, Ada"}
    assert "Hello, Ada" in tenuto("show", ada)


def test_replay_folds_the_log_to_what_is_served(tenuto: Command, ada: str) -> None:
    """S213."""
    assert as_json(tenuto("replay", ada, "--json"))["equal"] is True
    assert tenuto("replay", ada) == f"{ada}: the log folds to exactly what is served.\n"


def test_a_refusal_is_one_line_for_people_and_one_object_for_programs(tenuto: Command) -> None:
    line = tenuto("start", "greeting", "--input", '{"nme": "Ada"}', code=1)
    assert line.startswith("Error: ")
    assert '"name" is a required property' in line
    assert line.count("\n") == 1
    problem = as_json(tenuto("show", "0-nobody", "--json", code=1))
    assert (problem["status"], problem["type"]) == (404, "urn:tenuto:problem:unknown-instance")


def test_the_readme_tells_these_commands() -> None:
    told = re.findall(r"^tenuto (\w+)", README, re.MULTILINE)
    assert [command for command in told if command != "dev"] == ["start", "list", "events", "show"]
