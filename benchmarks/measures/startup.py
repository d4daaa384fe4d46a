"""How long until it answers: `tenuto --help`, and `tenuto dev` on a new home (initdb included) and on an old one."""

from __future__ import annotations

import os
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
    """Once unmeasured, so that Python's bytecode is there as pip and a first run leave it."""
    with temporary_folder() as bytecode:
        environment = _with_bytecode(bytecode)
        _help_ms(environment)
        helps = [_help_ms(environment) for _ in range(max(bench.repeat, bench.sized(HELPS)))]
        yield row("startup.help", "ms", helps, {}, bounded_by="imports", target=at_most(200))
        _both_s(environment)
        ready = [_both_s(environment) for _ in range(bench.repeat)]
    cold, warm = [one[0] for one in ready], [one[1] for one in ready]
    more = median(cold) - median(warm)
    bounded = f"initdb and what comes with a new home: {more:.2f} s more than on an old one"
    yield row("startup.dev_cold", "s", cold, {"home": "new"}, bounded_by=bounded, target=at_most(3))
    yield row("startup.dev_warm", "s", warm, {"home": "there"}, bounded_by="mostly imports")


def _with_bytecode(folder: Path) -> dict[str, str]:
    """An environment in which Python keeps its bytecode, in this folder, whatever ours says."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return ours | {"PYTHONPYCACHEPREFIX": str(folder)}


def _help_ms(environment: dict[str, str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "tenuto", "--help"]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def _both_s(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds on a new home, and on the same one again."""
    with temporary_folder() as folder:
        return _ready_s(folder / "home", environment), _ready_s(folder / "home", environment)


def _ready_s(home: Path, environment: dict[str, str]) -> float:
    """From the command to the first 200 of `/readyz`."""
    began = time.perf_counter()
    with process(["-m", "tenuto", "dev", "--port", "0", "--home", str(home)], environment) as server:
        url = said(server, "ready ")
        urllib.request.urlopen(f"{url}/readyz", timeout=10).close()  # noqa: S310 - our own, on the loopback
        return time.perf_counter() - began
