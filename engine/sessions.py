"""Who is alive: leases belong to sessions, and a session that is not heard of loses all of its leases at once.

Every call that names a session renews it here, in memory; the table hears of it in batches, so that other servers
know too. A session's row is there before its first lease.
"""

from __future__ import annotations

from datetime import timedelta

from engine.ports import Clock, Session, Store

ENGINE_PREFIX = "engine:"
"""Of the sessions of engines' own dispatchers: they die with their process, so a restart gives them no grace."""


class Sessions:
    def __init__(self, store: Store, clock: Clock, lease_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self.lease = timedelta(seconds=lease_seconds)
        self._heard: dict[str, Session] = {}
        self._unsaved: set[str] = set()

    async def touch(self, session: str, worker: str) -> None:
        """It is alive. A new one is made known to every server before this returns."""
        known = session in self._heard
        self._heard[session] = Session(id=session, worker=worker, expires_at=self._clock.now() + self.lease)
        if known:
            self._unsaved.add(session)
        else:
            await self._store.renew([self._heard[session]])

    async def save(self) -> None:
        """Tells the table of those heard since the last time."""
        unsaved, self._unsaved = self._unsaved, set()
        rows = [self._heard[session] for session in unsaved if session in self._heard]
        if rows:
            try:
                await self._store.renew(rows)
            except BaseException:
                self._unsaved |= unsaved
                raise

    async def lost(self) -> list[str]:
        """Sessions that hold leases and have not been heard of for too long, here or anywhere."""
        now = self._clock.now()
        for session in [id for id, heard in self._heard.items() if heard.expires_at <= now]:
            del self._heard[session]
        return [id for id in await self._store.expired_sessions(now) if id not in self._heard]

    async def give_grace(self) -> None:
        """After a restart: workers could not be heard while no server listened, so their time begins anew."""
        for session in await self._store.expired_sessions(self._clock.now()):
            if not session.startswith(ENGINE_PREFIX):
                await self.touch(session, "")

    async def end(self, session: str) -> None:
        self._heard.pop(session, None)
        await self._store.end_session(session)
