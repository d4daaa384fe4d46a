"""The compensation path: sagas whose last step is refused for good, so that two are undone: five steps."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.rows import Row, row
from benchmarks.stage import running
from benchmarks.work import REFUSED

SAGAS = 1_000
WARM_UP = 200
IN_FLIGHT = 64
STEPS = 5


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=IN_FLIGHT // 8)
    with running(bench.postgres, concurrency=100) as stage:
        reports = [
            stage.drive(
                sagas,
                in_flight=IN_FLIGHT,
                warm_up=0 if number else bench.sized(WARM_UP),
                definition=REFUSED,
                outcome="compensated",
            )
            for number in range(bench.repeat)
        ]
    settings = {
        "sagas": sagas,
        "in_flight": IN_FLIGHT,
        "other_cores": [one.working.other_cores for one in reports],
    }
    middle = sorted(reports, key=lambda one: one.working.wall_s)[len(reports) // 2]
    rates = [sagas / one.working.wall_s for one in reports]
    yield row("compensation", "sagas/s", rates, settings, bounded_by=middle.working.bound())
    spent = [sum(one.settled.cpu_s.values()) * 1000 / STEPS / sagas for one in reports]
    yield row("compensation.cpu", "ms/step", spent, settings)
