"""Who is alive: leases belong to sessions, and a session that is not heard of loses all of its leases at once.

Every call that names a session renews it here, in memory; the table hears of it in batches, so that other servers
know too. A session's row is there before its first lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from engine.ports import Clock, Session, Store

ENGINE_PREFIX = "engine:"
"""Of the sessions of engines' own dispatchers: they die with their process, so a restart gives them no grace."""


SHORT = 0.7
"""Of a lease: with less left, a session that only waits is renewed. The table hears of it 0.2 leases later at most."""


class Sessions:
    def __init__(self, store: Store, clock: Clock, lease_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self.lease = timedelta(seconds=lease_seconds)
        self._heard: dict[str, Session] = {}
        self._unsaved: set[str] = set()
        self._listened_at = clock.monotonic()

    def hears(self, session: str) -> bool:
        """Whether it speaks to this server."""
        heard = self._heard.get(session)
        return heard is not None and heard.expires_at > self._clock.now()

    def heard_at(self, session: str) -> datetime | None:
        """When it last spoke to this server, or was given its time anew; None when it does not."""
        return self._heard[session].expires_at - self.lease if self.hears(session) else None

    async def touch(self, session: str, worker: str) -> None:
        """It is alive. A new one is made known to every server before this returns."""
        heard = Session(id=session, worker=worker, expires_at=self._clock.now() + self.lease)
        if session not in self._heard:
            await self._store.renew([heard])
        else:
            self._unsaved.add(session)
        self._heard[session] = heard

    async def keep(self, session: str, worker: str) -> None:
        """It holds a poll open, so it is alive; said again only when its time gets short."""
        heard = self._heard.get(session)
        if heard is None or heard.expires_at - self._clock.now() < SHORT * self.lease:
            await self.touch(session, worker)

    async def save(self) -> None:
        """Tells the table of those heard since the last time."""
        unsaved, self._unsaved = self._unsaved, set()
        rows = [self._heard[session] for session in sorted(unsaved) if session in self._heard]
        if rows:
            try:
                await self._store.renew(rows)
            except BaseException:
                self._unsaved |= unsaved
                raise

    async def lost(self) -> list[str]:
        """Sessions that hold leases and have not been heard of for too long, here or anywhere.

        Nobody is lost while nobody listened: after half a lease without a look at the table (it could not be reached,
        or this process stood still), their time begins anew.
        """
        expired = await self._store.expired_sessions(self._clock.now())
        deaf_for = self._clock.monotonic() - self._listened_at
        if deaf_for > self.lease.total_seconds() / 2:
            await self._begin_anew([*expired, *self._heard])
            expired = []
        self._listened_at = self._clock.monotonic()
        now = self._clock.now()
        for session in [id for id, heard in self._heard.items() if heard.expires_at <= now]:
            del self._heard[session]
        return [session for session in expired if session not in self._heard]

    async def give_grace(self) -> None:
        """After a restart: workers could not be heard while no server listened, so their time begins anew."""
        expired = await self._store.expired_sessions(self._clock.now())
        await self._begin_anew([session for session in expired if not session.startswith(ENGINE_PREFIX)])
        self._listened_at = self._clock.monotonic()

    async def end(self, session: str) -> None:
        self._heard.pop(session, None)
        await self._store.end_session(session)

    async def _begin_anew(self, sessions: Iterable[str]) -> None:
        expires_at = self._clock.now() + self.lease
        known = {id: heard.worker for id, heard in self._heard.items()}
        anew = {id: Session(id=id, worker=known.get(id, ""), expires_at=expires_at) for id in sessions}
        await self._store.renew(anew.values())
        self._heard |= anew
