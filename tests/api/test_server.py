"""The whole server as a process: ready, drained, and one clear line when it cannot serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
NOWHERE = "postgresql://tenuto@127.0.0.1:1/tenuto?connect_timeout=2"


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENUTO_")}
    return kept | {"PYTHONPATH": str(ROOT)} | settings


def refused(tmp_path: Path, *options: str, **settings: str) -> str:
    """What a server that cannot serve says on stderr."""
    ended = subprocess.run(
        [sys.executable, *(options or ("-m", "api.server"))],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout
    return ended.stderr


@contextmanager
def serving(
    tmp_path: Path, database: str, *, call: str = "serve()"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL, once it says that it is ready."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; from pathlib import Path; from api.server import *; sys.exit({call})",
        ],
        cwd=tmp_path,
        env=environment(TENUTO_DATABASE_URL=database, TENUTO_PORT="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready", process.stderr and process.stderr.read()
        assert process.stdout.readline() == f"docs {url}/docs\n"
        yield process, url
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def own_database(database: str) -> Iterator[str]:
    """`database`, without what a server leaves in it: it uses the schemas of a server, not of a test."""
    yield database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "DROP SCHEMA IF EXISTS tenuto_0, tenuto_projections, tenuto_v1, tenuto_0_feeds, tenuto_0_notary CASCADE"
        )


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        return json.load(answer)


def test_without_a_database_it_says_so_and_ends(tmp_path: Path) -> None:
    said = refused(tmp_path, TENUTO_DATABASE_URL=NOWHERE, TENUTO_PORT="0")
    assert said.startswith("Error: the database cannot be reached (")
    assert "127.0.0.1" in said
    assert "tried again" not in said
    assert said.count("\n") == 1


def test_a_database_url_that_is_none_is_refused_without_its_password(tmp_path: Path) -> None:
    said = refused(tmp_path, TENUTO_DATABASE_URL="postgresql//u:secret@h/d", TENUTO_PORT="0")
    assert said.startswith("Error: ")
    assert "secret" not in said


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, TENUTO_DATABASE_URL=NOWHERE, TENUTO_PORT=str(port))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


def test_a_setting_that_does_not_fit_is_named(tmp_path: Path) -> None:
    assert "lease_seconds" in refused(tmp_path, TENUTO_LEASE_SECONDS="never")
    assert "payments" in refused(
        tmp_path, TENUTO_SERVICE_PAYMENTS_URL="payments:8001", TENUTO_DATABASE_URL=NOWHERE
    )


def test_a_faulty_definition_to_deploy_is_refused_with_its_place(tmp_path: Path, own_database: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nsteps:\n  - {id: a, type: tusk}\n")
    call = f"exit(main(database_url={own_database!r}, port=0, deploy=[Path('bad.yaml')]))"
    call = f"from pathlib import Path; from api.server import main; {call}"
    assert "bad.yaml:3:" in refused(tmp_path, "-c", call)
    call = call.replace("bad.yaml", "nothing.yaml")
    assert "nothing.yaml: No such file" in refused(tmp_path, "-c", call)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_drains_when_told_to_stop(
    tmp_path: Path, own_database: str, number: signal.Signals
) -> None:
    (tmp_path / "hello.yaml").write_text("name: hello\nsteps:\n  - {id: done, type: succeed, result: 7}\n")
    call = f"main(database_url={own_database!r}, port=0, deploy=[Path('hello.yaml')])"
    with serving(tmp_path, own_database, call=call) as (process, url):
        assert ask(f"{url}/readyz") == {"status": "ready"}
        view = ask(f"{url}/v1/instances?wait=10s", {"definition": "hello"})
        assert (view["status"], view["result"]) == ("completed", 7)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (stdout, stderr) == ("", "")


def test_a_held_poll_is_answered_when_the_server_stops(tmp_path: Path, own_database: str) -> None:
    body = json.dumps({"worker": "w", "session": "s", "queues": ["q"], "wait": "60s"}).encode()
    with serving(tmp_path, own_database) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as held:
            head = f"POST /v1/tasks/poll HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            held.sendall(head.encode() + body)
            ask(f"{url}/readyz")  # Behind it: the poll has been read.
            process.send_signal(signal.SIGTERM)
            answer = held.makefile("rb").read()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"tasks":[],"results":[]}')


def test_a_stream_of_events_ends_when_the_server_stops(tmp_path: Path, own_database: str) -> None:
    (tmp_path / "hello.yaml").write_text("name: hello\nsteps:\n  - {id: done, type: succeed, result: 7}\n")
    call = f"main(database_url={own_database!r}, port=0, deploy=[Path('hello.yaml')])"
    with serving(tmp_path, own_database, call=call) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as held:
            held.sendall(b"GET /v1/events?topic=workflow.state.changed&after=0 HTTP/1.1\r\nHost: x\r\n\r\n")
            stream = held.makefile("rb")
            while not stream.readline().startswith(b": beat"):
                pass
            instance = ask(f"{url}/v1/instances?wait=10s", {"definition": "hello"})["id"]
            line = stream.readline()
            while not line.startswith(b"data: "):
                line = stream.readline()
            process.send_signal(signal.SIGTERM)
            rest = stream.read()
        stdout, stderr = process.communicate(timeout=30)
    assert json.loads(line[6:])["data"]["instanceId"] == instance
    assert rest.endswith(b"0\r\n\r\n"), "the end of a chunked answer, not a broken one"
    assert (process.returncode, stdout, stderr) == (0, "", "")
