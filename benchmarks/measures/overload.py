"""Ten times more starts than it can take: what happens to those that are accepted, and to the rest.

First the normal load, as many in flight as `throughput` has; then clients that start without waiting for anybody, for a
while; then the normal load again, to see that it recovers by itself. An accepted start that does not end fails the run.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.driver import Report
from benchmarks.flood import Job
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import Running, running

NORMAL = 64
FLOOD_S = 8.0
TIMES = 10
SAGAS = 1_000
CONNECTIONS = 640


def run(bench: Bench) -> Iterator[Row]:
    sagas, seconds = bench.sized(SAGAS, least=NORMAL), max(FLOOD_S * bench.scale, 1.0)
    with running(bench.postgres) as stage:
        before = _normal(stage, sagas)
        rate = TIMES * sagas / before.working.wall_s
        flooded = stage.flood(Job(url=stage.url, per_second=rate, seconds=seconds, connections=CONNECTIONS))
        after = _normal(stage, sagas)
    settings = {
        "offered_per_s": round(rate),
        "seconds": seconds,
        "statuses": dict(sorted(flooded.statuses.items())),
        "refused_p99_ms": round(percentile(flooded.refused or [0.0], 99) * 1000, 1),
    }
    usual, accepted = percentile(before.latencies_s, 99), percentile(flooded.took, 99)
    yield row("overload.normal_p99", "ms", [usual * 1000], {"in_flight": NORMAL})
    yield row("overload.accepted_p99", "ms", [accepted * 1000], settings)
    yield row("overload.ratio", "×", [accepted / usual], settings, target=at_most(3))
    yield row("overload.accepted", "sagas/s", [len(flooded.took) / seconds], settings)
    yield row("overload.after_p99", "ms", [percentile(after.latencies_s, 99) * 1000], {"in_flight": NORMAL})


def _normal(stage: Running, sagas: int) -> Report:
    return stage.drive(sagas, in_flight=NORMAL, warm_up=NORMAL)
