"""A whole server over a real PostgreSQL, asked through ASGI: everything but the network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.serving import wired
from api.settings import Pool
from api.wiring import Wiring
from notary.notary import Place
from projections.runner import Runner

HELLO = """\
name: hello
version: "1"
steps:
  - {id: greet, type: task, action: worker:greetings/greet, readOnly: true, timeout: 30s,
     input: {name: $.input.name}, next: done}
  - {id: done, type: succeed, result: {said: $.greet}}
"""
APPROVAL = """\
name: approval
version: "1"
signals: {stop: {do: cancel}}
steps:
  - {id: ask, type: wait, signal: answer, for: 24h, output: {answer: $.payload}, onTimeout: late, next: done}
  - {id: done, type: succeed, result: {answer: $.answer}}
  - {id: late, type: fail, error: {type: LateError, message: nobody answered}}
"""
BOOKING = """\
name: booking
version: "1"
steps:
  - {id: book, type: task, action: worker:travel/book, timeout: 30s, compensateWith: unbook, next: pay}
  - {id: pay, type: task, action: worker:travel/pay, readOnly: true, timeout: 30s,
     retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause, next: done}
  - {id: done, type: succeed, result: {paid: $.pay}}
  - {id: unbook, type: task, action: worker:travel/unbook, timeout: 30s, retryPolicy: {maxAttempts: 1}}
"""
YAML = {"Content-Type": "application/yaml"}


@dataclass
class Server:
    """The application with a client of it, and the parts behind it. The methods are what most tests do first."""

    wiring: Wiring
    http: httpx.AsyncClient
    folder: Path

    async def deploy(self, text: str, name: str) -> None:
        answer = await self.http.put(f"/v1/definitions/{name}", content=text, headers=YAML)
        assert answer.status_code == 201, answer.text

    async def start(self, definition: str, input: object = None, **more: Any) -> dict[str, Any]:
        body = {"definition": definition, "input": input or {}, **more}
        answer = await self.http.post("/v1/instances", json=body)
        assert answer.status_code == 201, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def get(self, path: str, expected: int = 200, /, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def post(self, path: str, body: object, status: int = 200, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.http.post(path, json=body, headers=sent)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def poll(
        self, *queues: str, session: str = "s1", results: Any = (), wait: str = "10s"
    ) -> list[Any]:
        body = {"worker": f"worker-{session}", "session": session, "queues": queues, "wait": wait}
        answer = await self.post("/v1/tasks/poll", body | {"results": list(results)})
        tasks: list[Any] = answer["tasks"]
        return tasks

    async def work(self, queue: str, output: object = None, **failure: Any) -> Any:
        """Takes one task of the queue, and completes or fails it."""
        (task,) = await self.poll(queue)
        if failure:
            item, path = {"token": task["token"], "error": failure}, "fail"
        else:
            item, path = {"token": task["token"], "output": output}, "complete"
        answer = await self.post(f"/v1/tasks/{path}", {"results": [item]})
        assert answer == {"results": [{"status": "accepted"}]}
        return task

    async def events(self) -> int:
        """How many events the whole log holds."""
        streams = await self.wiring.store.streams("")
        return sum((await self.wiring.store.versions(streams)).values())


@asynccontextmanager
async def serving(
    database: str, schema: str, *, lease_seconds: float = 5.0, pools: Mapping[str, Pool] | None = None
) -> AsyncIterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tenuto-audit-"))
    wiring = wired(
        database,
        services={"payments": "http://127.0.0.1:9"},
        lease_seconds=lease_seconds,
        schema=schema,
        views=f"{schema}_views",
        runs=Runner,
        place=Place(folder / "checkpoints", folder / "signing.key"),
        published=f"{schema}_v1",
        pools=pools,
    )
    async with wiring as parts:
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://tenuto", timeout=30) as http:
            yield Server(parts, http, folder)
    shutil.rmtree(folder)


@pytest.fixture
async def server(database: str, schema: str) -> AsyncIterator[Server]:
    async with serving(database, schema) as running:
        yield running
