"""The machine that a run was made on, and how much of it others used meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

CALIBRATION_ROUNDS = 200_000
QUIET_CORES = 0.2
QUIET_FOR_S = 0.5


def calib_ms() -> float:
    """Best of five of a fixed pure-Python loop, in ms: how fast a core is right now. Compare like with like."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        total = 0
        for number in range(CALIBRATION_ROUNDS):
            total += number & 7
        best = min(best, time.perf_counter() - began)
    return round(best * 1000, 2)


def cpu_model() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent not idle, since it was started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def wait_until_quiet(patience_s: float) -> None:
    """Until less than a fifth of a core is busy, or patience is at its end."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        before = busy_seconds()
        time.sleep(QUIET_FOR_S)
        if busy_seconds() - before < QUIET_CORES * QUIET_FOR_S:
            return


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds of these processes, everything they have started, and what of it has ended."""
    return sum(_cpu_of(process) for pid in pids for process in _tree(pid))


def rss_mb(pid: int) -> float:
    """Resident memory of a process and of everything it has started, in MB (10^6 bytes)."""
    return sum(process.memory_info().rss for process in _tree(pid)) / 1e6


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # Its time is now its parent's, as a child that has ended.
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
