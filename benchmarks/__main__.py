"""`python -m benchmarks`: measures, prints a table, writes `benchmarks/results/latest.json`."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks.bench import Bench
from benchmarks.database import settings
from benchmarks.machine import calib_ms, cores, cpu_model, wait_until_quiet
from benchmarks.measures import MEASURES
from benchmarks.rows import LATEST, Row, row, table, to_json, write
from benchmarks.stage import own_postgres

QUICK = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    with ExitStack() as stack:
        postgres = options.database_url or stack.enter_context(own_postgres())
        if settings(postgres)["fsync"] != "on":
            sys.stderr.write(
                "This PostgreSQL has fsync off: nothing it says of durable work would be true.\n"
            )
            return 1
        if options.profile is not None:
            options.profile.mkdir(parents=True, exist_ok=True)
        bench = Bench(
            postgres=postgres,
            repeat=1 if options.quick else options.repeat,
            scale=QUICK if options.quick else options.scale,
            patience_s=options.patience,
            profile=None if options.profile is None else options.profile.resolve(),
        )
        rows = [machine(bench), *measured(bench, options.only or list(MEASURES))]
    write(rows, options.out)
    if options.json:
        sys.stdout.buffer.write(to_json(rows))
    else:
        print(table(rows))
        print(f"\nWritten to {options.out}")
    return 0


def _end_in_order(number: int, _: object) -> None:
    """A run that is ended ends what it has started."""
    sys.exit(128 + number)


def machine(bench: Bench) -> Row:
    """What the figures of this run belong to, as its first row."""
    of_run = {"scale": bench.scale, "python": platform.python_version(), "cpu": cpu_model()}
    return row("machine", "cores", [cores()], of_run | {"postgres": settings(bench.postgres)})


def measured(bench: Bench, names: Sequence[str]) -> Iterator[Row]:
    """The rows of each measure, with how fast a core was right before it."""
    for name in names:
        wait_until_quiet(bench.patience_s)
        calibrated = {"calib_ms": calib_ms()}
        sys.stderr.write(f"{name} (calib {calibrated['calib_ms']} ms) …\n")
        for one in MEASURES[name](bench):
            yield msgspec.structs.replace(one, settings=one.settings | calibrated)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What Tenuto costs.")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="measure this; repeatable")
    parser.add_argument("--repeat", type=int, default=3, help="how often; the median counts (default: 3)")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of everything, once: does it work at all"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="times every size (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument(
        "--out", type=Path, default=LATEST, help=f"where the rows go (default: {LATEST.name})"
    )
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="profile the server of `throughput`")
    parser.add_argument(
        "--patience", type=float, default=20, help="seconds to wait for a quiet machine (default: 20)"
    )
    parser.add_argument("--database-url", help="a durable PostgreSQL of this machine, in place of our own")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_in_order)
    sys.exit(main())
