"""`make bench`: every measure runs at a tiny size and reports what it promises. No figure is judged here."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as program
from benchmarks.bench import Bench
from benchmarks.measures import MEASURES
from benchmarks.meter import Reading
from benchmarks.population import combinations
from benchmarks.rows import Row, at_least, at_most, percentile, row, table, to_json
from benchmarks.stage import ProcessEndedError, Running
from projections.catalogue import PROJECTIONS

TINY = 0.002
CPU = ["cpu", "cpu.server", "cpu.workers", "cpu.postgres", "cpu.driver"]
REPORTED: dict[str, dict[str, str]] = {
    "micro": {f"micro.{name}": "µs/event" for name in ("decide", "owed", "encode", "decode", "fold")}
    | {"micro.order": "µs/event", "micro.condition": "µs"},
    "append": {f"append.batch_{events}": "commits/s" for events in (1, 10, 100, 1000)},
    "projections": dict.fromkeys(
        [
            *(f"projections.{name}" for name in (*PROJECTIONS, "together", "apart")),
            *(f"projections.rebuild.{name}" for name in PROJECTIONS),
        ],
        "events/s",
    ),
    "lists": {f"lists.{name.replace(' ', '_')}": "ms" for name in combinations(100)},
    "audit": dict.fromkeys(["audit.follow", "audit.verify", "audit.verify_live"], "events/s"),
    "growth": {f"growth.steps_{steps}": "steps/s" for steps in (500, 5000)}
    | {f"growth.cpu_{steps}": "ms/step" for steps in (500, 5000)}
    | {"growth.kept": "%", "growth.kept_cpu": "%"},
    "load": {"load.snapshot": "ms", "load.bare": "ms"},
    "insight": dict.fromkeys(
        ["insight.verify", "insight.verify.one_process", "insight.verify.decide"], "events/s"
    )
    | {"insight.what_if": "s"},
    "throughput": {"throughput": "steps/s"}
    | {"throughput.named": "steps/s"}
    | {f"throughput.{name}": "ms/step" for name in CPU}
    | {f"throughput.named.{name}": "ms/step" for name in CPU}
    | {"throughput.events_per_commit": "events"},
    "latency": {f"latency{kept}.p{percent}": "ms" for kept in ("", ".named") for percent in (50, 99)},
    "lag": {"lag.p99": "ms", "lag.p50": "ms"},
    "compensation": {"compensation": "sagas/s", "compensation.cpu": "ms/step"},
    "timers": {"timers.all": "s", "timers.late_p99": "s", "timers.late_p50": "s", "timers.early": "timers"},
    "recovery": {f"recovery.{name}": "s" for name in ("1s", "default")}
    | {f"recovery.{name}.lost": "instances" for name in ("1s", "default")},
    "overload": {f"overload.{name}": "ms" for name in ("normal_p99", "accepted_p99", "after_p99")}
    | {"overload.ratio": "×", "overload.accepted": "sagas/s"},
    "memory": {f"memory.{name}": "MB" for name in ("ready", "rss", "growth")},
    "size": dict.fromkeys(
        [
            "size.wal",
            "size.wal_after_checkpoint",
            "size.wal.append",
            "size.wal.projections",
            *(f"size.{part}.{what}" for part in ("log", "projections") for what in ("tables", "indexes")),
        ],
        "B/saga",
    ),
    "startup": {"startup.help": "ms", "startup.dev_cold": "s", "startup.dev_warm": "s"},
}
MAY_BE_NOTHING = {
    "lag.p50",
    "lag.p99",
    "recovery.1s.lost",
    "recovery.default.lost",
    "timers.early",
    "memory.growth",
    *(f"throughput.cpu.{name}" for name in ("workers", "driver", "postgres")),
    *(f"throughput.named.cpu.{name}" for name in ("workers", "driver", "postgres")),
}
"""Of so few sagas: a page or a clock tick too little to be seen."""


def a_row(value: float = 1500.0, **changes: object) -> Row:
    return msgspec.structs.replace(row("m", "steps/s", [value], {}), **changes)


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_measure_reports_its_rows(name: str, database: str) -> None:
    rows = list(MEASURES[name](Bench(postgres=database, repeat=1, scale=TINY)))
    assert {one.measure: one.unit for one in rows} == REPORTED[name]
    for one in rows:
        assert one.repeats == len(one.values)
        assert all(math.isfinite(value) for value in one.values)
        assert one.value > 0 or one.measure in MAY_BE_NOTHING or one.measure.startswith("size."), one


def test_every_measure_is_known_here() -> None:
    assert set(REPORTED) == set(MEASURES)


def test_a_row_is_the_median_of_its_repeats() -> None:
    found = row("m", "ms", [9.0, 1.0, 2.0], {"sagas": 3})
    assert (found.value, found.repeats, found.values) == (2.0, 3, [9.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="nothing was measured"):
        row("m", "ms", [], {})


def test_a_target_is_met_from_its_own_side() -> None:
    assert at_least(1000).met(1000)
    assert not at_least(1000).met(999)
    assert at_most(15).met(15)
    assert not at_most(15).met(15.1)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_the_table_says_what_was_missed_and_what_bounded_it() -> None:
    slow = a_row(900.0, target=at_least(1000), bounded_by="the server's one interpreter")
    text = table([slow, a_row(2000.0, measure="other", target=at_least(1000))])
    lines = text.splitlines()
    assert lines[2].split() == ["m", "900", "steps/s", "≥", "1,000", "MISSED"]
    assert lines[3].split()[-1] == "met"
    assert lines[-1] == "  m: the server's one interpreter"


def test_rows_are_a_list_for_programs() -> None:
    (read,) = msgspec.json.decode(to_json([a_row()]))
    assert {"measure", "unit", "value", "repeats", "settings"} <= set(read)


def reading(server: float, postgres: float, other: float) -> Reading:
    return Reading(wall_s=1.0, cpu_s={"server": server, "postgres": postgres}, other_s=other)


def test_what_bounds_is_told_by_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.meter.cores", lambda: 2)
    assert reading(0.9, 0.3, 0.0).bound().startswith("the server's one interpreter")
    assert reading(0.6, 0.4, 0.9).bound().startswith("all cores")
    assert reading(0.2, 0.1, 0.0).bound().startswith("waiting")


def test_a_driver_that_fails_fails_the_measure() -> None:
    nobody = Running("http://127.0.0.1:1", "", server=1, workers=[], postgres=1)
    with pytest.raises(ProcessEndedError, match="Cannot connect"):
        nobody.drive(1)


def durable(monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    monkeypatch.setattr(program, "settings", lambda _: {"server_version": "18.0", "fsync": fsync})


def test_a_run_prints_and_writes_the_same_rows(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    durable(monkeypatch, "on")
    out = tmp_path / "results" / "latest.json"
    options = [
        "--only",
        "micro",
        "--quick",
        "--patience",
        "0",
        "--json",
        "--out",
        str(out),
        "--database-url",
        database,
    ]
    assert program.main(options) == 0
    rows = msgspec.json.decode(capfd.readouterr().out, type=list[Row])
    assert rows == msgspec.json.decode(out.read_bytes(), type=list[Row])
    assert rows[0].measure == "machine"
    assert {"python", "cpu", "postgres"} <= set(rows[0].settings)
    assert all(one.settings["calib_ms"] > 0 for one in rows[1:])


def test_a_server_without_fsync_is_not_measured(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    durable(monkeypatch, "off")
    out = tmp_path / "latest.json"
    assert program.main(["--database-url", database, "--out", str(out)]) == 1
    assert "fsync" in capsys.readouterr().err
    assert not out.exists()
