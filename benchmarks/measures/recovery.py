"""500 instances, kill -9 of server and worker in the middle: from the restart until all have ended, and none is lost.

With sessions that expire after 1 s, and with the default of 5 s: until then nobody else may take a dead worker's tasks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import aiohttp
import msgspec
import psycopg

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.rows import Row, at_most, row
from benchmarks.stage import DEFINITIONS, Process, deploy, process, said
from benchmarks.work import SAGA, order_input

INSTANCES = 500
EXPIRIES = {"1s": "1.0", "default": "5.0"}
WITHIN_S = 120.0
KILL_AT = 0.4
"""Of all steps, so many are done when it happens."""
DONE = "SELECT count(*) FROM tenuto_0.stored_events WHERE topic = 'StepCompleted'"
ENDED = """SELECT count(*) FROM tenuto_0.events_json
           WHERE topic = 'StatusChanged' AND payload ->> 'outcome' = 'succeeded'"""


def run(bench: Bench) -> Iterator[Row]:
    instances = bench.sized(INSTANCES, least=5)
    for name, seconds in EXPIRIES.items():
        found = [_one(bench.postgres, instances, seconds) for _ in range(bench.repeat)]
        settings = {"instances": instances, "session_expiry_s": float(seconds), "killed": "server and worker"}
        target = at_most(2) if name == "1s" else None
        yield row(f"recovery.{name}", "s", [took for took, _ in found], settings, target=target)
        yield row(
            f"recovery.{name}.lost", "instances", [lost for _, lost in found], settings, target=at_most(0)
        )


def _one(postgres: str, instances: int, expiry: str) -> tuple[float, int]:
    """(seconds from the restart until all have ended, how many never did)."""
    environment = {**os.environ, "TENUTO_LEASE_SECONDS": expiry}
    with (
        fresh_database(postgres) as database,
        psycopg.connect(database, autocommit=True) as look,
        ExitStack() as before,
        ExitStack() as after,
    ):
        server = _server(before, database, environment, port="0")
        url = said(server, "ready ")
        for name, text in DEFINITIONS.items():
            deploy(url, name, text)
        worker = _worker(before, url)
        asyncio.run(_start(url, instances))
        _until(look, DONE, int(KILL_AT * 3 * instances))
        worker.kill()
        server.kill()
        server.wait()
        began = time.perf_counter()
        _server(after, database, environment, port=url.rpartition(":")[2])
        _worker(
            after, url
        )  # It does not wait for the server to be ready: neither does who restarts a machine.
        ended = _until(look, ENDED, instances)
        return time.perf_counter() - began, instances - ended


def _server(stack: ExitStack, database: str, environment: dict[str, str], *, port: str) -> Process:
    command = ["-m", "tenuto", "serve", "--port", port, "--database-url", database]
    return stack.enter_context(process(command, environment))


def _worker(stack: ExitStack, url: str) -> Process:
    return stack.enter_context(process(["-m", "benchmarks.worker", url, "100"]))


def _until(look: psycopg.Connection[tuple[int]], question: str, wanted: int) -> int:
    """What there is when it is enough, or when there is no more hope."""
    until = time.perf_counter() + WITHIN_S
    while True:
        row = look.execute(question).fetchone()
        assert row is not None
        if row[0] >= wanted or time.perf_counter() > until:
            return int(row[0])
        time.sleep(0.01)


async def _start(url: str, instances: int) -> None:
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(url) as http:
        for first in range(0, instances, 50):
            await asyncio.gather(
                *(_post(http, headers, number) for number in range(first, min(first + 50, instances)))
            )


async def _post(http: aiohttp.ClientSession, headers: dict[str, str], number: int) -> None:
    body = msgspec.json.encode({"definition": SAGA, "input": order_input(number)})
    while True:
        async with http.post("/v1/instances", data=body, headers=headers) as response:
            raw = await response.read()
        if response.status == 201:
            return
        assert response.status == 503, raw[:300]
        await asyncio.sleep(0.1)
