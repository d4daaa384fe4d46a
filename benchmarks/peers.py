"""Tenuto beside other engines, the same work in the same run: `python -m benchmarks.peers FOLDER`.

FOLDER holds a script per peer (`restate_peer.py`, …) that runs the saga of `work.py` and appends JSON lines to
`BENCH_OUT`: `{"measure": "throughput", "steps_s": …, "wf_s": …, "cpu_ms_per_step": …}`. What a peer needs is installed
below `.peers/` by pip and npm. Round by round Tenuto and every peer run one after the other, so that a ratio compares
neighbours in time; the median ratio counts. A peer that cannot run is left out, and it is said why.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks.database import postmaster
from benchmarks.machine import calib_ms, wait_until_quiet
from benchmarks.measures.throughput import NAMED
from benchmarks.rows import LATEST, Row, at_least, read, row, table, write
from benchmarks.stage import Running, own_postgres, running
from benchmarks.work import REFUSED

HOME = Path(__file__).parents[1] / ".peers"
WITHIN_S = 600.0
IN_FLIGHT = 64
OURS = {"tenuto": "", "tenuto_named": ".named"}
"""Tenuto with all projections, and with those that show instances and steps; how rows about it end."""


class Peer(Struct, frozen=True, kw_only=True):
    """`packages` for pip, `npm` for npm; `needs` is an environment variable without which it cannot run."""

    packages: list[str]
    npm: list[str] = []
    arguments: list[str] = []
    needs: str | None = None
    target: float | None = None


PEERS = {
    "restate": Peer(
        packages=["restate-sdk", "granian", "hypercorn", "httpx"],
        npm=["@restatedev/restate-server"],
        arguments=["--partitions", "2", "--concurrency", str(IN_FLIGHT)],
        target=1.3,
    ),
    "dbos": Peer(packages=["dbos", "psutil"], arguments=["--mode", "queue", "--procs", "2"]),
    "absurd": Peer(packages=["absurd-sdk", "psycopg[binary]", "psutil"], needs="ABSURD_SQL"),
}
"""The first with its best settings on two cores; the others with remote workers, as Tenuto has."""


class Measured(Struct, frozen=True):
    """One run of one engine."""

    steps_s: float
    compensations_s: float
    cpu_ms: float


class CannotRunError(Exception):
    """This peer cannot run here."""


def main() -> int:
    options = _options()
    with own_postgres() as postgres:
        names = [name for name in options.peer or list(PEERS) if _ready(name, options.folder)]
        if not names:
            sys.stderr.write("No peer can run here.\n")
            return 1
        rounds = [_round(options, postgres, names) for _ in range(options.repeat)]
    rows = list(_rows(rounds, names, options))
    print(table(rows))
    known = [one for one in read(options.out) if one.measure not in {new.measure for new in rows}]
    write([*known, *rows], options.out)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Tenuto beside its peers."
    )
    parser.add_argument("folder", type=Path, help="where the peers' scripts are")
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="this one; repeatable")
    parser.add_argument(
        "--sagas", type=int, default=3000, help="of each engine in each round (default: 3000)"
    )
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the median counts (default: 3)")
    parser.add_argument("--patience", type=float, default=20, help="seconds to wait for a quiet machine")
    parser.add_argument("--out", type=Path, default=LATEST, help="rows are added to this file")
    return parser.parse_args()


# What they need --------------------------------------------------------------------------


def _ready(name: str, folder: Path) -> bool:
    """Installs what is missing. Says why when it cannot be had."""
    try:
        _prepare(name, folder)
    except (CannotRunError, subprocess.CalledProcessError, OSError) as problem:
        sys.stderr.write(f"{name} is left out: {problem}\n")
        return False
    return True


def _prepare(name: str, folder: Path) -> None:
    peer = PEERS[name]
    if not (folder / f"{name}_peer.py").is_file():
        raise CannotRunError(f"{folder} has no {name}_peer.py")
    if peer.needs is not None and peer.needs not in os.environ:
        raise CannotRunError(f"{peer.needs} is not set")
    home = HOME / name
    if (home / "ready").exists():
        return
    venv.create(home / "venv", with_pip=True)
    pip = [str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *peer.packages]
    subprocess.run(pip, check=True)
    if peer.npm:
        npm = shutil.which("npm")
        if npm is None:
            raise CannotRunError("npm is not installed")
        subprocess.run([npm, "install", "--silent", "--prefix", str(home), *peer.npm], check=True)
    (home / "ready").touch()


def _environment(name: str, postgres: str, out: Path) -> dict[str, str]:
    home = HOME / name
    environment = {
        **os.environ,
        "BENCH_DSN": postgres,
        "BENCH_PG_PID": str(postmaster(postgres)),
        "BENCH_OUT": str(out),
        "BENCH_LOCK": str(HOME / "lock"),
        "BENCH_TMP": str(home / "tmp"),
        "BENCH_QUIET_S": "2",
    }
    binaries = [path for path in home.glob("node_modules/@*/*/bin/restate-server") if path.is_file()]
    return environment | {"RESTATE_BIN": str(binaries[0])} if binaries else environment


# One round -------------------------------------------------------------------------------


def _round(options: argparse.Namespace, postgres: str, names: list[str]) -> dict[str, Measured]:
    wait_until_quiet(options.patience)
    found = {"tenuto": _tenuto(postgres, options.sagas, ())}
    wait_until_quiet(options.patience)
    found["tenuto_named"] = _tenuto(postgres, options.sagas, NAMED)
    for name in names:
        wait_until_quiet(options.patience)
        found[name] = _peer(name, options, postgres)
        sys.stderr.write(f"{name}: {found[name]} (calib {calib_ms()} ms)\n")
    for ours in OURS:
        sys.stderr.write(f"{ours}: {found[ours]}\n")
    return found


def _tenuto(postgres: str, sagas: int, projections: Sequence[str]) -> Measured:
    with running(postgres, projections=projections) as stage:
        plain = stage.drive(sagas, in_flight=IN_FLIGHT, warm_up=300)
        undone = _compensations(stage, sagas // 3)
    steps = 3 * sagas
    cpu = sum(plain.settled.cpu_s.values()) * 1000 / steps
    return Measured(steps / plain.working.wall_s, undone, cpu)


def _compensations(stage: Running, sagas: int) -> float:
    report = stage.drive(sagas, in_flight=IN_FLIGHT, warm_up=100, definition=REFUSED, outcome="compensated")
    return sagas / report.working.wall_s


def _peer(name: str, options: argparse.Namespace, postgres: str) -> Measured:
    lines = _lines(name, options, postgres)
    plain, undone = next(lines), next(lines)
    return Measured(plain["steps_s"], undone["wf_s"], plain["cpu_ms_per_step"])


def _lines(name: str, options: argparse.Namespace, postgres: str) -> Iterator[dict[str, Any]]:
    """What the peer's script says of its throughput, and of the compensation path."""
    out = HOME / name / "results.jsonl"
    python = str(HOME / name / "venv" / "bin" / "python")
    for what, sagas in (("throughput", options.sagas), ("comp", options.sagas // 3)):
        out.unlink(missing_ok=True)
        command = [python, str((options.folder / f"{name}_peer.py").resolve()), what, "-n", str(sagas)]
        subprocess.run(
            [*command, *PEERS[name].arguments],
            env=_environment(name, postgres, out),
            cwd=HOME / name,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=WITHIN_S,
        )
        yield json.loads(out.read_text().splitlines()[-1])


def _rows(rounds: list[dict[str, Measured]], names: list[str], options: argparse.Namespace) -> Iterator[Row]:
    settings = {"sagas": options.sagas, "in_flight": IN_FLIGHT, "compared": "within each round"}
    for name in [*OURS, *names]:
        yield row(f"peers.{name}.throughput", "steps/s", [one[name].steps_s for one in rounds], settings)
        yield row(f"peers.{name}.cpu", "ms/step", [one[name].cpu_ms for one in rounds], settings)
        undone = [one[name].compensations_s for one in rounds]
        yield row(f"peers.{name}.compensation", "sagas/s", undone, settings)
    for name in names:
        wanted = PEERS[name].target
        for ours, suffix in OURS.items():
            ratios = [one[ours].steps_s / one[name].steps_s for one in rounds]
            target = None if wanted is None else at_least(wanted)
            yield row(f"ratio_to_{name}{suffix}", "×", ratios, settings, target=target)
            undone = [one[ours].compensations_s / one[name].compensations_s for one in rounds]
            target = None if wanted is None else at_least(1.0)
            yield row(f"ratio_to_{name}{suffix}.compensation", "×", undone, settings, target=target)


if __name__ == "__main__":
    sys.exit(main())
