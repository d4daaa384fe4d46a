"""Durable steps a second, and their CPU: sagas over HTTP, 64 in flight, remote workers, projections live."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.database import appends
from benchmarks.driver import Report
from benchmarks.rows import Row, at_least, row
from benchmarks.stage import running
from benchmarks.work import STEPS

SAGAS = 2_000
WARM_UP = 300
IN_FLIGHT = 64
WORKERS = 1
CONCURRENCY = 100


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=IN_FLIGHT // 8)
    profile = None if bench.profile is None else bench.profile / "throughput.prof"
    reports: list[Report] = []
    per_commit: list[float] = []
    with running(bench.postgres, workers=WORKERS, concurrency=CONCURRENCY, profile=profile) as stage:
        for _ in range(bench.repeat):
            warm_up = bench.sized(WARM_UP) if not reports else 0
            before = appends(stage.database)
            reports.append(stage.drive(sagas, in_flight=IN_FLIGHT, warm_up=warm_up))
            after = appends(stage.database)
            per_commit.append((after[0] - before[0]) / (after[1] - before[1]))
    steps = len(STEPS) * sagas
    settings = {
        "sagas": sagas,
        "in_flight": IN_FLIGHT,
        "workers": WORKERS,
        "concurrency": CONCURRENCY,
        "profiled": profile is not None,
        "other_cores": [one.working.other_cores for one in reports],
    }
    rates = [steps / one.working.wall_s for one in reports]
    middle = sorted(reports, key=lambda one: one.working.wall_s)[len(reports) // 2]
    yield row(
        "throughput", "steps/s", rates, settings, bounded_by=middle.working.bound(), target=at_least(1000)
    )
    yield row(
        "throughput.cpu",
        "ms/step",
        [sum(one.settled.cpu_s.values()) * 1000 / steps for one in reports],
        settings,
    )
    for group in middle.settled.cpu_s:
        spent = [one.settled.cpu_s[group] * 1000 / steps for one in reports]
        yield row(f"throughput.cpu.{group}", "ms/step", spent, settings)
    yield row("throughput.events_per_commit", "events", per_commit, settings)
