"""What one saga leaves behind: bytes of WAL, and bytes of tables and indexes, of the log and of the projections."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.database import Written, sizes, wal_by_application, written
from benchmarks.rows import Row, at_most, row
from benchmarks.stage import Running, running

SAGAS = 1_000
IN_FLIGHT = 64
PARTS = {"append": "tenuto store", "projections": "tenuto projection"}
"""How the connections of each part are called."""
NAMES = {"tenuto_0": "log", "tenuto_projections": "projections"}


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=20)
    settings = {"sagas": sagas, "in_flight": IN_FLIGHT}
    with running(bench.postgres) as stage:
        stage.drive(bench.sized(SAGAS), in_flight=IN_FLIGHT)
        empty = sizes(stage.database)
        cold = _written(bench, stage, sagas, after_checkpoint=True)
        wal_before = wal_by_application(stage.database)
        warm = [_written(bench, stage, sagas, after_checkpoint=False) for _ in range(bench.repeat)]
        wal_after = wal_by_application(stage.database)
        full = sizes(stage.database)
    images = [round(one.page_images / sagas, 2) for one in warm]
    yield row(
        "size.wal", "B/saga", [one.wal_bytes / sagas for one in warm], settings | {"page_images": images}
    )
    yield row(
        "size.wal_after_checkpoint",
        "B/saga",
        [cold.wal_bytes / sagas],
        settings | {"page_images": [round(cold.page_images / sagas, 2)]},
        bounded_by="every page is written whole once after each checkpoint (full_page_writes)",
    )
    for part, names in PARTS.items():
        grown = [wal_after[name] - wal_before.get(name, 0) for name in wal_after if name.startswith(names)]
        if grown:
            target = at_most(6000) if part == "append" else None
            yield row(
                f"size.wal.{part}", "B/saga", [sum(grown) / sagas / bench.repeat], settings, target=target
            )
    everything = sagas * (bench.repeat + 1)
    for schema, name in NAMES.items():
        before, after = empty[schema], full[schema]
        tables, indexes = after.tables - before.tables, after.indexes - before.indexes
        yield row(f"size.{name}.tables", "B/saga", [tables / everything], settings)
        yield row(f"size.{name}.indexes", "B/saga", [indexes / everything], settings)


def _written(bench: Bench, stage: Running, sagas: int, *, after_checkpoint: bool) -> Written:
    before = written(bench.postgres, new_images=after_checkpoint)
    stage.drive(sagas, in_flight=IN_FLIGHT)
    after = written(bench.postgres)
    return Written(after.wal_bytes - before.wal_bytes, after.page_images - before.page_images)
