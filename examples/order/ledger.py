"""A service's memory: every call it received, and every effect it had, in one SQLite file.

Tenuto calls a service *at least* once: an answer can be lost on its way back, and the call comes again with
the same `Idempotency-Key`. To have each effect exactly once, a service does one thing, `Ledger.once`: it
stores the effect and its answer under that key in one transaction; a repeated call gets the stored answer.

Several processes may share a file. It knows nothing of HTTP; see `services/serving.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    service TEXT NOT NULL, path TEXT NOT NULL,
    key TEXT NOT NULL, instance TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL,
    body TEXT NOT NULL,
    status INTEGER -- stays NULL when the process died, or the handler broke, before it had an answer
);
CREATE TABLE IF NOT EXISTS effects (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    service TEXT NOT NULL, path TEXT NOT NULL,
    key TEXT NOT NULL, instance TEXT NOT NULL, step TEXT NOT NULL, answer TEXT NOT NULL,
    UNIQUE (service, key) -- the whole guarantee
);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (service, key);
"""


@dataclass(frozen=True)
class Received:
    """A call as it was written down; `earlier` counts the calls that came before it under its key."""

    id: int
    at: datetime
    key: str
    instance: str
    step: str
    path: str
    earlier: int


class Ledger:
    """The calls and effects of one service; `path` is created when it does not exist."""

    def __init__(self, path: str, service: str) -> None:
        self._service = service
        # Autocommit: each transaction below is written out. WAL lets others read meanwhile.
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(SCHEMA)

    def receive(self, *, path: str, key: str, instance: str, step: str, attempt: int, body: str) -> Received:
        """Write down a call before anything is done about it."""
        with self._transaction():
            (earlier,) = self._db.execute(
                "SELECT count(*) FROM calls WHERE service = ? AND key = ?", (self._service, key)
            ).fetchone()
            call_id, at = self._db.execute(
                "INSERT INTO calls (service, path, key, instance, step, attempt, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id, at",
                (self._service, path, key, instance, step, attempt, body),
            ).fetchone()
        return Received(call_id, datetime.fromisoformat(at), key, instance, step, path, earlier)

    def once(self, call: Received, effect: Callable[[], Json]) -> Json:
        """The answer to `call`: of `effect`, had now and stored, or of the effect that its key already had.

        What `effect` raises is raised, and nothing is stored: a call that was refused had no effect.
        """
        with self._transaction():
            known = self._db.execute(
                "SELECT answer FROM effects WHERE service = ? AND key = ?", (self._service, call.key)
            ).fetchone()
            if known is not None:
                return dict(json.loads(known["answer"]))
            answer = effect()
            self._db.execute(
                "INSERT INTO effects (service, path, key, instance, step, answer) VALUES (?, ?, ?, ?, ?, ?)",
                (self._service, call.path, call.key, call.instance, call.step, json.dumps(answer)),
            )
            return answer

    def answered(self, call: Received, status: int) -> None:
        """Write down how a call ended."""
        self._db.execute("UPDATE calls SET status = ? WHERE id = ?", (status, call.id))

    def calls(self) -> list[Json]:
        """Every call, oldest first."""
        return self._rows("SELECT * FROM calls WHERE service = ? ORDER BY id")

    def effects(self) -> list[Json]:
        """Every effect, oldest first, with the answer it gave."""
        rows = self._rows("SELECT * FROM effects WHERE service = ? ORDER BY id")
        return [{**row, "answer": json.loads(row["answer"])} for row in rows]

    def close(self) -> None:
        self._db.close()

    def _rows(self, select: str) -> list[Json]:
        return [dict(row) for row in self._db.execute(select, (self._service,))]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction that holds the file's write lock from its start, so that no two effects race."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
