"""Durable steps a second, and their CPU: sagas over HTTP, 64 in flight, remote workers, projections live.

Once with all projections, as `tenuto serve` keeps them, and once with those three that show instances and their steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.database import appends
from benchmarks.driver import Report
from benchmarks.rows import Row, at_least, at_most, row
from benchmarks.stage import Running, running
from benchmarks.work import STEPS

SAGAS = 2_000
WARM_UP = 300
IN_FLIGHT = 64
WORKERS = 1
CONCURRENCY = 100


NAMED = ("instances", "step_executions", "transitions")
"""The projections that every view of an instance needs; peers keep no more, if as much."""


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=IN_FLIGHT // 8)
    profile = None if bench.profile is None else bench.profile / "throughput.prof"
    per_commit: list[float] = []
    settings = {
        "sagas": sagas,
        "in_flight": IN_FLIGHT,
        "workers": WORKERS,
        "concurrency": CONCURRENCY,
        "profiled": profile is not None,
    }
    with running(bench.postgres, workers=WORKERS, concurrency=CONCURRENCY, profile=profile) as stage:
        reports = _driven(bench, stage, sagas, per_commit)
    yield from _rows("throughput", reports, sagas, {**settings, "projections": "all"})
    yield row("throughput.events_per_commit", "events", per_commit, settings)
    with running(bench.postgres, workers=WORKERS, concurrency=CONCURRENCY, projections=NAMED) as stage:
        reports = _driven(bench, stage, sagas, [])
    yield from _rows("throughput.named", reports, sagas, {**settings, "projections": list(NAMED)})


def _driven(bench: Bench, stage: Running, sagas: int, per_commit: list[float]) -> list[Report]:
    reports: list[Report] = []
    for _ in range(bench.repeat):
        warm_up = bench.sized(WARM_UP) if not reports else 0
        before = appends(stage.database)
        reports.append(stage.drive(sagas, in_flight=IN_FLIGHT, warm_up=warm_up))
        after = appends(stage.database)
        per_commit.append((after[0] - before[0]) / (after[1] - before[1]))
    return reports


def _rows(name: str, reports: list[Report], sagas: int, settings: dict[str, object]) -> Iterator[Row]:
    steps = len(STEPS) * sagas
    settings = {**settings, "other_cores": [one.working.other_cores for one in reports]}
    rates = [steps / one.working.wall_s for one in reports]
    middle = sorted(reports, key=lambda one: one.working.wall_s)[len(reports) // 2]
    yield row(name, "steps/s", rates, settings, bounded_by=middle.working.bound(), target=at_least(1000))
    spent = [sum(one.settled.cpu_s.values()) * 1000 / steps for one in reports]
    yield row(f"{name}.cpu", "ms/step", spent, settings, target=at_most(0.5))
    for group in middle.settled.cpu_s:
        spent = [one.settled.cpu_s[group] * 1000 / steps for one in reports]
        yield row(f"{name}.cpu.{group}", "ms/step", spent, settings)
