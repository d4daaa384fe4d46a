"""What the server holds in memory after 100,000 finished sagas, and how much of that the second half added."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.machine import rss_mb
from benchmarks.rows import Row, at_most, row
from benchmarks.stage import running

SAGAS = 100_000
IN_FLIGHT = 64


def run(bench: Bench) -> Iterator[Row]:
    """One server, once: repeating it would take minutes, and memory is not noisy."""
    half = bench.sized(SAGAS // 2, least=10)
    with running(bench.postgres) as stage:
        empty = rss_mb(stage.server)
        stage.drive(half, in_flight=IN_FLIGHT)
        middle = rss_mb(stage.server)
        stage.drive(half, in_flight=IN_FLIGHT)
        full = rss_mb(stage.server)
    settings = {"sagas": 2 * half, "in_flight": IN_FLIGHT}
    yield row("memory.ready", "MB", [empty], settings | {"sagas": 0}, bounded_by="the code and its libraries")
    yield row("memory.rss", "MB", [full], settings, target=at_most(250))
    yield row("memory.growth", "MB", [full - middle], settings | {"since_sagas": half})
