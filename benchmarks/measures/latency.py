"""How long one saga takes when nothing else goes on: from `POST /v1/instances?wait=` to its result."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.database import appends, commit_ms
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import running

SAGAS = 300
WARM_UP = 30


def run(bench: Bench) -> Iterator[Row]:
    sagas, warm_up = bench.sized(SAGAS, least=5), bench.sized(WARM_UP)
    took: list[list[float]] = []
    others: list[float] = []
    with running(bench.postgres) as stage:
        before = appends(stage.database)[1]
        for _ in range(bench.repeat):
            report = stage.drive(sagas, warm_up=warm_up)
            took.append(report.latencies_s)
            others.append(round(report.working.other_s / report.working.wall_s, 2))
        commits = (appends(stage.database)[1] - before) / bench.repeat / (sagas + warm_up)
        bare = commit_ms(stage.database)
    settings = {"sagas": sagas, "in_flight": 1, "workers": 1, "other_cores": others}
    cpu = ", ".join(f"{name} {spent * 1000 / sagas:.1f}" for name, spent in report.working.cpu_s.items())
    bounded = (
        f"{commits:.1f} commits one after the other, where a bare COMMIT takes {bare:.2f} ms;"
        f" CPU ms per saga: {cpu}"
    )
    for percent, target in ((50, at_most(15)), (99, None)):
        values = [percentile(latencies, percent) * 1000 for latencies in took]
        yield row(f"latency.p{percent}", "ms", values, settings, bounded_by=bounded, target=target)
        bounded = ""
