"""`tenuto audit` and `tenuto evidence` against a real server: export, tamper, verify."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from typer.testing import CliRunner

from api.app import create_app
from tenuto.cli.app import app
from tests.api.conftest import HELLO, Server


@pytest.fixture
async def url(server: Server) -> AsyncIterator[str]:
    """The same server, over the network."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(server.wiring), log_config=None, lifespan="off")
    over = uvicorn.Server(config)
    task = asyncio.create_task(over.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.should_exit = True
    await task


async def run(*arguments: str, code: int = 0) -> str:
    """What a command says, on both streams; it must end with `code`."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


async def filled(server: Server, count: int = 3) -> str:
    if not await server.events():
        await server.deploy(HELLO, "hello")
    view: dict[str, Any] = {}
    for _ in range(count):
        view = await server.start("hello", {"name": "Ada"})
        await server.work("greetings", "Hello, Ada")
    return str(view["id"])


@pytest.mark.parametrize("events", [[], ["--events"]])
async def test_an_export_is_verified_offline_and_goes_on_where_it_ended(
    events: list[str], server: Server, url: str, tmp_path: Path
) -> None:
    await filled(server)
    file, key = tmp_path / "export.jsonl", tmp_path / "key"
    key.write_text(await run("audit", "key", "--server", url))
    said = await run("audit", "export", "-o", str(file), *events, "--server", url)
    first = await server.events()
    assert f"holds {first} events, {first} of them new" in said
    await filled(server)
    file.write_bytes(file.read_bytes() + b'{"index": 9')  # What a killed export leaves.
    said = await run("audit", "export", "-o", str(file), *events, "--server", url)
    total = await server.events()
    assert f"holds {total} events, {total - first} of them new" in said
    whole = file.read_bytes()
    await run("audit", "export", "-o", str(file), *events, "--server", url)
    assert file.read_bytes() == whole, "nothing new, nothing written"
    said = await run("audit", "verify", str(file), "--key", str(key))
    assert said.startswith(f"Unchanged: {total} events of tenuto/")
    assert ('"payload"' in file.read_text()) == bool(events)


async def test_a_changed_log_is_named_with_its_first_position(
    server: Server, url: str, tmp_path: Path, database: str, schema: str
) -> None:
    await filled(server)
    file = str(tmp_path / "export.jsonl")
    await run("audit", "export", "-o", file, "--server", url)
    live = ["--database-url", database, "--schema", schema]
    key = (await run("audit", "key", "--server", url)).strip()
    assert "compared with the live log" in await run("audit", "verify", file, "--key", key, *live)
    assert "compared with the live log" in await run("audit", "verify", file, "--key", key, "--server", url)
    with psycopg.connect(database, autocommit=True, options=f"-c search_path={schema}") as admin:
        admin.execute("UPDATE stored_events SET state = '{}' WHERE notification_id = 7")
    for source in (live, ["--server", url]):
        said = await run("audit", "verify", file, "--key", key, *source, code=1)
        assert said.startswith("CHANGED: the first difference is at position 7 (leaf 6)")
    checkpoints = str(server.folder / "checkpoints/checkpoints.jsonl")
    said = await run("audit", "verify", checkpoints, "--key", key, *live, code=1)
    assert "CHANGED: the first difference is at leaves 0 to" in said
    (report,) = json.loads(await run("audit", "verify", file, *live, "--json", code=1))
    assert (report["difference"]["position"], report["difference"]["what"]) == (7, "changed")


async def test_the_export_of_a_log_that_is_not_the_one_signed_fails(
    server: Server, url: str, tmp_path: Path, database: str, schema: str
) -> None:
    await filled(server)
    await run("audit", "checkpoint", "--server", url)
    with psycopg.connect(database, autocommit=True, options=f"-c search_path={schema}") as admin:
        admin.execute("UPDATE stored_events SET state = '{}' WHERE notification_id = 7")
    said = await run("audit", "export", "-o", str(tmp_path / "e"), "--server", url, code=1)
    assert "not the one that was signed" in said


async def test_evidence_is_fetched_and_verified(server: Server, url: str, tmp_path: Path) -> None:
    instance = await filled(server)
    file = tmp_path / "evidence.html"
    await run("evidence", instance, "-o", str(file), "--server", url)
    said = await run("audit", "verify", str(file))
    assert said.startswith(f"{instance}: ")
    assert "The key is the one in the files" in said
    file.write_bytes(file.read_bytes().replace(b"Ada", b"Eve", 1))
    assert "changed after it was signed" in await run("audit", "verify", str(file), code=1)


async def test_what_cannot_be_verified_is_one_clear_line(server: Server, url: str, tmp_path: Path) -> None:
    await filled(server)
    file = tmp_path / "export.jsonl"
    await run("audit", "export", "-o", str(file), "--server", url)
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert "not signed by PeterNeumann" in await run("audit", "verify", str(file), "--key", other, code=1)
    assert "that is no key" in await run("audit", "verify", str(file), "--key", "nonsense", code=1)
    half = tmp_path / "half.jsonl"
    half.write_bytes(file.read_bytes()[:-200])
    assert "cut off" in await run("audit", "verify", str(half), code=1)
    half.write_text("nonsense\n")
    assert "no line of an export" in await run("audit", "verify", str(half), code=1)
    assert "name one of each kind" in await run("audit", "verify", str(file), str(file), code=1)
    assert "No such file" in await run("audit", "verify", str(tmp_path / "nowhere"), code=1)


async def test_the_log_and_the_roles_are_printed(server: Server, url: str) -> None:
    instance = await filled(server, 1)
    await server.get("/v1/audit/log", minPosition=await server.events())
    said = json.loads(await run("audit", "log", "--instance", instance, "--server", url, "--json"))
    assert [entry["event"] for entry in said["entries"]][-1] == "InstanceStarted"
    assert "StatusChanged" in await run("audit", "log", "--server", url)
    assert 'GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA "tenuto_0" TO "shop"' in await run(
        "audit", "roles", "--app", "shop"
    )
