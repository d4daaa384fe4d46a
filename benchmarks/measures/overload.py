"""Ten times more starts than it can take: what happens to those that are accepted, and to the rest.

First the normal load, as many in flight as `throughput` has; then clients that start without waiting for anybody, for a
while; then the normal load again, to see that it recovers by itself. An accepted start that does not end fails the run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import msgspec

from benchmarks.bench import Bench
from benchmarks.driver import Report
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import Running, running
from benchmarks.work import SAGA, order_input

NORMAL = 64
FLOOD_S = 8.0
TIMES = 10
SAGAS = 1_000
CONNECTIONS = 640

_encode = msgspec.json.Encoder().encode


class Flood:
    """Starts that come at their own pace. `took`: seconds from an accepted start to its result."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.took: list[float] = []
        self.refusals_s: list[float] = []
        self.without_advice = 0
        self.in_flight = 0

    async def start(self, http: aiohttp.ClientSession, number: int) -> None:
        self.in_flight += 1
        try:
            await self._start(http, number)
        finally:
            self.in_flight -= 1

    async def _start(self, http: aiohttp.ClientSession, number: int) -> None:
        began = time.perf_counter()
        body = _encode({"definition": SAGA, "input": order_input(number)})
        headers = {"content-type": "application/json"}
        async with http.post("/v1/instances?wait=60s", data=body, headers=headers) as response:
            raw = await response.read()
        self.statuses[response.status] += 1
        if response.status == 201:
            self.took.append(time.perf_counter() - began)
            answer = msgspec.json.decode(raw)
            assert answer["outcome"] == "succeeded", answer
        else:
            assert response.status in (429, 503), raw[:300]
            self.refusals_s.append(time.perf_counter() - began)
            self.without_advice += "retry-after" not in response.headers


async def _flood(url: str, per_second: float, seconds: float) -> Flood:
    """An open load: each start comes at its time, whatever became of the others; no more than fit the connections."""
    flood = Flood()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(url, connector=connector) as http,
        asyncio.TaskGroup() as starts,
    ):
        began, number = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds:
            while number < spent * per_second and flood.in_flight < CONNECTIONS:
                starts.create_task(flood.start(http, number))
                number += 1
            number = max(
                number, int(spent * per_second) - CONNECTIONS
            )  # Those find no client left to ask for them.
            await asyncio.sleep(0.002)
    return flood


def run(bench: Bench) -> Iterator[Row]:
    sagas, seconds = bench.sized(SAGAS, least=NORMAL), FLOOD_S * bench.scale
    with running(bench.postgres) as stage:
        before = _normal(stage, sagas)
        rate = TIMES * sagas / before.working.wall_s
        flood = asyncio.run(_flood(stage.url, rate, max(seconds, 1.0)))
        after = _normal(stage, sagas)
    settings = {
        "offered_per_s": round(rate),
        "seconds": seconds,
        "statuses": {str(status): times for status, times in sorted(flood.statuses.items())},
        "refused_p99_ms": round(percentile(flood.refusals_s or [0.0], 99) * 1000, 1),
        "without_retry_after": flood.without_advice,
    }
    usual = percentile(before.latencies_s, 99)
    yield row("overload.normal_p99", "ms", [usual * 1000], {"in_flight": NORMAL})
    yield row("overload.accepted_p99", "ms", [percentile(flood.took, 99) * 1000], settings)
    ratio = percentile(flood.took, 99) / usual
    yield row("overload.ratio", "×", [ratio], settings, target=at_most(3))
    yield row("overload.accepted", "sagas/s", [len(flood.took) / max(seconds, 1.0)], settings)
    yield row("overload.after_p99", "ms", [percentile(after.latencies_s, 99) * 1000], {"in_flight": NORMAL})


def _normal(stage: Running, sagas: int) -> Report:
    return stage.drive(sagas, in_flight=NORMAL, warm_up=NORMAL)
