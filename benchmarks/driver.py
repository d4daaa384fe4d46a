"""The load, in a process of its own: `python -m benchmarks.driver JOB`, with JOB and the answer on stdout as JSON.

It starts sagas over HTTP and waits for each one's result; a saga that did not end well fails the run. It also holds
the meter, since it alone knows when the work begins and ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import islice

import aiohttp
import msgspec
import uvloop
from msgspec import Struct

from benchmarks.meter import Meter, Reading
from benchmarks.work import SAGA, order_input

WAIT = "30s"
CAUGHT_UP_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1

_encode = msgspec.json.Encoder().encode


class Job(Struct, frozen=True, kw_only=True):
    """`sagas` starts, at most `in_flight` of them unanswered, after `warm_up` unmeasured ones.

    `groups` are the process ids to meter, by name; `outcome` is how each must end. Without `counted` nobody counts what
    has ended.
    """

    url: str
    definition: str = SAGA
    outcome: str = "succeeded"
    sagas: int
    in_flight: int = 1
    warm_up: int = 0
    groups: dict[str, list[int]]
    counted: bool = True


class Report(Struct, frozen=True, kw_only=True):
    """`working`: from the first start to the last result. `settled`: until the projections had it all, too.

    `latencies_s`: of each saga, from its start to its result.
    """

    working: Reading
    settled: Reading
    latencies_s: list[float]


class _Answer(Struct):
    status: str
    outcome: str | None = None


class _Projection(Struct, rename="camel"):
    position: int
    lag_events: int


class _Projections(Struct):
    projections: list[_Projection]


class _Counts(Struct):
    counts: dict[str, int]


class SagaFailedError(Exception):
    """A saga was refused, or did not end well: what was measured is not the work."""


async def drive(job: Job) -> Report:
    """Raises SagaFailedError, or TimeoutError when the projections do not catch up."""
    connector = aiohttp.TCPConnector(limit=job.in_flight)
    async with aiohttp.ClientSession(job.url, connector=connector) as http:
        orders = iter(range(job.warm_up + job.sagas))
        await _run(http, job, islice(orders, job.warm_up), job.in_flight)
        done = await _completed(http, job)
        await _settle(http, job, done)
        meter = Meter(job.groups)
        latencies = await _run(http, job, orders, job.in_flight)
        working = meter.read()
        await _settle(http, job, done + job.sagas)
        return Report(working=working, settled=meter.read(), latencies_s=latencies)


async def _run(http: aiohttp.ClientSession, job: Job, orders: Iterator[int], in_flight: int) -> list[float]:
    """Each of the `in_flight` clients takes the next order when the one before it is done."""
    latencies: list[float] = []

    async def client() -> None:
        for number in orders:
            began = time.perf_counter()
            await _saga(http, job, number)
            latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as clients:
        for _ in range(in_flight):
            clients.create_task(client())
    return latencies


async def _saga(http: aiohttp.ClientSession, job: Job, number: int) -> None:
    body = _encode({"definition": job.definition, "input": order_input(number)})
    headers = {"content-type": "application/json"}
    while True:
        async with http.post("/v1/instances", params={"wait": WAIT}, data=body, headers=headers) as response:
            raw = await response.read()
        if response.status != 503:
            break
        await asyncio.sleep(float(response.headers["Retry-After"]))  # As any client; its time counts.
    answer = msgspec.json.decode(raw, type=_Answer) if response.status == 201 else None
    if answer is None or (answer.status, answer.outcome) != ("completed", job.outcome):
        raise SagaFailedError(f"{response.status}: {raw[:300].decode(errors='replace')}")


async def _completed(http: aiohttp.ClientSession, job: Job) -> int:
    if not job.counted:
        return 0
    async with http.get("/v1/instances/counts", params={"definition": job.definition}) as response:
        return msgspec.json.decode(await response.read(), type=_Counts).counts["completed"]


async def _settle(http: aiohttp.ClientSession, job: Job, completed: int) -> None:
    """Until every projection has come to the end of the log, with so many sagas completed.

    What a server says of its projections is a moment old, so they must be there, and be still there a little later.
    """
    there: list[_Projection] | None = None
    async with asyncio.timeout(CAUGHT_UP_WITHIN_S):
        while True:
            async with http.get("/v1/projections") as response:
                found = msgspec.json.decode(await response.read(), type=_Projections).projections
            at_end = len({one.position for one in found}) == 1 and not any(one.lag_events for one in found)
            if at_end and found == there and (not job.counted or await _completed(http, job) >= completed):
                return
            there = found if at_end else None
            await asyncio.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    report = uvloop.run(drive(msgspec.json.decode(sys.argv[1], type=Job)))
    sys.stdout.buffer.write(_encode(report))
