"""CPU seconds by group of processes, between `Meter()` and `read()`, and what that says about the bottleneck.

The driver holds it, because only the driver knows when the work begins and ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from msgspec import Struct

from benchmarks.machine import busy_seconds, cores, cpu_seconds

NEARLY_ALL = 0.85
"""Of a core, or of all: busy so much, it is the limit."""


class Reading(Struct, frozen=True, kw_only=True):
    """Seconds. `other_s`: CPU that nobody measured here used meanwhile (the kernel's writers, other programs)."""

    wall_s: float
    cpu_s: dict[str, float]
    other_s: float

    @property
    def other_cores(self) -> float:
        """Cores that others kept busy: above 0.2, wall-clock times are disturbed."""
        return round(self.other_s / self.wall_s, 2)

    def bound(self) -> str:
        """What the work was waiting for, as far as CPU seconds tell."""
        total = sum(self.cpu_s.values())
        shares = ", ".join(f"{name} {spent / self.wall_s:.2f}" for name, spent in self.cpu_s.items())
        said = f"cores busy: {shares}, others {self.other_cores} of {cores()}"
        server = self.cpu_s.get("server", 0.0)
        if server >= NEARLY_ALL * self.wall_s:
            return f"the server's one interpreter ({said})"
        if total + self.other_s >= NEARLY_ALL * cores() * self.wall_s:
            return f"all cores ({said})"
        return f"waiting, for commits or for each other ({said})"


class Meter:
    """`groups` are process ids by name; the process that holds the meter is the group `driver`."""

    def __init__(self, groups: Mapping[str, list[int]]) -> None:
        self._groups = dict(groups)
        self._before = self._cpu()
        self._busy = busy_seconds()
        self._began = time.perf_counter()

    def read(self) -> Reading:
        wall = time.perf_counter() - self._began
        busy = busy_seconds() - self._busy
        spent = {name: after - self._before[name] for name, after in self._cpu().items()}
        return Reading(wall_s=wall, cpu_s=spent, other_s=max(0.0, busy - sum(spent.values())))

    def _cpu(self) -> dict[str, float]:
        measured = {name: cpu_seconds(pids) for name, pids in self._groups.items()}
        own = os.times()
        return measured | {"driver": own.user + own.system}
