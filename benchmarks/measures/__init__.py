"""What is measured. A new measure is a new module with `run(bench)`, and one line here."""

from __future__ import annotations

from benchmarks.bench import Measure
from benchmarks.measures import (
    append,
    growth,
    latency,
    lists,
    memory,
    micro,
    projections,
    size,
    startup,
    throughput,
)

MEASURES: dict[str, Measure] = {
    "micro": micro.run,
    "append": append.run,
    "projections": projections.run,
    "growth": growth.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "memory": memory.run,
    "size": size.run,
    "startup": startup.run,
    "lists": lists.run,
}
"""In the order in which they run."""
