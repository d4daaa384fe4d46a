"""What is measured. A new measure is a new module with `run(bench)`, and one line here."""

from __future__ import annotations

from benchmarks.bench import Measure
from benchmarks.measures import (
    append,
    audit,
    compensation,
    growth,
    insight,
    latency,
    lists,
    load,
    memory,
    micro,
    overload,
    projections,
    recovery,
    size,
    startup,
    throughput,
    timers,
)

MEASURES: dict[str, Measure] = {
    "micro": micro.run,
    "append": append.run,
    "audit": audit.run,
    "projections": projections.run,
    "growth": growth.run,
    "insight": insight.run,
    "load": load.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "compensation": compensation.run,
    "timers": timers.run,
    "recovery": recovery.run,
    "memory": memory.run,
    "size": size.run,
    "overload": overload.run,
    "startup": startup.run,
    "lists": lists.run,
}
"""In the order in which they run."""
