"""Applies the log to one projection in one schema, exactly once: its rows and its position change in one
transaction.

Everything here blocks, so it runs in a thread (`projections/runner.py` says when). Several processes may
follow for the same projection: the row that holds the position is the lock. A commit here need not be durable
at once, because rows and position would be lost together and the log has them still: `synchronous_commit` is
off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, Cursor, sql

from domain.errors import TenutoError
from domain.happened import Stimulus
from projections import log, statements
from projections.log import BATCH_EVENTS, Batch
from projections.projection import Factory, Projection
from projections.published import publish
from projections.window import Window

CONNECT_TIMEOUT = 5  # seconds
# A plan made while a table was small reads all of it for ever: a tenth of the speed after an hour of growth.
SETTINGS = "-c synchronous_commit=off -c plan_cache_mode=force_custom_plan -c timezone=UTC"


MAX_PASSED = 10_000
"""Positions that may be passed over before the table hears of it: after a crash they are read once more."""


class PositionLostError(TenutoError):
    """The schema {views!r} holds no position of the projection {projection!r}; was it changed by hand?"""


class ShapeChangedError(TenutoError):
    """Another release has rebuilt the projection {projection!r} in its own shape; this one must not write to
    it."""


class Site(NamedTuple):
    """Where a shard's projections work: the database, the log's schema and table, the schema of their tables, and that
    of the views for everybody (none: not made)."""

    database: str
    log: tuple[str, str]
    views: str
    batch: int = BATCH_EVENTS
    published: str | None = None

    def hold(self, cursor: Cursor[Any]) -> None:
        """Only one at a time makes tables and views: IF NOT EXISTS alone does not make that safe."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self.views,))

    def publish(self, cursor: Cursor[Any], moved: Mapping[str, str] | None = None) -> None:
        """Puts the views on the tables as they will stand after the transaction; several processes do so in turn."""
        if self.published is not None:
            self.hold(cursor)
            publish(cursor, schema=self.published, views=self.views, log=self.log, moved=moved)


class Place(NamedTuple):
    """Where a projection stands, and where the log ended when that was asked."""

    position: int
    head: int


class Here(NamedTuple):
    """Where it stands in memory: `stored` is its position in the table, `position` behind it when batches were passed
    over since."""

    stored: int
    position: int
    stimulus: Stimulus | None


class Held(NamedTuple):
    """The locked position: the stimulus that the next event may follow from, and the shape of the table."""

    position: int
    stimulus: Stimulus | None
    shape: str


