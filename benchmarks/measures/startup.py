"""How long until it answers: `tenuto --help`, and `tenuto dev` on a new home (initdb included) and on an old one."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.rows import Row, at_most, row
from benchmarks.stage import ROOT, process, said, temporary_folder

HELPS = 7
"""`--help` is quick, so it is asked more often than the rest."""


def run(bench: Bench) -> Iterator[Row]:
    helps = [_help_ms() for _ in range(max(bench.repeat, bench.sized(HELPS)))]
    yield row("startup.help", "ms", helps, {}, bounded_by="imports", target=at_most(200))
    cold, warm = [], []
    for _ in range(bench.repeat):
        with temporary_folder() as folder:
            cold.append(_dev_ready_s(folder / "home"))
            warm.append(_dev_ready_s(folder / "home"))
    more = median(cold) - median(warm)
    bounded = f"initdb and what comes with a new home: {more:.2f} s more than on an old one"
    yield row("startup.dev_cold", "s", cold, {"home": "new"}, bounded_by=bounded, target=at_most(3))
    yield row("startup.dev_warm", "s", warm, {"home": "there"}, bounded_by="imports; PostgreSQL's own start")


def _help_ms() -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tenuto", "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )
    return (time.perf_counter() - began) * 1000


def _dev_ready_s(home: Path) -> float:
    """From the command to the first 200 of `/readyz`."""
    began = time.perf_counter()
    with process(["-m", "tenuto", "dev", "--port", "0", "--home", str(home)]) as server:
        url = said(server, "ready ")
        urllib.request.urlopen(f"{url}/readyz", timeout=10).close()  # noqa: S310 - our own, on the loopback
        return time.perf_counter() - began
