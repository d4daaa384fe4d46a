"""How long one saga takes when nothing else goes on: from `POST /v1/instances?wait=` to its result.

With all projections, and with those three that show instances and their steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.bench import Bench
from benchmarks.database import appends, commit_ms
from benchmarks.measures.throughput import NAMED
from benchmarks.rows import Row, at_most, percentile, row
from benchmarks.stage import running

SAGAS = 300
WARM_UP = 30
TARGETS = ((50, at_most(6)), (99, at_most(12)))


def run(bench: Bench) -> Iterator[Row]:
    yield from _measured(bench, "latency", ())
    yield from _measured(bench, "latency.named", NAMED)


def _measured(bench: Bench, name: str, projections: Sequence[str]) -> Iterator[Row]:
    sagas, warm_up = bench.sized(SAGAS, least=5), bench.sized(WARM_UP)
    with running(bench.postgres, projections=projections) as stage:
        before = appends(stage.database)[1]
        reports = [stage.drive(sagas, warm_up=warm_up) for _ in range(bench.repeat)]
        commits = (appends(stage.database)[1] - before) / bench.repeat / (sagas + warm_up)
        bare = commit_ms(stage.database)
    settings = {
        "sagas": sagas,
        "in_flight": 1,
        "workers": 1,
        "projections": list(projections) or "all",
        "other_cores": [one.working.other_cores for one in reports],
    }
    spent = {group: cpu * 1000 / sagas for group, cpu in reports[-1].working.cpu_s.items()}
    cpu = ", ".join(f"{group} {ms:.1f}" for group, ms in spent.items())
    bounded = (
        f"{commits:.1f} commits one after the other, where a bare COMMIT takes {bare:.2f} ms;"
        f" CPU ms per saga: {cpu}"
    )
    for percent, target in TARGETS:
        values = [percentile(one.latencies_s, percent) * 1000 for one in reports]
        yield row(f"{name}.p{percent}", "ms", values, settings, bounded_by=bounded, target=target)
        bounded = ""