class Follower:
    """One projection at one site. It connects when it is first used, and again after `close`.

    With a `window` it reads the log together with the others that have it."""

    def __init__(self, site: Site, factory: Factory, window: Window | None = None) -> None:
        table = sql.Identifier(*site.log)
        self.projection: Projection = factory(site.views, table)
        self.name = self.projection.name
        self.shape = shape_of(factory)
        self._site = site
        self._sql = statements.load("log", views=site.views, log=table)
        self._window = window
        self._here: Here | None = None
        self._connection: Connection[Any] | None = None

    @property
    def connection(self) -> Connection[Any]:
        """Open, in autocommit: whoever needs a transaction says so."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._site.database,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                options=SETTINGS,
                application_name=f"tenuto projection {self.projection.name}",
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def prepare(self) -> bool:
        """Makes what is missing. False: the table that is there has the shape of another release."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            self._site.hold(cursor)
            cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self._site.views)))
            cursor.execute(self._sql["create"])
            cursor.execute(self._sql["begin"], {"projection": self.name, "shape": self.shape})
            (found,) = self._row(cursor, "shape")
            if found == self.shape:
                cursor.execute(self.projection.statements["create"])
                self._site.publish(cursor)
            return bool(found == self.shape)

    def place(self) -> Place:
        """Looks, and locks nothing."""
        with self.connection.cursor() as cursor:
            stored, head = self._row(cursor, "look")
        here = self._here
        passed = here is not None and here.stored == stored
        return Place(here.position if here is not None and passed else stored, head)

    def advance(self, *, upto: int | None = None, lazily: bool = False) -> int:
        """Applies the next batch, of events up to position `upto`, and answers the position reached.

        `lazily`: a batch that others have read and that holds nothing for this one is passed over in memory. The table
        keeps an older position, from which nothing is missed.

        Raises UnreadableEventError or CorruptHistoryError when the very next event cannot be applied; those
        before it have been. psycopg's errors mean that nothing was applied, or that everything was and nobody
        said so: the next call finds out.
        """
        passed = self._pass_over() if lazily and upto is None else None
        if passed is not None:
            return passed
        with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            here, self._here = self._here, None
            batch = self.apply(cursor, upto=upto, here=here)
        if self._window is not None:  # Now that it is committed.
            self._here = Here(batch.position, batch.position, batch.stimulus) if batch.events else here
        if batch.problem is not None:
            raise batch.problem
        return batch.position

    def apply(self, cursor: Cursor[Any], *, upto: int | None = None, here: Here | None = None) -> Batch:
        """One batch in the caller's transaction; it says where it ends, and what kept it from going on."""
        position, stimulus, shape = self.lock(cursor)
        if shape != self.shape:
            raise ShapeChangedError(projection=self.name)
        if here is not None and here.stored == position:
            _, position, stimulus = here
        batch = self._read(cursor, position, upto, stimulus)
        if batch.events:
            self.projection.apply(cursor, batch.events)
            self.move(cursor, batch.position, batch.stimulus)
        return batch

    def _read(self, cursor: Cursor[Any], after: int, upto: int | None, stimulus: Stimulus | None) -> Batch:
        def reading(wanted: AbstractSet[str]) -> Batch:
            return log.read(
                cursor, self._sql, wanted, after=after, upto=upto, limit=self._site.batch, stimulus=stimulus
            )

        shared = None if self._window is None or upto is not None else self._window.read(after, reading)
        return reading(self.projection.wanted) if shared is None else shared

    def _pass_over(self) -> int | None:
        """The position behind a batch that others have read and that holds nothing for this projection, else None."""
        here, window = self._here, self._window
        if here is None or window is None or self.projection.every_event:
            return None
        batch = window.seen(here.position)
        if batch is None or batch.holds(self.projection.wanted):
            return None
        if batch.position - here.stored > MAX_PASSED:
            return None
        self._here = Here(here.stored, batch.position, batch.stimulus)
        return batch.position

    def lock(self, cursor: Cursor[Any]) -> Held:
        """Takes the position for the caller's transaction: until its end nobody else moves the projection."""
        position, shape, at, actor, reason = self._row(cursor, "lock")
        return Held(position, None if at is None else Stimulus(at, actor, reason), shape)

    def move(self, cursor: Cursor[Any], position: int, stimulus: Stimulus | None) -> None:
        at, actor, reason = (
            (None, None, None) if stimulus is None else (stimulus.at, stimulus.actor, stimulus.reason)
        )
        cursor.execute(
            self._sql["move"],
            {"projection": self.name, "position": position, "at": at, "actor": actor, "reason": reason},
        )

    def _row(self, cursor: Cursor[Any], statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = cursor.execute(
            self._sql[statement], {"projection": self.name}
        ).fetchone()
        if row is None:
            raise PositionLostError(projection=self.name, views=self._site.views)
        return row


def shape_of(factory: Factory) -> str:
    """A digest of the tables it makes, wherever it makes them: a release that changes them makes them again."""
    anywhere = factory("views", sql.Identifier("log"))
    return hashlib.sha256(anywhere.statements["create"].as_string().encode()).hexdigest()[:16]


def window_of(site: Site, factories: Mapping[str, Factory]) -> Window:
    """One for followers of all of these: what any of them wants is decoded once."""
    made = (factory(site.views, sql.Identifier(*site.log)) for factory in factories.values())
    return Window(frozenset().union(*(projection.wanted for projection in made)))
