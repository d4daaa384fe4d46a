"""Making a projection again from the first event, beside the one that serves: fill, compare, swap.

The new table grows in a schema of its own and moves into the live one in one short transaction: a reader sees
the old table or the new one, and never an error. Everything here blocks; `projections/runner.py` calls it
from a thread.
"""

from __future__ import annotations

from typing import Any, LiteralString

from msgspec import Struct
from psycopg import Connection, Cursor, ProgrammingError, sql
from psycopg.abc import Params
from psycopg.errors import LockNotAvailable

from domain.errors import TenutoError
from projections import statements
from projections.follower import Follower, Site
from projections.projection import Factory

LOCK_TIMEOUT = "500ms"
"""How long a swap waits for readers under way, while new ones wait behind it; then it lets them pass."""

LARGER = 8
"""Batches of a rebuild than those that follow the log: nobody waits for one, and a row changes less often."""


class RebuildRunningError(TenutoError):
    """The projection {projection!r} is being rebuilt already."""


class Comparison(Struct, frozen=True, kw_only=True, rename="camel"):
    """The live table and the rebuilt one at the same position. `sample`: lines like those of a diff, ten at
    most."""

    position: int
    live: int
    rebuilt: int
    only_live: int
    only_rebuilt: int
    sample: list[str]

    @property
    def equal(self) -> bool:
        return self.only_live == self.only_rebuilt == 0


class Rebuild:
    """One rebuild of one projection. `begin`, `fill` until it says True, `compare`, `swap` until True; then
    `close`."""

    def __init__(self, site: Site, factory: Factory) -> None:
        self._live = Follower(site, factory)
        self.name = self._live.name
        shadow = f"{site.views}_{self.name}"
        self._site, self._shadow = site, shadow
        batch = site.batch * LARGER
        self._new = Follower(site._replace(views=shadow, published=None, batch=batch), factory)
        self._lock = f"rebuild {shadow}"
        self._locked = self._built = False
        self._sql = statements.load(
            "rebuilding",
            views=shadow,
            log=sql.Identifier(*site.log),
            live=sql.Identifier(site.views, self.name),
            rebuilt=sql.Identifier(shadow, self.name),
            live_schema=sql.Identifier(site.views),
        )

    def begin(self) -> None:
        """Raises RebuildRunningError when somebody else rebuilds it; a lost connection gives the lock back."""
        lock = "SELECT pg_try_advisory_lock(hashtext(%s))"
        (self._locked,) = _row(self._live.connection, lock, (self._lock,))
        if not self._locked:
            raise RebuildRunningError(projection=self.name)
        self._built = True
        self._live.prepare()  # It may be asked for before the live one has been made.
        self._new.connection.execute(self._sql["drop"])
        self._new.prepare()

    def fill(self) -> bool:
        """Applies one batch; True when it has come as far as the live one stood at that moment."""
        upto = self._live.place().position
        return self._new.advance(upto=upto) >= upto

    def compare(self) -> Comparison:
        """Holds the live one for a moment, to bring both to one position and take a snapshot; then reads in
        peace."""
        with self._new.connection.cursor() as reader:
            with self._live.connection.transaction(), self._live.connection.cursor() as holder:
                position = self._live.lock(holder).position
                while self._new.advance(upto=position) < position:
                    pass
                reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                reader.execute("SELECT 1")  # Here the snapshot is taken.
            try:
                found = _row(reader, self._sql["compare"])
            finally:
                reader.execute("ROLLBACK")
        live, rebuilt, only_live, only_rebuilt, sample = found
        return Comparison(
            position=position,
            live=live,
            rebuilt=rebuilt,
            only_live=only_live,
            only_rebuilt=only_rebuilt,
            sample=sample,
        )

    def swap(self) -> bool:
        """Puts the new table in the place of the live one. False: readers were in the way; try again."""
        try:
            with self._new.connection.transaction(), self._new.connection.cursor(binary=True) as cursor:
                cursor.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT))
                self._catch_up(cursor)
                shape = {"projection": self.name, "shape": self._new.shape}
                for statement in ("keep_grants", "keep_owner"):
                    cursor.execute(self._sql[statement], shape)
                self._site.publish(cursor, {self.name: self._shadow})
                for statement in ("drop_live", "take_over", "give_to_owner", "adopt_shape", "drop"):
                    cursor.execute(self._sql[statement], shape)
        except LockNotAvailable:
            return False
        self._built = False
        return True

    def close(self) -> None:
        """Ends it, and removes what was built and not swapped in."""
        try:
            if self._built:
                self._new.connection.execute(self._sql["drop"])
            if self._locked:
                _row(self._live.connection, "SELECT pg_advisory_unlock(hashtext(%s))", (self._lock,))
        finally:
            self._locked = self._built = False
            self._new.close()
            self._live.close()

    def _catch_up(self, cursor: Cursor[Any]) -> None:
        """Holds the live one until the transaction ends, and brings the new one to where it stands."""
        position = self._live.lock(cursor).position
        reached = -1
        while reached < position:
            batch = self._new.apply(cursor, upto=position)
            if batch.problem is not None:
                raise batch.problem
            reached = batch.position


def _row(
    connection: Connection[Any] | Cursor[Any], query: LiteralString | sql.Composed, parameters: Params = ()
) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, parameters).fetchone()
    if row is None:
        raise ProgrammingError(f"no row: {query!r}")
    return row
