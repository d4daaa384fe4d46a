"""One webhook's deliveries by the clock: a day of refusals, a server that freezes, a database that goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from domain.webhooks import Registration, Webhook
from engine.clock import ManualClock
from engine.store import PostgresStore
from feeds import delivery
from feeds.delivery import LEASE_S, LONGEST_PAUSE_S, MAX_ATTEMPTS, Delivery
from feeds.desk import Desk, Held, Lost
from feeds.log import Log
from feeds.post import Outcome
from feeds.signing import new_secret
from feeds.tail import Tail
from tests.engine.world import NOON
from tests.feeds.test_tail import append, started

STREAM = "webhook/default/crm"
DAY = timedelta(days=1)


class Leaping(ManualClock):
    """Whoever sleeps on it finds that the time has passed."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Receiver:
    """Implements `feeds.post.Post`. `posts` are (when, id)."""

    def __init__(self) -> None:
        self.posts: list[tuple[datetime, int]] = []
        self.refuses_until = NOON

    async def send(self, url: str, secret: str, id: str, body: bytes, *, now: datetime) -> Outcome:
        self.posts.append((now, int(id.removeprefix("evt_"))))
        return Outcome("HTTP 500" if now < self.refuses_until else None)

    def taken(self) -> list[int]:
        return [position for at, position in self.posts if at >= self.refuses_until]


class Site:
    """A log, its tail, the desk, and a receiver; `server` is a server's delivery."""

    def __init__(self, store: PostgresStore, pool: AsyncConnectionPool[Any]) -> None:
        self.clock = Leaping(NOON)
        self.store = store
        self.log = Log(pool, (store.schema, "stored_events"))
        self.tail = Tail(self.log, self.clock, kept_events=3)
        self.desk = Desk(pool, f"{store.schema}_feeds")
        self.receiver = Receiver()
        self.gone: list[str] = []

    async def prepare(self) -> None:
        await self.desk.prepare()
        await self.desk.keep_secret("k1", new_secret())

    def server(self, holder: str, **fields: Any) -> Delivery:
        async def gone(one: Registration, why: str) -> None:
            self.gone.append(why)

        webhook = Webhook(
            namespace="default",
            name="crm",
            url="http://x/",
            secret_id="k1",
            topics=("InstanceStarted",),
            **fields,
        )
        return Delivery(
            Registration(STREAM, webhook, 1, 0),
            desk=self.desk,
            tail=self.tail,
            post=self.receiver,
            clock=self.clock,
            holder=holder,
            gone=gone,
        )

    async def start(self, count: int, first: int = 0) -> list[int]:
        """So many instances; the positions of their beginnings."""
        before = await self.log.head()
        for number in range(first, first + count):
            await append(self.store, f"0-{number}", started(self.clock))
        while await self.tail._advance() or self.tail.position < await self.log.head():
            pass
        return [one.position for one in await self.log.read(before, 10_000) if one.topic == "InstanceStarted"]


@pytest.fixture
async def site(database: str, schema: str) -> AsyncIterator[Site]:
    store = await PostgresStore.open(database, schema=schema)
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        database,
        min_size=1,
        max_size=3,
        open=False,
        kwargs={"autocommit": True, "options": "-c timezone=UTC"},
    )
    await pool.open()
    one = Site(store, pool)
    await one.prepare()
    yield one
    await pool.close()
    await store.close()


async def test_a_receiver_that_refuses_for_a_day_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LOOK_S", 1_000.0)
    monkeypatch.setattr(delivery, "LEASE_S", 3_000.0)
    site.receiver.refuses_until = NOON + DAY
    positions = await site.start(100)
    one = site.server("one")
    while site.clock.now() < NOON + DAY + timedelta(hours=1):
        await one._round()
    letters = [letter.position for letter in await site.desk.dead_letters(STREAM, 0, 1_000)]
    assert letters + site.receiver.taken() == positions, "each is delivered or a dead letter, in order"
    assert 40 < len(letters) < 90
    tries = [at for at, position in site.receiver.posts if position == positions[0]]
    assert len(tries) == MAX_ATTEMPTS
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    bounds = [min(2.0**number, LONGEST_PAUSE_S) for number in range(MAX_ATTEMPTS - 1)]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    status = (await site.desk.status([STREAM]))[STREAM]
    assert (status.last_error, status.attempts, status.next_attempt_at) == ("HTTP 500", 0, None)


async def test_a_server_that_freezes_is_replaced_and_moves_nothing_when_it_thaws(site: Site) -> None:
    first = await site.start(1)
    frozen, other = site.server("frozen"), site.server("other")
    await frozen._round()
    assert site.receiver.taken() == first
    assert frozen.holds
    more = await site.start(2, first=1)
    await other._round()
    assert site.receiver.taken() == first, "while it holds the webhook nobody else delivers"
    site.clock.advance(LEASE_S)
    await other._round()
    assert site.receiver.taken() == [*first, *more]
    with pytest.raises(Lost):
        await frozen._deliver(Held(0, 0, None), await site.tail.read(first[0]))
    assert site.receiver.taken() == [*first, *more, more[0]], "what it had in hand may come twice"
    assert (await site.desk.status([STREAM]))[STREAM].position == more[-1] + 2


async def test_what_is_not_wanted_moves_the_position_now_and_then(site: Site) -> None:
    crm = site.server("one", definition="another")
    await site.start(2)
    await crm._round()
    assert crm.position == site.tail.position
    assert (await site.desk.status([STREAM]))[STREAM].position == 0
    await crm._round()
    assert (await site.desk.status([STREAM]))[STREAM].position == site.tail.position
    assert site.receiver.posts == []


async def test_a_database_that_is_away_costs_a_pause(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.start(1)
    crm, before = site.server("one"), site.clock.now()

    async def away(*_: Any, **__: Any) -> Any:
        raise psycopg.OperationalError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(site.desk, "hold", away)
        assert await crm._round()
    assert site.clock.now() > before
    await crm._round()
    assert len(site.receiver.posts) == 1


async def test_a_lost_secret_is_said(site: Site) -> None:
    await site.start(1)
    crm = site.server("one")
    crm.registration = crm.registration._replace(
        webhook=Webhook(namespace="default", name="crm", url="http://x/", secret_id="lost")
    )
    await crm._round()
    status = (await site.desk.status([STREAM]))[STREAM]
    assert status.last_error == "its secret is lost: register it again, with a secret"
    assert site.receiver.posts == []
