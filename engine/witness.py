"""What this server knows about an instance and the log does not: for the question why it is not moving.

Looks only at memory, and only when asked. Of a cluster it knows what has happened here: see `docs/reference/why.md`.
"""

from __future__ import annotations

from domain.state import Attempted, Queued, Running, State
from domain.why import Facts, Lease, Queue
from engine.loop import Loop
from engine.ports import Clock
from engine.sessions import Sessions
from engine.tokens import session_of
from engine.workers import Workers


class Witness:
    def __init__(self, loop: Loop, sessions: Sessions, workers: Workers, clock: Clock) -> None:
        self._loop = loop
        self._sessions = sessions
        self._workers = workers
        self._clock = clock

    def facts_of(self, state: State) -> Facts:
        attempts = [open for open in state.open.values() if isinstance(open, Attempted)]
        queues = {open.work.queue for open in attempts if isinstance(open, Queued)}
        tokens = {open.token for open in attempts if isinstance(open, Running)}
        incidents = (
            one
            for one in reversed(self._loop.decider.incidents)
            if one.instance == state.id and (state.now is None or one.at >= state.now)
        )
        incident = next(incidents, None)
        return Facts(
            at=self._clock.now(),
            since=self._workers.started_at,
            queues={queue: self._queue(queue) for queue in queues},
            leases={token: self._lease(token) for token in tokens},
            incident=None if incident is None else f"{incident.command}: {incident.error}",
            incident_at=None if incident is None else incident.at,
        )

    def _queue(self, queue: str) -> Queue:
        """The engine's own dispatchers take whole prefixes; they go on polling for as long as there is a server."""
        polls = self._workers.polls
        dispatched = any(queue.startswith(name) for name in polls if name.endswith(":"))
        return Queue(
            waiting=self._loop.board.waiting_in(queue),
            polled_at=self._clock.now() if dispatched else polls.get(queue),
            ready=self._loop.board.depth(queue),
        )

    def _lease(self, token: str) -> Lease:
        session = session_of(token)
        signs = (self._sessions.heard_at(session), self._workers.last_bare_beat(token))
        return Lease(
            alive=self._sessions.hears(session),
            last_sign_at=max((sign for sign in signs if sign is not None), default=None),
        )
