"""5,000 durable timers of 5 s, all set as fast as they are taken: when all have fired, and how late each was.

How late is told by the log: the time of `WaitEnded` less the `until` of its `WaitStarted`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import msgspec
import psycopg

from benchmarks.bench import Bench
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import running
from benchmarks.work import NAP

TIMERS = 5_000
FOR_S = 5.0
IN_FLIGHT = 64
WITHIN_S = 120.0

ENDED = "SELECT count(*) FROM tenuto_0.stored_events WHERE topic = 'WaitEnded'"
LATE = """
    SELECT extract(epoch FROM (ended.payload ->> 'at')::timestamptz - (began.payload ->> 'until')::timestamptz)
    FROM tenuto_0.events_json AS began
    JOIN tenuto_0.events_json AS ended USING (stream)
    WHERE began.topic = 'WaitStarted' AND ended.topic = 'WaitEnded'
"""


def run(bench: Bench) -> Iterator[Row]:
    timers = bench.sized(TIMERS, least=5)
    seconds = FOR_S if bench.scale >= 1 else 0.5
    with running(bench.postgres) as stage, psycopg.connect(stage.database, autocommit=True) as database:
        began = time.perf_counter()
        asyncio.run(_set(stage.url, timers, seconds))
        accepted = time.perf_counter() - began
        while _count(database) < timers:
            if time.perf_counter() - began > WITHIN_S:
                raise TimeoutError(
                    f"{timers - _count(database)} timers have not fired within {WITHIN_S:.0f} s"
                )
            time.sleep(0.02)
        took = time.perf_counter() - began
        late = [float(seconds) for (seconds,) in database.execute(LATE)]
    settings = {"timers": timers, "for_s": seconds, "accepted_s": round(accepted, 2), "at_once": IN_FLIGHT}
    bounded = f"setting them took {accepted:.1f} s of it"
    yield row("timers.all", "s", [took], settings, bounded_by=bounded, target=at_most(7.5))
    yield row("timers.late_p99", "s", [percentile(late, 99)], settings, target=at_most(1))
    yield row("timers.late_p50", "s", [percentile(late, 50)], settings)
    yield row("timers.early", "timers", [sum(one < 0 for one in late)], settings, target=at_most(0))


async def _set(url: str, timers: int, seconds: float) -> None:
    body = msgspec.json.encode({"definition": NAP, "input": {"for": round(seconds * 1000)}})
    headers = {"content-type": "application/json"}
    numbers = iter(range(timers))
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(url, connector=connector) as http, asyncio.TaskGroup() as clients:

        async def client() -> None:
            for _ in numbers:
                while True:
                    async with http.post("/v1/instances", data=body, headers=headers) as response:
                        raw = await response.read()
                    if response.status == 201:
                        break
                    assert response.status == 503, raw[:300]
                    await asyncio.sleep(0.1)

        for _ in range(IN_FLIGHT):
            clients.create_task(client())


def _count(database: psycopg.Connection[tuple[int]]) -> int:
    found = database.execute(ENDED).fetchone()
    assert found is not None
    return found[0]
