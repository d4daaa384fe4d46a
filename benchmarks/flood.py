"""An open load, in a process of its own: `python -m benchmarks.flood JOB`, with JOB and the answer on stdout as JSON.

Each start comes at its time, whatever became of the others. It speaks just as much HTTP as it needs, over plain
connections, so that as little of the machine as possible goes into asking, and as little of the time measured.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, deque
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.work import SAGA, order_input

TICK_S = 0.002
WAIT = "60s"
ENDED_WITHIN_S = 60.0

_encode = msgspec.json.Encoder().encode


class Job(Struct, frozen=True, kw_only=True):
    """`per_second` starts for so many `seconds`, over so many `connections`: those that find none free are not made."""

    url: str
    per_second: float
    seconds: float
    connections: int


class Flooded(Struct, frozen=True, kw_only=True):
    """`took`: seconds from each accepted start to its result; `refused`: to each refusal.

    `faults` are answers of another kind, and refusals that do not say when to come again.
    """

    statuses: dict[str, int]
    took: list[float]
    refused: list[float]
    faults: list[str]


class Client(asyncio.Protocol):
    """One connection, one start at a time."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._received = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._flood.free(self)

    def start(self, number: int) -> None:
        body = _encode({"definition": SAGA, "input": order_input(number)})
        head = (
            f"POST /v1/instances?wait={WAIT} HTTP/1.1\r\nHost: bench\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._began = time.perf_counter()
        self._transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if separator and len(body) >= length:
            self._received = b""
            self._flood.free(self)
            self._flood.answered(head[9:12].decode(), head, body, time.perf_counter() - self._began)


class Flood:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._idle: deque[Client] = deque()  # In turn: a server closes a connection that is idle for long.
        self._all_idle = asyncio.Event()
        self._statuses: Counter[str] = Counter()
        self._took: list[float] = []
        self._refused: list[float] = []
        self._faults: list[str] = []

    def answered(self, status: str, head: bytes, body: bytes, took: float) -> None:
        self._statuses[status] += 1
        if status == "201" and b'"outcome":"succeeded"' in body:
            self._took.append(took)
        elif status in ("429", "503") and b"retry-after:" in head:
            self._refused.append(took)
        else:
            self._faults.append(f"{status}: {body[:200]!r}")

    def free(self, client: Client) -> None:
        """It can make the next start."""
        self._idle.append(client)
        if len(self._idle) == self._job.connections:
            self._all_idle.set()

    async def run(self) -> Flooded:
        """Raises TimeoutError when what was accepted does not end."""
        address = urlsplit(self._job.url)
        host, port = address.hostname or "", address.port or 80
        for _ in range(self._job.connections):
            await asyncio.get_running_loop().create_connection(lambda: Client(self), host, port)
        await self._all_idle.wait()
        await self._start_all()
        async with asyncio.timeout(ENDED_WITHIN_S):
            await self._all_idle.wait()
        return Flooded(
            statuses=dict(self._statuses), took=self._took, refused=self._refused, faults=self._faults
        )

    async def _start_all(self) -> None:
        began, number = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < self._job.seconds:
            due = int(spent * self._job.per_second)
            for order in range(number, min(due, number + len(self._idle))):
                self._all_idle.clear()
                self._idle.popleft().start(order)
            number = max(number, due)
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        flooded = runner.run(Flood(msgspec.json.decode(sys.argv[1], type=Job)).run())
    sys.stdout.buffer.write(_encode(flooded))
