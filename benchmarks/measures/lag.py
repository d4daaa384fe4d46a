"""How far behind the projections are at 2,000 events/s: sagas that start at their own pace, whatever becomes of them.

The lag is what `/v1/projections` says: since when a projection has not been at the end of the log, up to 50 ms ago.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator

import aiohttp
import msgspec

from benchmarks.bench import Bench
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import running
from benchmarks.work import SAGA, order_input

EVENTS_S = 2_000
EVENTS = 12
"""Of one saga."""
SECONDS = 15.0
WARM_UP_S = 3.0
LOOK_EVERY_S = 0.02


class _Projection(msgspec.Struct, rename="camel"):
    name: str
    lag_ms: int


class _Projections(msgspec.Struct):
    projections: list[_Projection]


def run(bench: Bench) -> Iterator[Row]:
    seconds = max(1.0, SECONDS * bench.scale)
    with running(bench.postgres) as stage:
        lags, started = asyncio.run(_measure(stage.url, seconds))
    every = [lag for found in lags.values() for lag in found]
    settings = {
        "events_per_s": round(started * EVENTS / seconds),
        "p99_ms": {name: percentile(found, 99) for name, found in sorted(lags.items())},
    }
    yield row("lag.p99", "ms", [percentile(every, 99)], settings, target=at_most(200))
    yield row("lag.p50", "ms", [percentile(every, 50)], settings)


async def _measure(url: str, seconds: float) -> tuple[dict[str, list[float]], int]:
    lags: dict[str, list[float]] = defaultdict(list)
    connector = aiohttp.TCPConnector(limit=200)
    async with aiohttp.ClientSession(url, connector=connector) as http, asyncio.TaskGroup() as tasks:
        began, started, counted = time.perf_counter(), 0, 0
        while (spent := time.perf_counter() - began) < WARM_UP_S + seconds:
            while started < spent * EVENTS_S / EVENTS:
                tasks.create_task(_start(http, started))
                started += 1
                counted += spent > WARM_UP_S
            if spent > WARM_UP_S:
                async with http.get("/v1/projections") as response:
                    for one in msgspec.json.decode(await response.read(), type=_Projections).projections:
                        lags[one.name].append(one.lag_ms)
            await asyncio.sleep(LOOK_EVERY_S)
    return lags, counted


async def _start(http: aiohttp.ClientSession, number: int) -> None:
    body = msgspec.json.encode({"definition": SAGA, "input": order_input(number)})
    async with http.post(
        "/v1/instances", data=body, headers={"content-type": "application/json"}
    ) as response:
        assert response.status == 201, (await response.read())[:300]
