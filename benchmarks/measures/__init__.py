"""What is measured. A new measure is a new module with `run(bench)`, and one line here."""

from __future__ import annotations

from benchmarks.bench import Measure
from benchmarks.measures import append, growth, latency, load, memory, micro, size, startup, throughput

MEASURES: dict[str, Measure] = {
    "micro": micro.run,
    "append": append.run,
    "growth": growth.run,
    "load": load.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "memory": memory.run,
    "size": size.run,
    "startup": startup.run,
}
"""In the order in which they run."""
