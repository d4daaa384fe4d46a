"""The notary and the auditor: events/s taken into the tree, an export checked, and a live log compared with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.measures.micro import saga_events, saga_program
from benchmarks.rows import Row, at_least, row
from domain.codec import encode, topic_of
from engine.store.statements import SCHEMA
from notary.ledger import Ledger
from tenuto.audit.export import EXPORT, Line, append, leaf_line, lines_of
from tenuto.audit.leaf import leaf_of
from tenuto.audit.note import Checkpoint, Signer
from tenuto.audit.sources import rows_of_database
from tenuto.audit.tree import Frontier
from tenuto.audit.verifying import Verification

SAGAS = 15_000
"""210,000 events."""
KEY = Signer("benchmark", Ed25519PrivateKey.generate())


def run(bench: Bench) -> Iterator[Row]:
    with fresh_database(bench.postgres) as database, TemporaryDirectory() as folder:
        events = _fill(database, bench.sized(SAGAS, least=3))
        settings = {"events": events}
        follow = [_followed(database, number, events) for number in range(bench.repeat)]
        yield row("audit.follow", "events/s", follow, settings, target=at_least(20_000))
        path = Path(folder) / "export.jsonl"
        _export(database, path)
        offline = [_verified(path, None, events) for _ in range(bench.repeat)]
        yield row("audit.verify", "events/s", offline, settings, target=at_least(100_000))
        live = [_verified(path, database, events) for _ in range(bench.repeat)]
        yield row("audit.verify_live", "events/s", live, settings, target=at_least(100_000))


def _fill(database: str, sagas: int) -> int:
    """A log as the store has it, without the time that the engine would take."""
    stored = [(topic_of(event), encode(event)) for event in saga_events(saga_program())]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tenuto_0")
        connection.execute("SET search_path = tenuto_0")
        connection.execute(SCHEMA)
        columns = "(originator_id, originator_version, topic, state)"
        with connection.cursor().copy(
            f"COPY stored_events {columns} FROM STDIN (FORMAT BINARY)".encode()
        ) as copy:
            copy.set_types(["text", "int8", "text", "bytea"])
            for number in range(sagas):
                for version, (topic, payload) in enumerate(stored, 1):
                    copy.write_row((f"0-{number:032x}", version, topic, payload))
        connection.execute("VACUUM ANALYZE stored_events")
    return sagas * len(stored)


def _followed(database: str, number: int, events: int) -> float:
    ledger = Ledger(database, log="tenuto_0", schema=f"notary_{number}")
    try:
        ledger.prepare("benchmark")
        began = time.perf_counter()
        while ledger.follow():
            pass
        took = time.perf_counter() - began
        assert ledger.size == events
    finally:
        ledger.close()
    return events / took


def _export(database: str, path: Path) -> None:
    """Leaves and one checkpoint."""
    frontier, lines = Frontier(), [Line(format=EXPORT, origin="benchmark", key=str(KEY.verifier))]
    for index, one in enumerate(rows_of_database(database)):
        frontier.append(leaf_of(one))
        lines.append(leaf_line(index, leaf_of(one), one, events=False))
    point = Checkpoint("benchmark", frontier.size, frontier.root)
    append(path, *lines, Line(checkpoint=KEY.sign(point.text), size=point.size), Line(end=point.size))


def _verified(path: Path, database: str | None, events: int) -> float:
    began = time.perf_counter()
    live: Any = None if database is None else rows_of_database(database)
    report = Verification(verifier=KEY.verifier, live=live).checked(lines_of(path))
    took = time.perf_counter() - began
    assert report.ok
    assert report.size == events
    return events / took
